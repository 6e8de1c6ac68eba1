"""Shards that lie elsewhere: fetched once, or taken for unchanged on the word of their store."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from data_specs.errors import DataError
from data_specs.fetch_record import FetchRecord
from data_specs.run_config import Content
from tasks.lineage.progress import notice
from tasks.shards.copy_folder import CopyFolder, KeptCopy
from tasks.shards.fetch_records import FetchRecords, index_of, shard_of
from tasks.shards.fetching import Answer
from tasks.shards.inspection import Shard, inspect_shard
from tasks.shards.location import is_command, look, shown_location

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
        return [shard or self._current(location, content) for location, shard in zip(locations, shards, strict=True)]

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

    def _current(self, location: str, content: Content | None) -> Shard:
        """The shard as it is now."""
        with self._copies.alone(location):
            record = None if is_command(location) else self._records.read(location)
            if record is None or record.fetched < self._since:
                record = self._fetched(location, record)
            elif not self._copies.has(record.sha256):
                # This run has seen it, and dropped it for others.
                path = self._copies.path(location, record.sha256)
                shard = shard_of(record, shown_location(location), content, path)
                if shard is not None:
                    return shard
                record = self._fetched(location, record)
        shard = self._inspected(location, content, self._copies.path(location, record.sha256))
        if record.index is None and not is_command(location):
            self._records.write(location, record.model_copy(update={"index": index_of(shard)}))
        return shard

    def _fetched(self, location: str, before: FetchRecord | None) -> FetchRecord:
        started = time.time()
        fetched = self._copies.bring(location)
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
