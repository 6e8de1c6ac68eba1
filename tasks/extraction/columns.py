"""Between tensors and Arrow columns, without copies where Arrow allows it."""

from collections.abc import Sequence

import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from data_specs.errors import DataError


def vector_column(values: Tensor) -> pa.FixedSizeListArray:
    """A column of float32 vectors from [rows, width] on the CPU."""
    flat = values.detach().to(torch.float32).contiguous().reshape(-1).numpy()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])


def vectors(column: pa.ChunkedArray, name: str) -> Tensor:
    """[rows, width] float32 from a column of fixed-size float32 lists: of a single chunk its own memory, not to be written.

    Raises:
        DataError: the column is not of that type, or holds nulls.
    """
    if not pa.types.is_fixed_size_list(column.type) or column.type.value_type != pa.float32() or column.null_count:
        raise DataError(f"column {name} is {column.type} with {column.null_count} nulls, expected float32 vectors")
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([*column.chunks, pa.array([], column.type)])
    values = array.flatten()
    if values.null_count:
        raise DataError(f"column {name} has vectors that hold {values.null_count} nulls")
    return from_dlpack(values).view(len(array), column.type.list_size)


def interleave(sides: Sequence[Tensor]) -> Tensor:
    """[n * sides, ...] with the sides of each sample next to each other, from tensors [n, ...]."""
    return torch.stack(list(sides), dim=1).flatten(0, 1)
