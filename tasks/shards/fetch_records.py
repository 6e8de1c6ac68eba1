"""Records of what was fetched: for each location its digest, and the ETag and index that go with it."""

import gzip
import os
import secrets
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from data_specs.fetch_record import FetchRecord, SampleRecord, ShardIndex
from data_specs.run_config import Content
from tasks.lineage.code import coded
from tasks.lineage.digest import text_sha256
from tasks.shards.inspection import IndexedSample, Shard, UnusableMember, inspect_shard

_ENDING = ".json.gz"


@dataclass(frozen=True)
class FetchRecords:
    """A folder of records, a file a location."""

    folder: Path
    writes: bool = True

    def read(self, location: str) -> FetchRecord | None:
        """The record of a location; None where there is none that can be read."""
        try:
            return FetchRecord.model_validate_json(gzip.decompress(self._path(location).read_bytes()))
        except (OSError, EOFError, zlib.error, ValidationError):
            return None

    def write(self, location: str, record: FetchRecord) -> None:
        """Put a record in place of the one that was there; where the disk takes none, nothing is trusted later."""
        if not self.writes:
            return
        path = self._path(location)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(gzip.compress(record.model_dump_json().encode(), mtime=0))
            os.replace(draft, path)

    def _path(self, location: str) -> Path:
        return self.folder / f"{text_sha256(location)}{_ENDING}"


def index_of(shard: Shard) -> ShardIndex:
    """What a record keeps of a shard's samples."""
    samples = tuple(
        SampleRecord(
            key=sample.key,
            members=sample.members,
            fault=sample.fault,
            unusable=tuple((each.ending, each.reason, each.detail) for each in sample.unusable),
        )
        for sample in shard.samples
    )
    return ShardIndex(code=_inspection_code(), samples=samples)


def shard_of(record: FetchRecord, location: str, content: Content | None, path: Path) -> Shard | None:
    """A shard as its record has it; None where that was made by other code than this, or before the shard was looked at."""
    if record.index is None or record.index.code != _inspection_code():
        return None
    samples = tuple(
        IndexedSample(
            sample.key, sample.members, sample.fault, tuple(UnusableMember(*each) for each in sample.unusable)
        )
        for sample in record.index.samples
    )
    return Shard(location, path, record.sha256, record.size_bytes, content, samples)


@cache
def _inspection_code() -> str:
    return str(coded(inspect_shard)["code"])
