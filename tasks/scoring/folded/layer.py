"""One layer's statistics of neighbouring shards: rows, as long as they fit into one window, and sums else."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from data_specs.errors import DataError
from data_specs.run_config import EncoderConfig
from data_specs.schemas import activation_stats_schema, sums_schema
from tasks.extraction.table_reader import open_rows
from tasks.extraction.table_writer import open_parquet, row_group_rows
from tasks.extraction.windows import window_rows
from tasks.scoring.aggregate import WindowRows
from tasks.scoring.folded.moments import Moments
from tasks.scoring.folded.sample import drawn_rows
from tasks.scoring.joined.layer import SumCounts
from tasks.scoring.layer_scores import add_window
from tasks.scoring.scorer import ActivationScorer, PairScores, SideScores
from tasks.scoring.scorers.registry import find_scorer
from tasks.scoring.total import Sums

ROWS_FILE, SUMS_FILE = "rows.parquet", "sums.parquet"
CHANNELS_FILE, SAMPLE_FILE = "channels.parquet", "sample.parquet"
# Moments take a fifth of a window's time, and nothing of its sums. A thread asks once for the number of threads that this
# process computes with, as that may change last digits.
_BESIDE = ThreadPoolExecutor(1, "moments", initializer=torch.get_num_threads)


@dataclass(frozen=True)
class Folding:
    """How statistics are folded: for which scorer, over which tags."""

    chosen: EncoderConfig
    tags: tuple[str, ...] | None


@dataclass(frozen=True)
class Unfolded:
    """Rows that fit into one window, as they were taken."""

    rows: pa.Table


@dataclass
class Folded:
    """What rows came to: sums of the wanted ones, moments and a sample of all."""

    sums: Sums
    moments: Moments
    sample: pa.Table

    def join(self, later: "Folded", sample_pairs: int) -> None:
        """Take in what later rows came to, which is not to be used again."""
        self.sums.join(later.sums)
        self.moments.join(later.moments)
        self.sample = drawn_rows(pa.concat_tables([self.sample, later.sample]), sample_pairs)


LayerState = Unfolded | Folded


def counted_by(states: Iterable[LayerState]) -> dict[str, int] | None:
    """What the sums of layers count, the same for all that have sums; None where all are rows, as windows go by width."""
    return next((dict(state.sums.counts) for state in states if isinstance(state, Folded)), None)


class LayerFolding:
    """Folds rows of one layer, and joins what others came to."""

    def __init__(self, weight: Tensor, folding: Folding, name: str) -> None:
        """Fold for scores of `weight` [out, in], on its device; `name` is the layer's, for errors."""
        self._name = name
        self._scores: PairScores | SideScores = find_scorer(folding.chosen.scorer, ActivationScorer).start(
            weight, folding.chosen
        )
        self._window = WindowRows(folding.tags)
        self.sample_pairs = folding.chosen.sample_pairs
        self._device = weight.device
        self._width = weight.shape[1]
        self.window_rows = window_rows(self._width)

    def empty(self) -> Folded:
        """What no rows come to."""
        schema = activation_stats_schema(self._width)
        return Folded(Sums(tuple(self._scores.sums.counts)), Moments(self._width), schema.empty_table())

    def add(self, rows: pa.Table, folded: Folded, sampled: pa.Table) -> None:
        """Take the rows of one window into what earlier ones came to.

        Args:
            rows: at most `window_rows` of them.
            folded: of the rows before.
            sampled: those of the rows that may be in the sample.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        self._scores.sums = folded.sums
        moments = _BESIDE.submit(Moments.of_rows, rows)
        try:
            add_window(self._window.wanted([rows.select(self._window.columns)]), self._window, self._scores)
        except DataError as error:
            raise DataError(f"layer {self._name}: {error}") from error
        folded.moments.join(moments.result())
        folded.sample = pa.concat_tables([folded.sample, sampled])

    def join(self, earlier: LayerState, later: LayerState) -> LayerState:
        """Bring two neighbours together, neither of which is to be used again.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        if isinstance(earlier, Unfolded) and isinstance(later, Unfolded):
            both = pa.concat_tables([earlier.rows, later.rows])
            if both.num_rows <= self.window_rows:
                return Unfolded(both)
        folded = self.folded(earlier)
        folded.join(self.folded(later), self.sample_pairs)
        return folded

    def folded(self, state: LayerState) -> Folded:
        """What rows come to, or have come to.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        if isinstance(state, Folded):
            return state
        folded = self.empty()
        if state.rows.num_rows:
            self.add(state.rows, folded, drawn_rows(state.rows, self.sample_pairs))
        return folded

    def scored(self, state: LayerState) -> PairScores | SideScores:
        """The scorer with all that was added up."""
        self._scores.sums = self.folded(state).sums
        return self._scores

    def write(self, state: LayerState, folder: Path) -> None:
        """Write a layer's files into its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(state, Folded):
            _write(_sums_table(state.sums, self._width), folder / SUMS_FILE)
            _write(state.sample, folder / SAMPLE_FILE)
            _write(state.moments.table(), folder / CHANNELS_FILE)
        else:
            _write(state.rows, folder / ROWS_FILE)
            _write(Moments.of_rows(state.rows).table(), folder / CHANNELS_FILE)

    def as_read(self, state: LayerState) -> LayerState:
        """What `read` would give: a file holds variances, which are not quite the sums of squares."""
        if isinstance(state, Folded):
            state.moments = Moments.of_table(state.moments.table())
        return state

    def counts(self, state: LayerState) -> SumCounts | None:
        """What the sums count; None of rows."""
        return counted_by([state])

    def read(self, folder: Path, counts: SumCounts | None) -> LayerState:
        """Read what `write` wrote; `counts` are those of the sums."""
        state = self.read_sums(folder, counts)
        if isinstance(state, Folded):
            state.moments = Moments.of_table(_read(folder / CHANNELS_FILE))
            state.sample = _read(folder / SAMPLE_FILE)
        return state

    def read_sums(self, folder: Path, counts: SumCounts | None) -> LayerState:
        """As `read`, without the moments and the sample of sums, which no score needs."""
        if counts is None or (folder / ROWS_FILE).is_file():
            return Unfolded(_read(folder / ROWS_FILE))
        folded = self.empty()
        table = _read(folder / SUMS_FILE)
        for name in table.column_names[1:]:
            folded.sums.add(name, _matrix(table.column(name), self._width).to(self._device), counts[name])
        return folded


def _sums_table(sums: Sums, width: int) -> pa.Table:
    matrices = {name: total.matrix.cpu().numpy() for name, total in sums.totals.items() if total.matrix is not None}
    types = {name: pa.from_numpy_dtype(matrix.dtype) for name, matrix in matrices.items()}
    schema = sums_schema(width, types)
    n_outputs = max((len(matrix) for matrix in matrices.values()), default=0)
    columns = [pa.array(np.arange(n_outputs, dtype=np.int32))]
    for name, matrix in matrices.items():
        flat = np.ascontiguousarray(matrix).reshape(-1)
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), width).cast(schema.field(name).type))
    return pa.Table.from_arrays(columns, schema=schema)


def _matrix(column: pa.ChunkedArray, width: int) -> Tensor:
    of_chunks = [from_dlpack(chunk.flatten()).view(-1, width) for chunk in column.chunks]
    return torch.cat(of_chunks)  # a copy, which may be added to


def _write(table: pa.Table, path: Path) -> None:
    with open_parquet(path, table.schema) as writer:  # bytes that do not tell how rows came together
        writer.write_table(table.combine_chunks(), row_group_size=row_group_rows(table.schema))


def _read(path: Path) -> pa.Table:
    with open_rows(path) as file:
        return file.read(use_threads=False)
