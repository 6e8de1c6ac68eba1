"""Which shards hold a picture or another file, by its bytes; what was read of a shard once is kept."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_specs.wording import one_line, reason
from tasks.extraction.table_reader import open_rows
from tasks.lineage.digest import file_sha256
from tasks.lineage.progress import advance, stage
from tasks.shards.location import is_elsewhere
from tasks.shards.tar import FILE, UNREADABLE, Tar
from tasks.shards.tar_headers import ReadError

_FOLDER = ".index/members"
_SCHEMA = pa.schema([("member", pa.string()), ("sha256", pa.string())])
_STAGE = "look through shards"


@dataclass(frozen=True)
class ShardMember:
    """A file in a shard."""

    shard: str  # SHA-256
    location: str
    name: str


@dataclass(frozen=True)
class Unread:
    """A shard that could not be looked through."""

    shard: str
    location: str
    reason: str


def members_with(
    root: Path, digest: str, shards: Mapping[str, Sequence[str]], elsewhere: Iterable[Path] = ()
) -> tuple[list[ShardMember], list[Unread]]:
    """The members of shards that have some bytes.

    Args:
        root: the store's folder, where it is kept what a shard holds.
        digest: SHA-256 of the bytes.
        shards: by digest, where each lay.
        elsewhere: files to look for shards in that lie no more where they did.

    Returns:
        The members, and the shards that could not be looked through.
    """
    found: list[ShardMember] = []
    unread: list[Unread] = []
    moved = {file_sha256(path): path for path in elsewhere}
    with stage(_STAGE, len(shards), "shards"):
        for shard, locations in shards.items():
            advance(_STAGE)
            try:
                held = _held(root, shard, [moved[shard]] if shard in moved else [*map(Path, locations)], locations)
            except _Unreadable as error:
                unread.append(Unread(shard, locations[0], str(error)))
                continue
            names = held.filter(pc.equal(held.column("sha256"), digest)).column("member").to_pylist()
            found += [ShardMember(shard, locations[0], name) for name in names]
    return found, unread


class _Unreadable(Exception):
    """A shard is not where it lay, or is another now."""


def _held(root: Path, shard: str, paths: Sequence[Path], locations: Sequence[str]) -> pa.Table:
    kept = root / _FOLDER / f"{shard}.parquet"
    with suppress(OSError, pa.ArrowException), open_rows(kept) as file:
        if file.schema_arrow.equals(_SCHEMA):
            return file.read()
    if all(map(is_elsewhere, locations)) and paths == [*map(Path, locations)]:
        raise _Unreadable("it lies on no local disk; fetch it and name it with --shards")
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise _Unreadable("it is no longer there; name where it lies now with --shards")
    try:
        if file_sha256(path) != shard:
            raise _Unreadable("another file lies there now; name where the shard lies with --shards")
        rows = pa.Table.from_pylist([*_read(path)], _SCHEMA)
    except (ReadError, *UNREADABLE) as error:
        raise _Unreadable(one_line(f"it cannot be read: {reason(error)}", 200)) from error
    _keep(rows, kept)
    return rows


def _read(path: Path) -> Iterator[dict[str, str]]:
    with Tar(path) as tar:
        for entry in tar:
            if entry.kind == FILE:
                name = entry.name.encode("utf-8", "backslashreplace").decode()
                yield {"member": name, "sha256": hashlib.sha256(tar.read(entry)).hexdigest()}


def _keep(rows: pa.Table, path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with suppress(OSError, pa.ArrowException):
        if path.parents[2].is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                pq.write_table(rows, draft, compression="zstd")
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
