"""Shards that lie elsewhere: fetched once, or taken for unchanged on the word of their store."""

import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from data_specs.errors import DataError
from data_specs.fetch_record import FetchRecord
from data_specs.run_config import Content
from tasks.lineage.progress import notice
from tasks.shards.ahead import MOST_AHEAD, Ahead
from tasks.shards.copy_folder import CopyFolder, KeptCopy, NoRoom
from tasks.shards.fetch_records import FetchRecords, index_of, shard_of
from tasks.shards.fetching import Answer
from tasks.shards.inspection import Shard, inspect_shard
from tasks.shards.location import is_command, is_elsewhere, local_copy, look, shown_location

_LOOKS_AT_ONCE = 8


class Elsewhere:
    """What a run knows of shards that lie elsewhere; `trusted` are those that it took for unchanged unseen."""

    def __init__(self, copies: CopyFolder, records: FetchRecords, *, since: float, trusts_etags: bool = False) -> None:
        """Use copies that were fetched from `since` on, in seconds since 1970; what is older is fetched anew.

        Args:
            copies: the folder of copies.
            records: of what was fetched.
            since: when this run began, or one that goes on still.
            trusts_etags: take a shard whose ETag and size are those of its record for unchanged.
        """
        self._copies, self._records, self._since, self._trusts = copies, records, since, trusts_etags
        self.trusted: dict[str, FetchRecord] = {}

    def opened(self, locations: Sequence[str], content: Content | None) -> list[Shard]:
        """Check shards one by one, in order.

        Raises:
            DataError: one cannot be fetched, is empty or cut.
            SpecError: one is larger than the limit of the folder.
            ArtifactError: one cannot be written.
        """
        before = len(self.trusted)
        asked = [location for location in locations if self._may_be_trusted(location)]
        with ThreadPoolExecutor(_LOOKS_AT_ONCE) as pool:
            said = dict(zip(asked, pool.map(look, asked), strict=True))
        shards = [
            self._unchanged(location, content, said[location]) if location in said else None for location in locations
        ]
        if n := len(self.trusted) - before:
            notice(f"{n} of {len(locations)} shards are taken for unchanged by their ETags, and were not fetched")
        rest = [location for location, shard in zip(locations, shards, strict=True) if shard is None]
        with closing(self.in_turn(rest, content)) as in_turn:
            return [shard or next(in_turn)() for shard in shards]

    def in_turn(self, locations: Sequence[str], content: Content | None) -> Generator[Callable[[], Shard], None, None]:
        """Fetch and check shards in their order; each is what the call returns, which raises what `opened` does of it.

        While one is checked and read, the next two are fetched, as far as the limit has room for all; the iterator is to be
        closed, which gives up what is under way. Commands wait until it is their turn.
        """
        # Within a limit in their order, so that none takes the room of one that is read before it.
        at_once = MOST_AHEAD if self._copies.limit_bytes is None else 1
        with Early(self._copies, self._brought) as early, Ahead(early.fetched, locations, at_once=at_once) as ahead:
            for location in locations:
                yield partial(self._next, location, content, early, ahead)

    def _next(
        self, location: str, content: Content | None, early: "Early", ahead: "Ahead[FetchRecord | None]"
    ) -> Shard:
        record = ahead.take() or self._brought(self._copies, location)
        with early.held(location):
            return self._checked(location, content, record)

    def _may_be_trusted(self, location: str) -> bool:
        record = self._records.read(location) if self._trusts else None
        return record is not None and record.etag is not None

    def _unchanged(self, location: str, content: Content | None, said: Answer) -> Shard | None:
        """The shard as its record has it, if the store says that it is that very one."""
        record = self._records.read(location)
        if record is None or (said.etag, said.size_bytes) != (record.etag, record.size_bytes):
            return None
        path = self._copies.path(location, record.sha256)
        shard = shard_of(record, shown_location(location), content, path)
        if shard is None:
            return None
        if self._copies.has(record.sha256):
            shard = self._inspected(location, content, path)  # as a file of this machine would be
        self.trusted[location] = record
        return shard

    def _brought(self, copies: CopyFolder, location: str) -> FetchRecord:
        """What a shard is now; its copy is there, unless this run has seen it and dropped it for others."""
        with copies.alone(location):
            record = None if is_command(location) else self._records.read(location)
            if record is None or record.fetched < self._since:
                return self._fetched(copies, location, record)
            path = self._copies.path(location, record.sha256)
            if copies.has(record.sha256) or shard_of(record, shown_location(location), None, path) is not None:
                return record
            return self._fetched(copies, location, record)

    def _checked(self, location: str, content: Content | None, record: FetchRecord) -> Shard:
        """The shard whose record this is."""
        path = self._copies.path(location, record.sha256)
        if not self._copies.has(record.sha256):
            shard = shard_of(record, shown_location(location), content, path)
            if shard is not None:
                return shard
        shard = self._inspected(location, content, path)
        if record.index is None and not is_command(location):
            self._records.write(location, record.model_copy(update={"index": index_of(shard)}))
        return shard

    def _fetched(self, copies: CopyFolder, location: str, before: FetchRecord | None) -> FetchRecord:
        started = time.time()
        fetched = copies.bring(location)
        record = FetchRecord(
            location=shown_location(location),
            sha256=fetched.sha256,
            size_bytes=fetched.size_bytes,
            etag=fetched.said.etag,
            fetched=started,
        )
        if before is not None and None is not record.etag == before.etag and record.sha256 != before.sha256:
            notice(
                f"shard {record.location} has other bytes than before under the same ETag; do not use --trust-etag with"
                " its server"
            )
            record = record.model_copy(update={"etag": None})
        if not is_command(location):
            self._records.write(location, record)
        return record

    def _inspected(self, location: str, content: Content | None, path: KeptCopy) -> Shard:
        for _ in range(2):
            with path.open("rb"):  # so that it stays
                shard = inspect_shard(shown_location(location), content, path)
            if shard.sha256 == path.sha256:
                return shard
            notice(
                f"the copy of shard {shard.location} was changed by another program, or by the disk; it is fetched again"
            )
            path.unlink(missing_ok=True)
        raise DataError(
            f"the copy of shard {shown_location(location)} in {path.parent} changes as it is read; start again"
        )


class Early:
    """Fetches before it is their turn what there is room for; within a limit each copy is held open until then."""

    def __init__(self, copies: CopyFolder, bring: Callable[[CopyFolder, str], FetchRecord]) -> None:
        """Fetch by `bring` into `copies`."""
        self._copies, self._bring = replace(copies, waits=False), bring
        self._is_full = threading.Event()
        self._open: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "Early":
        """Hold nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what is held still."""
        for file in self._open.values():
            file.close()

    def fetched(self, location: str) -> FetchRecord | None:
        """What a shard is now; None where it is to wait for its turn, as do all from the first that has no room."""
        if self._is_full.is_set() or is_command(location):
            return None
        try:
            record = self._bring(self._copies, location)
        except NoRoom:
            self._is_full.set()
            return None
        if self._copies.limit_bytes is not None and (file := self._copies.held(location, record.sha256)) is not None:
            self._open[location] = file
        return record

    def held(self, location: str) -> AbstractContextManager[Any]:
        """Hold a copy for as long as the block lasts, if it is held, and not longer."""
        return self._open.pop(location, None) or nullcontext()


def shards_in_turn(
    locations: Sequence[str], folder: Path, limit_bytes: int | None
) -> Generator[Callable[[], Shard], None, None]:
    """Check shards one by one, those of this machine too, without a record; see `Elsewhere.in_turn`.

    Args:
        locations: shards, expanded.
        folder: takes copies of those that are not local.
        limit_bytes: of all copies together; what was dropped is fetched again when it is read again. None: they stay.

    Yields:
        What gives the next shard, or raises DataError, SpecError or ArtifactError of it.
    """
    records = FetchRecords(folder / "records", writes=False)
    elsewhere = Elsewhere(CopyFolder(folder, limit_bytes), records, since=time.time())
    far = [location for location in locations if is_elsewhere(location)]
    with closing(elsewhere.in_turn(far, None)) as fetched:
        for location in locations:
            yield next(fetched) if is_elsewhere(location) else partial(_of_this_machine, location)


def _of_this_machine(location: str) -> Shard:
    return inspect_shard(location, None, local_copy(location, Path()))
