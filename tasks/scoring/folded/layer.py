"""One layer's statistics of neighbouring shards: rows, as long as they fit into one window, and sums else."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

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
from tasks.lineage.cores import available_cores
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
_SAMPLES = ThreadPoolExecutor(max(1, available_cores() // 2), "samples")  # read and written while sums are


@dataclass(frozen=True)
class Folding:
    """How statistics are folded: for which scorer, over which tags."""

    chosen: EncoderConfig
    tags: tuple[str, ...] | None


@dataclass(frozen=True)
class Unfolded:
    """Rows that fit into one window, as they were taken."""

    rows: pa.Table


class Joinable(Protocol):
    """Sums that those over later samples can be joined to."""

    def join(self, later: Self, /) -> None:
        """Add what was added up over later samples, which is not to be used again."""


AnySums = TypeVar("AnySums", bound=Joinable)


@dataclass
class Folded(Generic[AnySums]):
    """What rows came to: sums of the wanted ones, moments and a sample of all."""

    sums: AnySums
    moments: Moments
    sample: pa.Table

    def join(self, later: "Folded[AnySums]", sample_pairs: int) -> None:
        """Take in what later rows came to, which is not to be used again."""
        self.sums.join(later.sums)
        self.moments.join(later.moments)
        self.sample = drawn_rows(pa.concat_tables([self.sample, later.sample]), sample_pairs)


LayerState = Unfolded | Folded[AnySums]


class AnyLayerFolding(ABC, Generic[AnySums]):
    """Folds rows of one layer, and joins what others came to, whatever sums those are."""

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

    @abstractmethod
    def no_sums(self) -> AnySums:
        """Those of no rows."""

    @abstractmethod
    def add_to(self, sums: AnySums, rows: pa.Table) -> None:
        """Take the rows of one window into sums.

        Raises:
            DataError: a pair has no ratio; it is named.
        """

    @abstractmethod
    def counted(self, sums: AnySums) -> SumCounts:
        """What sums count, the same for all layers that have sums."""

    @abstractmethod
    def write_sums(self, sums: AnySums, path: Path) -> None:
        """Write sums, which are not to be used again."""

    @abstractmethod
    def read_sums(self, path: Path, counts: SumCounts) -> AnySums:
        """Read what `write_sums` wrote; `counts` are those of the record."""

    @abstractmethod
    def scored(self, state: LayerState[AnySums]) -> PairScores | SideScores:
        """The scorer with all that was added up.

        Raises:
            DataError: a pair has no ratio; it is named, and the layer is not.
        """

    def empty(self) -> Folded[AnySums]:
        """What no rows come to."""
        schema = activation_stats_schema(self._width)
        return Folded(self.no_sums(), Moments(self._width), schema.empty_table())

    def add(self, rows: pa.Table, folded: Folded[AnySums], sampled: pa.Table) -> None:
        """Take the rows of one window into what earlier ones came to.

        Args:
            rows: at most `window_rows` of them.
            folded: of the rows before.
            sampled: those of the rows that may be in the sample.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        moments = _BESIDE.submit(Moments.of_rows, rows)
        with self.naming_layer():
            self.add_to(folded.sums, rows)
        folded.moments.join(moments.result())
        folded.sample = pa.concat_tables([folded.sample, sampled])

    @contextmanager
    def naming_layer(self) -> Iterator[None]:
        """Errors of data begin with the layer's name."""
        try:
            yield
        except DataError as error:
            raise DataError(f"layer {self._name}: {error}") from error

    def join(self, earlier: LayerState[AnySums], later: LayerState[AnySums]) -> LayerState[AnySums]:
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

    def folded(self, state: LayerState[AnySums]) -> Folded[AnySums]:
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

    def write(self, state: LayerState[AnySums], folder: Path) -> None:
        """Write a layer's files into its folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(state, Folded):
            sample = _SAMPLES.submit(_write, state.sample, folder / SAMPLE_FILE)
            try:
                self.write_sums(state.sums, folder / SUMS_FILE)
                _write(state.moments.table(), folder / CHANNELS_FILE)
            finally:
                sample.result()
        else:
            _write(state.rows, folder / ROWS_FILE)
            _write(Moments.of_rows(state.rows).table(), folder / CHANNELS_FILE)

    def as_read(self, state: LayerState[AnySums]) -> LayerState[AnySums]:
        """What `read` would give: a file holds variances, which are not quite the sums of squares."""
        if isinstance(state, Folded):
            state.moments = Moments.of_table(state.moments.table())
        return state

    def counts(self, state: LayerState[AnySums]) -> SumCounts | None:
        """What the sums count; None of rows, as windows go by width."""
        return self.counted(state.sums) if isinstance(state, Folded) else None

    def read(self, folder: Path, counts: SumCounts | None) -> LayerState[AnySums]:
        """Read what `write` wrote; `counts` are those of the sums."""
        has_sums = counts is not None and not (folder / ROWS_FILE).is_file()
        sample = _SAMPLES.submit(_read, folder / SAMPLE_FILE) if has_sums else None
        state = self.read_to_score(folder, counts)
        if isinstance(state, Folded) and sample is not None:
            state.moments = Moments.of_table(_read(folder / CHANNELS_FILE))
            state.sample = sample.result()
        return state

    def read_to_score(self, folder: Path, counts: SumCounts | None) -> LayerState[AnySums]:
        """As `read`, without the moments and the sample of sums, which no score needs."""
        if counts is None or (folder / ROWS_FILE).is_file():
            return Unfolded(_read(folder / ROWS_FILE))
        folded = self.empty()
        folded.sums = self.read_sums(folder / SUMS_FILE, counts)
        return folded


class LayerFolding(AnyLayerFolding[Sums]):
    """Folds rows of one layer into one sum over all wanted ones."""

    def no_sums(self) -> Sums:
        """Those of no rows."""
        return Sums(tuple(self._scores.sums.counts))

    def add_to(self, sums: Sums, rows: pa.Table) -> None:
        """Take the wanted rows of one window into sums.

        Raises:
            DataError: a pair has no ratio; it is named.
        """
        self._scores.sums = sums
        add_window(self._window.wanted([rows.select(self._window.columns)]), self._window, self._scores)

    def counted(self, sums: Sums) -> SumCounts:
        """Samples or pairs, by sum."""
        return dict(sums.counts)

    def scored(self, state: LayerState[Sums]) -> PairScores | SideScores:
        """The scorer with all that was added up.

        Raises:
            DataError: a pair has no ratio; it is named, and the layer is not.
        """
        if isinstance(state, Unfolded):
            self.add_to(self.no_sums(), state.rows)
        else:
            self._scores.sums = state.sums
        return self._scores

    def write_sums(self, sums: Sums, path: Path) -> None:
        """Write a row an output and a column a sum."""
        _write(_sums_table(sums, self._width), path)

    def read_sums(self, path: Path, counts: SumCounts) -> Sums:
        """Read what `write_sums` wrote; `counts` are those of the record."""
        sums, table = self.no_sums(), _read(path)
        for name in table.column_names[1:]:
            sums.add(name, matrix_of(table.column(name)).to(self._device), counts[name])
        return sums


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


def matrix_of(column: pa.ChunkedArray) -> Tensor:
    """[rows, width] of a column of fixed-size lists of floats, none of them null; a copy, which may be written."""
    return torch.cat([from_dlpack(chunk.flatten()).view(-1, column.type.list_size) for chunk in column.chunks])


def _write(table: pa.Table, path: Path) -> None:
    with open_parquet(path, table.schema) as writer:  # bytes that do not tell how rows came together
        writer.write_table(table.combine_chunks(), row_group_size=row_group_rows(table.schema))


def _read(path: Path) -> pa.Table:
    with open_rows(path) as file:
        return file.read(use_threads=False)
