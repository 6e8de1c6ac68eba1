"""Whether an artifact that was made from a shard took in one of its pairs."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from tasks.extraction.table_reader import open_rows
from tasks.lineage.store import Store

_PAIR_ID = "pair_id"
_PARTS = "parts"
_PARQUET, _JSON = ".parquet", ".json"
# Beside sums, a drawn sample of the rows that they are of: of all where they are few.
_SAMPLE, _SAMPLE_SIZE = "sample.parquet", "sample_pairs"


def holds_pair(store: Store, ref: ArtifactRef, pair: str) -> bool | None:
    """Whether a pair went into an artifact that names its shard.

    Args:
        store: holds the artifact.
        ref: which.
        pair: id of the pair.

    Returns:
        None where it holds sums of which nothing can be told: of all pairs of the shard that could be read. Sums by tag are
        of all tags, too.
    """
    try:
        manifest = store.manifest(ref)
    except ArtifactError:
        return None
    if _PARTS in manifest.recipe.inputs:
        return False  # what its parts hold
    if pair.partition("/")[2] in _bad_keys(manifest.counts):
        return False
    paths = [store.path(ref) / entry.path for entry in manifest.files]
    tables = [path for path in paths if path.suffix == _PARQUET]
    size = manifest.recipe.settings.get(_SAMPLE_SIZE)
    # Of some layers all rows may be there, and of others a sample.
    for path in sorted(tables, key=lambda table: table.name == _SAMPLE):
        found = _in_table(path, pair, size if path.name == _SAMPLE else None)
        if found is not None:
            return found
    texts = [path for path in paths if path.suffix == _JSON]
    if texts and ref.kind.startswith("gallery"):
        return any(_in_text(path, pair) for path in texts)
    return None


def _in_table(path: Path, pair: str, sample: Any) -> bool | None:
    """None where it has no column of pairs, is gone, or is a full sample of so many pairs without this one."""
    with suppress(OSError, pa.ArrowException), open_rows(path) as file:
        if _PAIR_ID in file.schema_arrow.names:
            ids = file.read([_PAIR_ID]).column(_PAIR_ID)
            held = bool(pc.any(pc.equal(ids, pair)).as_py())
            return None if sample is not None and not held and pc.count_distinct(ids).as_py() >= sample else held
    return None


def _in_text(path: Path, pair: str) -> bool:
    with suppress(OSError):
        return json.dumps(pair, ensure_ascii=False) in path.read_text(encoding="utf-8")
    return True


def _bad_keys(counts: dict[str, Any]) -> list[Any]:
    """Keys of samples that a manifest of one shard counts as skipped."""
    return [item.get("key") for item in counts.get("bad", []) if isinstance(item, dict)]
