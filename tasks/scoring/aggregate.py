"""DuckDB over activation statistics: pairs joined, tags filtered, refusals counted, rows streamed to torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_specs.errors import DataError
from data_specs.manifest import Manifest
from data_specs.run_config import CONTENTS, Content
from data_specs.samples import needed_contents
from tasks.extraction.columns import vectors
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.extraction.table_reader import connect, one_ahead, open_rows, query, read_window
from tasks.scoring.saliency import ChannelStats
from tasks.shards.plan import ShardPlan

# A window is joined and multiplied at once; memory follows it, not the number of pairs.
_WINDOW_BYTES = 8 << 20
_COLUMNS = ("pair_id", "content", "norm", "std")


@dataclass(frozen=True)
class PairBatch:
    """Pairs in file order: their ids and the statistics of both sides, each [pairs, in]."""

    pair_ids: list[str]
    safe: ChannelStats
    unsafe: ChannelStats


@dataclass(frozen=True)
class SideBatch:
    """Samples of one side in file order, statistics [samples, in]."""

    content: Content
    pair_ids: list[str]
    stats: ChannelStats


class LayerStatistics:
    """The activation statistics of one layer: a Parquet file a shard."""

    def __init__(self, folder: Path, tags: Sequence[str] | None, first_rows: Mapping[str, int] | None = None) -> None:
        """Read the files of `folder` in name order.

        Args:
            folder: with a Parquet file a shard.
            tags: keep only pairs with one of these tags; None for all.
            first_rows: how many rows of each file to read, by file name; None for all of all files.

        Raises:
            DataError: there is no file.
        """
        self._files = sorted(folder.glob("*.parquet"))
        if not self._files:
            raise DataError(f"no activation statistics in {folder}")
        self._first_rows = first_rows
        with open_rows(self._files[0]) as file:
            self.width: int = file.schema_arrow.field("norm").type.list_size
        self._tags = None if tags is None else list(tags)
        self._columns = _COLUMNS if tags is None else ("tag", *_COLUMNS)
        self.n_unmatched = 0
        self._connection = connect(memory_limit="1GB", threads=2)

    def pairs(self) -> Iterator[PairBatch]:
        """Safe rows joined with the unsafe rows of the same pair, window by window.

        Rows without a partner are counted in `n_unmatched`.
        """
        sql = f"""
            SELECT safe.pair_id, {_vectors("safe")}, {_vectors("unsafe")}
            FROM rows AS safe JOIN rows AS unsafe USING (pair_id)
            WHERE safe.content = 'safe' AND unsafe.content = 'unsafe'
            ORDER BY safe.row_number
        """
        for rows in self._windows():
            table = query(sql, {"rows": rows}, connection=self._connection)
            self.n_unmatched += rows.num_rows - 2 * table.num_rows
            if table.num_rows:
                ids = table.column("pair_id").to_pylist()
                yield PairBatch(ids, _stats(table, "safe"), _stats(table, "unsafe"))

    def sides(self, contents: Sequence[Content] = CONTENTS) -> Iterator[SideBatch]:
        """Rows of each side, window by window, without a join."""
        for content in contents:
            sql = f"""
                SELECT pair_id, {_vectors("side")}
                FROM side
                WHERE content = '{content}'
                ORDER BY row_number
            """
            for rows in self._windows():
                table = query(sql, {"side": rows}, connection=self._connection)
                if table.num_rows:
                    yield SideBatch(content, table.column("pair_id").to_pylist(), _stats(table, "side"))

    def _windows(self) -> Iterator[pa.Table]:
        return map(self._wanted, one_ahead(self._tables()))

    def _tables(self) -> Iterator[list[pa.Table]]:
        """Rows to be joined and multiplied at once: some of a large file, or all of several small ones."""
        size = self._window_rows()
        waiting: list[pa.Table] = []
        for path in self._files:
            with open_rows(path) as file:
                n_rows = file.metadata.num_rows
                if self._first_rows is not None:
                    n_rows = min(n_rows, self._first_rows.get(path.name, 0))
                if waiting and sum(map(len, waiting)) + n_rows > size:
                    yield waiting
                    waiting = []
                for start in range(0, n_rows, size):
                    waiting.append(read_window(file, start, min(start + size, n_rows), self._columns))
                    if n_rows > size:
                        yield waiting
                        waiting = []
        if waiting:
            yield waiting

    def _window_rows(self) -> int:
        # The two rows of a pair are neighbours and the first is even, so windows of even length split no pair.
        return max(2, min(_WINDOW_BYTES // (8 * self.width), 65_536) // 2 * 2)

    def _wanted(self, tables: Sequence[pa.Table]) -> pa.Table:
        rows = pa.concat_tables(tables)
        rows = rows.append_column("row_number", pa.array(np.arange(rows.num_rows)))
        if self._tags is None:
            return rows
        wanted = "SELECT * FROM rows WHERE list_contains(?, tag) ORDER BY row_number"
        return query(wanted, {"rows": rows}, connection=self._connection, parameters=[self._tags])


def _vectors(side: str) -> str:
    return ", ".join(f"{side}.{name} AS {side}_{name}" for name in ("norm", "std"))


def first_rows(activations: Manifest, plans: Sequence[ShardPlan]) -> dict[str, int]:
    """How many rows of each file of an activations artifact are of planned samples, which come first in it.

    Args:
        activations: the artifact's record; its plan must begin with `plans`.
        plans: the samples to read.

    Returns:
        Rows by file name; files of other shards are not named.
    """
    digests = {source.location: source.sha256 for source in activations.sources}
    skipped = {(digests[item["shard"]], item["key"]) for item in activations.counts["skipped"]}
    planned = {plan.shard.sha256[:SHARD_DIGEST_CHARS]: plan for plan in plans}
    rows = {}
    for entry in activations.files:
        name = Path(entry.path).name
        plan = planned.get(Path(name).stem.split("-")[-1])
        if plan is not None:
            n_used = sum((plan.shard.sha256, key) not in skipped for key in plan.keys)
            rows[name] = n_used * len(needed_contents(plan.shard.content))
    return rows


def _stats(table: pa.Table, side: str) -> ChannelStats:
    return ChannelStats(
        vectors(table.column(f"{side}_norm"), f"{side}_norm"), vectors(table.column(f"{side}_std"), f"{side}_std")
    )
