"""The four embeddings of each pair side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_specs.choosing import ALL, Span, too_few, within
from data_specs.errors import DataError
from tasks.embeddings.observer import FOLDER
from tasks.extraction.columns import vectors
from tasks.extraction.table_reader import connect, open_rows, query, stream_rows

_IDENTITY = ("pair_id", "content", "tag")
_MEMBERS = ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe")
_NUMBERS_AT_ONCE = 1 << 20

Places = NDArray[np.int64]  # of rows, counted through all files of one encoder


@dataclass(frozen=True)
class EmbeddedPairs:
    """Pairs in shard order; embeddings [pairs, embedding] float32 of unit norm."""

    pair_ids: list[str]
    tags: list[str | None]
    text_safe: Tensor
    text_unsafe: Tensor
    vision_safe: Tensor
    vision_unsafe: Tensor


def read_pairs(text: Path, vision: Path, span: Span = ALL) -> EmbeddedPairs:
    """Join the embeddings of both encoders by pair, in the memory of the result and little more.

    Args:
        text: folder of the text encoder's embeddings artifact.
        vision: folder of the vision encoder's.
        span: of the pairs' ids that are read.

    Returns:
        Every pair of which all four members were embedded.

    Raises:
        DataError: there is none, or none in the span.
    """
    files = {"text": _files(text), "vision": _files(vision)}
    found = _join(files)
    if found.num_rows == 0:
        raise DataError(
            "no pair has all four members (safe and unsafe text, safe and unsafe image); look at the shards"
        )
    if span != ALL:
        found = found.filter(pa.array(within(found.column("pair_id").to_pylist(), span)))
        if found.num_rows == 0:
            raise DataError(f"evaluation pairs: {too_few(span)}")
    return _embedded(found, files)


def pairs_by_shard(text: Path, vision: Path) -> Iterator[EmbeddedPairs]:
    """The pairs of `read_pairs`, in the same order, shard by shard, so that memory does not grow with the set."""
    images = {_shard_of(path): path for path in _files(vision)}
    for captions in _files(text):
        if _shard_of(captions) in images:
            files = {"text": [captions], "vision": [images[_shard_of(captions)]]}
            yield _embedded(_join(files), files)


def _join(files: dict[str, list[Path]]) -> pa.Table:
    """Pairs by id and tag, and for each member the file and row of its embedding; embeddings stay on disk."""
    joined = " ".join(f"JOIN {_side(name)} AS {name} USING (pair_id)" for name in _MEMBERS[1:])
    places = ", ".join(f"{name}.file_number AS {name}_file, {name}.row_number AS {name}_row" for name in _MEMBERS)
    sql = f"""
        SELECT pair_id, text_safe.tag AS tag, {places} FROM {_side(_MEMBERS[0])} AS text_safe {joined}
        ORDER BY text_safe.file_number, text_safe.row_number
    """
    rows = {f"{name}_rows": stream_rows(files[name.split("_")[0]], _IDENTITY) for name in _MEMBERS}
    return query(sql, rows, connection=connect(threads=2))


def _embedded(found: pa.Table, files: dict[str, list[Path]]) -> EmbeddedPairs:
    members: dict[str, Tensor] = {}
    for encoder, paths in files.items():
        first_rows = _first_rows(paths)
        places = {
            name: first_rows[found.column(f"{name}_file").to_numpy()] + found.column(f"{name}_row").to_numpy()
            for name in _MEMBERS
            if name.startswith(encoder)
        }
        members |= gathered(paths, places)
    return EmbeddedPairs(found.column("pair_id").to_pylist(), found.column("tag").to_pylist(), **members)


def gathered(files: Sequence[Path], places: dict[str, Places]) -> dict[str, Tensor]:
    """Embeddings from Parquet files, which are read once, a few megabytes at a time.

    Args:
        files: of one encoder, one or more, in their order.
        places: by name, the wanted rows, counted through all files; in any order, each as often as it is wanted.

    Returns:
        By name, [places, embedding] float32.

    Raises:
        DataError: a file's embeddings are no float32 vectors, or hold nulls.
    """
    with open_rows(files[0]) as file:
        width = file.schema_arrow.field("embedding").type.list_size
    found = {name: torch.empty(len(own), width) for name, own in places.items()}
    # Where a batch's rows go to: a stretch of the places in rising order.
    rising = {name: np.argsort(own, kind="stable") for name, own in places.items()}
    start = 0
    for batch in _embeddings(files, max(1, _NUMBERS_AT_ONCE // width)):
        rows = vectors(pa.chunked_array([batch]), "embedding")
        for name, own in places.items():
            ordered = own[rising[name]]
            low, high = np.searchsorted(ordered, (start, start + len(rows)))
            into = torch.from_numpy(rising[name][low:high])
            found[name][into] = rows[torch.from_numpy(ordered[low:high] - start)]
        start += len(rows)
    return found


def _embeddings(files: Sequence[Path], n_rows: int) -> Iterator[pa.Array]:
    for path in files:
        with open_rows(path) as file:
            for batch in file.iter_batches(n_rows, columns=["embedding"]):
                yield batch.column(0)


def _first_rows(files: Sequence[Path]) -> Places:
    """Where each file begins, its rows being counted through all of them."""
    n_rows = []
    for path in files:
        with open_rows(path) as file:
            n_rows.append(file.metadata.num_rows)
    return np.cumsum([0, *n_rows[:-1]], dtype=np.int64)


def _shard_of(path: Path) -> str:
    # A pass names its files after the shard's place and digest; the place may differ between encoders.
    return path.stem.split("-")[-1]


def _files(artifact: Path) -> list[Path]:
    return sorted((artifact / FOLDER).glob("*.parquet"))


def _side(member: str) -> str:
    content = member.split("_")[1]
    return f"(SELECT * FROM {member}_rows WHERE content = '{content}')"
