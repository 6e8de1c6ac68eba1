"""The four embeddings of each pair side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from tasks.extraction.freed_memory import return_freed_memory
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.extraction.table_reader import connect, open_rows, query, stream_rows

_IDENTITY = ("pair_id", "content", "tag")
_MEMBERS = ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe")
_NUMBERS_AT_ONCE = 1 << 20

# What is joined at once; memory follows it, not the number of pairs.
_ROWS_AT_ONCE = 1 << 16

Places = NDArray[np.int64]  # of rows, counted through all files of one encoder
Files = Mapping[str, Sequence[Path]]  # by encoder


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
    found = _joined(files, span)
    if not found.n_joined:
        raise DataError(
            "no pair has all four members (safe and unsafe text, safe and unsafe image); look at the shards"
        )
    if not found.pair_ids:
        raise DataError(f"evaluation pairs: {too_few(span)}")
    return _embedded(found, files)


class PairsByShard:
    """The pairs of `read_pairs`, shard by shard, so that memory does not grow with the set."""

    def __init__(self, text: Path, vision: Path) -> None:
        """Of the folders of both encoders' embeddings artifacts."""
        images = {_shard_of(path): path for path in _files(vision)}
        captions = {_shard_of(path): path for path in _files(text)}
        self._files: dict[str | None, Files] = {
            shard: {"text": [captions[shard]], "vision": [images[shard]]} for shard in captions if shard in images
        }

    def identities(self, sha256: str) -> list[tuple[str, str | None]]:
        """Id and tag of each pair of a shard, in order; none where it was not embedded."""
        files = self._files.get(sha256[:SHARD_DIGEST_CHARS])
        if files is None:
            return []
        found = _joined(files, ALL)
        return [*zip(found.pair_ids, found.tags, strict=True)]

    def read(self, sha256: str) -> EmbeddedPairs:
        """The pairs of a shard that was embedded, in order."""
        files = self._files[sha256[:SHARD_DIGEST_CHARS]]
        return _embedded(_joined(files, ALL), files)


@dataclass
class _Joined:
    """Pairs in order, and where each member's embedding stands, counted through all files of its encoder."""

    n_joined: int = 0  # those outside the span, too
    pair_ids: list[str] = field(default_factory=list)
    tags: list[str | None] = field(default_factory=list)
    places: dict[str, list[Places]] = field(default_factory=lambda: {name: [] for name in _MEMBERS})


def _joined(files: Files, span: Span) -> _Joined:
    found = _Joined()
    first_rows = {encoder: _first_rows(paths) for encoder, paths in files.items()}
    known: dict[str | None, str | None] = {}  # one text for all pairs of a tag
    for some in _groups(files, first_rows):
        rows = _join({encoder: [files[encoder][place] for place in own] for encoder, own in some.items()})
        found.n_joined += rows.num_rows
        if span != ALL:
            rows = rows.filter(pa.array(within(rows.column("pair_id").to_pylist(), span), pa.bool_()))
        found.pair_ids += rows.column("pair_id").to_pylist()
        found.tags += [known.setdefault(tag, tag) for tag in rows.column("tag").to_pylist()]
        for name, places in found.places.items():
            encoder = name.split("_")[0]
            start = first_rows[encoder][some[encoder]][rows.column(f"{name}_file").to_numpy()]
            places.append(start + rows.column(f"{name}_row").to_numpy())
    return found


def _groups(files: Files, first_rows: Mapping[str, Places]) -> Iterator[dict[str, list[int]]]:
    """The places of files that are joined together: all of some shards, in the order of the texts.

    Where their names do not tell both encoders' files of a shard, all files are joined at once.
    """
    of_vision = {_shard_of(path): place for place, path in enumerate(files["vision"])}
    shards = [_shard_of(path) for path in files["text"]]
    if None in shards or len({*shards}) < len(shards) or of_vision.keys() != {*shards}:
        yield {encoder: [*range(len(paths))] for encoder, paths in files.items()}
        return
    start = 0
    for place in range(len(shards)):
        last = place + 1 == len(shards)
        if last or first_rows["text"][place + 1] - first_rows["text"][start] >= _ROWS_AT_ONCE:
            places = range(start, place + 1)
            yield {"text": [*places], "vision": [of_vision[shards[text]] for text in places]}
            start = place + 1


def _join(files: Files) -> pa.Table:
    """Pairs by id and tag, and for each member the file and row of its embedding; embeddings stay on disk."""
    joined = " ".join(f"JOIN {_side(name)} AS {name} USING (pair_id)" for name in _MEMBERS[1:])
    places = ", ".join(f"{name}.file_number AS {name}_file, {name}.row_number AS {name}_row" for name in _MEMBERS)
    sql = f"""
        SELECT pair_id, text_safe.tag AS tag, {places} FROM {_side(_MEMBERS[0])} AS text_safe {joined}
        ORDER BY text_safe.file_number, text_safe.row_number
    """
    rows = {f"{name}_rows": stream_rows(files[name.split("_")[0]], _IDENTITY) for name in _MEMBERS}
    return query(sql, rows, connection=connect(threads=2))


def _embedded(found: _Joined, files: Files) -> EmbeddedPairs:
    members: dict[str, Tensor] = {}
    for encoder, paths in files.items():
        own = {name: np.concatenate(places) for name, places in found.places.items() if name.startswith(encoder)}
        members |= gathered(paths, own)
    # What reading took is not kept beside what follows.
    return_freed_memory()
    return EmbeddedPairs(found.pair_ids, found.tags, **members)


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
        with open_rows(path, whole=False) as file:
            for batch in file.iter_batches(n_rows, columns=["embedding"]):
                yield batch.column(0)


def _first_rows(files: Sequence[Path]) -> Places:
    """Where each file begins, its rows being counted through all of them."""
    n_rows = []
    for path in files:
        with open_rows(path) as file:
            n_rows.append(file.metadata.num_rows)
    return np.cumsum([0, *n_rows[:-1]], dtype=np.int64)


def _shard_of(path: Path) -> str | None:
    # A pass names its files after the shard's place and digest; the place may differ between encoders.
    _, told, shard = path.stem.rpartition("-")
    return shard if told else None


def _files(artifact: Path) -> list[Path]:
    return sorted((artifact / FOLDER).glob("*.parquet"))


def _side(member: str) -> str:
    content = member.split("_")[1]
    return f"(SELECT * FROM {member}_rows WHERE content = '{content}')"
