"""DuckDB over activation statistics: pairs joined, tags filtered, refusals counted, rows streamed to torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_specs.errors import DataError
from data_specs.manifest import Manifest
from data_specs.run_config import CONTENTS, Content
from data_specs.samples import needed_contents
from tasks.extraction.ahead import made_ahead
from tasks.extraction.columns import vectors
from tasks.extraction.rows import SHARD_DIGEST_CHARS
from tasks.extraction.table_reader import ReadLater, connect, query, read_window
from tasks.extraction.windows import Window, window_rows, window_tree, windows_of
from tasks.scoring.saliency import ChannelStats
from tasks.shards.plan import ShardPlan

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


class WindowRows:
    """The rows of one window, brought together as a scorer needs them, for one window after the other."""

    def __init__(self, tags: Sequence[str] | None) -> None:
        """Keep only rows with one of these tags; None for all."""
        self._tags = None if tags is None else list(tags)
        self.columns = _COLUMNS if tags is None else ("tag", *_COLUMNS)
        self.n_unmatched = 0

    @cached_property
    def _connection(self) -> Any:
        # Rows as a pass writes them need none, and it takes as long as half a window.
        return connect(memory_limit="1GB", threads=2)

    def wanted(self, tables: Sequence[pa.Table]) -> pa.Table:
        """The rows of tables one after the other, without those of other tags, numbered."""
        rows = pa.concat_tables(tables)
        rows = rows.append_column("row_number", pa.array(np.arange(rows.num_rows)))
        if self._tags is None:
            return rows
        wanted = "SELECT * FROM rows WHERE list_contains(?, tag) ORDER BY row_number"
        return query(wanted, {"rows": rows}, connection=self._connection, parameters=[self._tags])

    def pairs(self, rows: pa.Table) -> PairBatch | None:
        """Safe rows joined with the unsafe rows of the same pair; None where there is no pair.

        Rows without a partner are counted in `n_unmatched`.
        """
        ids = _ids_side_by_side(rows)
        if ids is not None:
            return PairBatch(ids, *_sides_apart(rows)) if ids else None
        sql = f"""
            SELECT safe.pair_id, {_vectors("safe")}, {_vectors("unsafe")}
            FROM rows AS safe JOIN rows AS unsafe USING (pair_id)
            WHERE safe.content = 'safe' AND unsafe.content = 'unsafe'
            ORDER BY safe.row_number
        """
        table = query(sql, {"rows": rows}, connection=self._connection)
        self.n_unmatched += rows.num_rows - 2 * table.num_rows
        if not table.num_rows:
            return None
        return PairBatch(table.column("pair_id").to_pylist(), _stats(table, "safe"), _stats(table, "unsafe"))

    def side(self, rows: pa.Table, content: Content) -> SideBatch | None:
        """Rows of one side, without a join; None where there is none."""
        sql = f"""
            SELECT pair_id, {_vectors("side")}
            FROM side
            WHERE content = '{content}'
            ORDER BY row_number
        """
        table = query(sql, {"side": rows}, connection=self._connection)
        if not table.num_rows:
            return None
        return SideBatch(content, table.column("pair_id").to_pylist(), _stats(table, "side"))


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
        files = sorted(folder.glob("*.parquet"))
        if not files:
            raise DataError(f"no activation statistics in {folder}")
        self.window = WindowRows(tags)
        self._read_later = ReadLater(files)
        footers = self._read_later.footers
        width: int = footers[0].schema.to_arrow_schema().field("norm").type.list_size
        n_rows = [footer.num_rows for footer in footers]
        if first_rows is not None:
            n_rows = [min(n, first_rows.get(path.name, 0)) for n, path in zip(n_rows, files, strict=True)]
        self.tree = window_tree(n_rows, window_rows(width))

    @property
    def n_unmatched(self) -> int:
        """Rows without a partner among those that were joined so far."""
        return self.window.n_unmatched

    def rows(self) -> Iterator[pa.Table]:
        """The rows of one window of the tree after the other; the next ones are read while some are used."""
        return map(self.window.wanted, made_ahead(self._read, windows_of(self.tree)))

    def pairs(self) -> Iterator[PairBatch]:
        """The pairs of one window after the other."""
        for rows in self.rows():
            batch = self.window.pairs(rows)
            if batch is not None:
                yield batch

    def _read(self, window: Window) -> list[pa.Table]:
        tables = []
        for piece in window:
            with self._read_later.opened(piece.shard) as file:
                tables.append(read_window(file, piece.start, piece.stop, self.window.columns))
        return tables


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


def _ids_side_by_side(rows: pa.Table) -> list[str] | None:
    """The ids of pairs whose two rows stand as a pass writes them, which need no join; None where some do not."""
    ids: list[str] = rows.column("pair_id").to_pylist()
    n_pairs = len(ids) // 2
    as_written = rows.column("content").to_pylist() == [*CONTENTS] * n_pairs
    return ids[::2] if as_written and ids[::2] == ids[1::2] and len({*ids}) == n_pairs else None


def _sides_apart(rows: pa.Table) -> tuple[ChannelStats, ChannelStats]:
    norm, std = (vectors(rows.column(name), name) for name in ("norm", "std"))
    return ChannelStats(norm[::2], std[::2]), ChannelStats(norm[1::2], std[1::2])


def _stats(table: pa.Table, side: str) -> ChannelStats:
    return ChannelStats(
        vectors(table.column(f"{side}_norm"), f"{side}_norm"), vectors(table.column(f"{side}_std"), f"{side}_std")
    )
