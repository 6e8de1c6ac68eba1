"""A sample of pairs that is drawn by their ids: that of a whole set is drawn from those of its shards."""

import hashlib
from collections.abc import Iterable

import pyarrow as pa

_SEED = b"uwm sample of pairs 0/"


def drawn(pair_ids: Iterable[str], n: int) -> frozenset[str]:
    """The `n` ids whose digests come first, or all of them."""
    return frozenset(sorted(set(pair_ids), key=_place)[:n])


def drawn_rows(rows: pa.Table, n: int) -> pa.Table:
    """The rows of `n` pairs or unpaired samples, or all of them, in their order."""
    ids = rows.column("pair_id").to_pylist()
    return rows_of(rows, drawn(ids, n))


def rows_of(rows: pa.Table, pair_ids: frozenset[str]) -> pa.Table:
    """The rows of some pairs, in their order."""
    return rows.filter(pa.array([each in pair_ids for each in rows.column("pair_id").to_pylist()], pa.bool_()))


def _place(pair_id: str) -> bytes:
    return hashlib.sha256(_SEED + pair_id.encode()).digest()
