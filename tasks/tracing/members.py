"""Which shards hold a picture or another file, by its bytes; what was read of a shard once is kept."""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_specs.errors import PipelineError
from data_specs.wording import one_line, reason
from tasks.extraction.table_reader import open_rows
from tasks.lineage.digest import file_sha256
from tasks.lineage.progress import advance, stage
from tasks.shards.location import is_command, is_elsewhere, local_copy, shown_location
from tasks.shards.run_copies import FETCHED
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


class Shelf:
    """Where shards can be read: where they lay, where they lie now, and what was fetched."""

    def __init__(self, root: Path, moved: Iterable[Path] = (), *, fetch: bool = False) -> None:
        """Keep what shards hold in the store at `root`.

        Args:
            root: the store's folder.
            moved: files that may be shards that lie no more where they did.
            fetch: whether to fetch those that lie on no local disk; a command is never run.
        """
        self._root, self._fetch = root, fetch
        self._moved = {file_sha256(path): path for path in moved}

    def members_with(self, digest: str, shards: Mapping[str, Sequence[str]]) -> tuple[list[ShardMember], list[Unread]]:
        """The members of shards that have some bytes, and the shards that could not be looked through.

        Args:
            digest: SHA-256 of the bytes.
            shards: by digest, where each lay.
        """
        found: list[ShardMember] = []
        unread: list[Unread] = []
        with stage(_STAGE, len(shards), "shards"):
            for shard, locations in shards.items():
                try:
                    held = self._held(shard, locations)
                except _Unreadable as error:
                    unread.append(Unread(shard, shown_location(locations[0]), str(error)))
                else:
                    names = held.filter(pc.equal(held.column("sha256"), digest)).column("member").to_pylist()
                    found += [ShardMember(shard, shown_location(locations[0]), name) for name in names]
                advance(_STAGE)
        return found, unread

    def _held(self, shard: str, locations: Sequence[str]) -> pa.Table:
        kept = self._root / _FOLDER / f"{shard}.parquet"
        with suppress(OSError, pa.ArrowException), open_rows(kept) as file:
            if file.schema_arrow.equals(_SCHEMA):
                return file.read()
        with TemporaryDirectory(prefix="uwm-") as folder:
            path = self._path(shard, locations, Path(folder))
            try:
                rows = pa.Table.from_pylist([*_read(path)], _SCHEMA)
            except (ReadError, *UNREADABLE) as error:
                raise _Unreadable(one_line(f"it cannot be read: {reason(error)}", 200)) from error
        _keep(rows, kept)
        return rows

    def _path(self, shard: str, locations: Sequence[str], folder: Path) -> Path:
        """A local file with a shard's very bytes."""
        places = [Path(location) for location in locations if not is_elsewhere(location)]
        copy = self._root / FETCHED / f"{shard}.tar"
        there = [path for path in (self._moved.get(shard), *places, copy) if path is not None and path.is_file()]
        for path in there:
            if file_sha256(path) == shard:
                return path
        if there:
            raise _Unreadable("another file lies there now; name where the shard lies with --shards")
        if places:
            raise _Unreadable("it is no longer there; name where it lies now with --shards")
        if not self._fetch:
            raise _Unreadable("it lies on no local disk; give --fetch, or a copy with --shards")
        return _fetched(shard, locations, folder)


def _fetched(shard: str, locations: Sequence[str], folder: Path) -> Path:
    told = "it is given by a command, which is not run; name a copy with --shards"
    for location in locations:
        if is_command(location):
            continue
        try:
            path = local_copy(location, folder)
        except PipelineError as error:
            told = one_line(str(error), 300)
            continue
        if file_sha256(path) == shard:
            return path
        told = "another file lies there now; name a copy with --shards"
    raise _Unreadable(told)


class _Unreadable(Exception):
    """A shard is not where it lay, or is another now."""


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
