"""Between tensors and Arrow columns, without copies where Arrow allows it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from data_specs.errors import DataError


def vector_column(values: Tensor) -> pa.FixedSizeListArray:
    """A column of float32 vectors from [rows, width] on the CPU."""
    flat = values.detach().to(torch.float32).contiguous().reshape(-1).numpy()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])


def vectors(column: pa.ChunkedArray, name: str) -> Tensor:
    """[rows, width] float32 from a column of fixed-size float32 lists.

    Raises:
        DataError: the column is not of that type, or holds nulls.
    """
    if not pa.types.is_fixed_size_list(column.type) or column.type.value_type != pa.float32() or column.null_count:
        raise DataError(f"column {name} is {column.type} with {column.null_count} nulls, expected float32 vectors")
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    values: np.ndarray = array.flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(np.require(values, requirements="W")).view(len(array), column.type.list_size)


def interleave(sides: Sequence[Tensor]) -> Tensor:
    """[n * sides, ...] with the sides of each sample next to each other, from tensors [n, ...]."""
    return torch.stack(list(sides), dim=1).flatten(0, 1)
