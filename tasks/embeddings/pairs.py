"""The four embeddings of each pair side by side."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from data_specs.errors import DataError
from tasks.embeddings.observer import FOLDER
from tasks.extraction.columns import vectors
from tasks.extraction.table_reader import connect, open_rows, query, stream_rows

_COLUMNS = ("pair_id", "content", "tag", "embedding")
_MEMBERS = ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe")


@dataclass(frozen=True)
class EmbeddedPairs:
    """Pairs in shard order; embeddings [pairs, embedding] float32 of unit norm."""

    pair_ids: list[str]
    tags: list[str | None]
    text_safe: Tensor
    text_unsafe: Tensor
    vision_safe: Tensor
    vision_unsafe: Tensor


def read_pairs(text: Path, vision: Path) -> EmbeddedPairs:
    """Join the embeddings of both encoders by pair.

    Args:
        text: folder of the text encoder's embeddings artifact.
        vision: folder of the vision encoder's.

    Returns:
        Every pair of which all four members were embedded.

    Raises:
        DataError: there is none.
    """
    pairs = _join(_files(text), _files(vision))
    if not pairs.pair_ids:
        raise DataError(
            "no pair has all four members (safe and unsafe text, safe and unsafe image); look at the shards"
        )
    return pairs


def pairs_by_shard(text: Path, vision: Path) -> Iterator[EmbeddedPairs]:
    """The pairs of `read_pairs`, in the same order, shard by shard, so that memory does not grow with the set."""
    images = {_shard_of(path): path for path in _files(vision)}
    for captions in _files(text):
        if _shard_of(captions) in images:
            yield _join([captions], [images[_shard_of(captions)]])


def _join(text: list[Path], vision: list[Path]) -> EmbeddedPairs:
    sources = {"text": text, "vision": vision}
    with open_rows(text[0]) as file:
        width = file.schema_arrow.field("embedding").type.list_size
    joined = " ".join(f"JOIN {_side(name)} AS {name} USING (pair_id)" for name in _MEMBERS[1:])
    columns = ", ".join(f"{name}.embedding AS {name}" for name in _MEMBERS)
    sql = f"""
        SELECT pair_id, text_safe.tag AS tag, {columns} FROM {_side(_MEMBERS[0])} AS text_safe {joined}
        ORDER BY text_safe.file_number, text_safe.row_number
    """
    rows = {f"{name}_rows": stream_rows(sources[name.split("_")[0]], _COLUMNS) for name in _MEMBERS}
    table = query(sql, rows, connection=connect(threads=2))
    if table.num_rows == 0:
        return EmbeddedPairs([], [], **{name: torch.empty(0, width) for name in _MEMBERS})
    return EmbeddedPairs(
        table.column("pair_id").to_pylist(),
        table.column("tag").to_pylist(),
        **{name: vectors(table.column(name), name) for name in _MEMBERS},
    )


def _shard_of(path: Path) -> str:
    # A pass names its files after the shard's place and digest; the place may differ between encoders.
    return path.stem.split("-")[-1]


def _files(artifact: Path) -> list[Path]:
    return sorted((artifact / FOLDER).glob("*.parquet"))


def _side(member: str) -> str:
    content = member.split("_")[1]
    return f"(SELECT * FROM {member}_rows WHERE content = '{content}')"
