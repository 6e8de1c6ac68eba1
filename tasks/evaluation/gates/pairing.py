"""Two evaluations side by side, row for row: what both hold, what only one does, and what changed on the rows of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_specs.errors import DataError
from data_specs.evaluation_files import OUTCOME_TABLES
from data_specs.figures import Interval
from data_specs.metrics import MEAN_OVER_CLASSES, ZERO_SHOT, Metric, Of
from tasks.evaluation.gates.certainty import paired_score_interval
from tasks.evaluation.intervals import Groups, Scores, difference_interval, generator, mean_difference_interval
from tasks.extraction.table_reader import query, stream_rows

_SIDES = ("baseline", "current")
_BY: dict[Of, tuple[str, ...]] = {"pair": ("tag",), "caption": ("tag",), "image": ("data_set", "label")}
_COUNTS = ("before", "after", "gained", "lost")
# Fewer rows of equal scores say nothing of how far another could be from them.
ENOUGH_ALIKE = 30


@dataclass(frozen=True)
class SharedRows:
    """How many rows two evaluations share."""

    both: int
    only_current: int
    only_baseline: int

    @property
    def same(self) -> bool:
        """Whether they are of the same rows."""
        return not self.only_current and not self.only_baseline


@dataclass(frozen=True)
class Compared:
    """A figure in both evaluations on the rows of both, shares in percent; the interval is that of the change.

    No interval where it is not known how far another row could have changed.
    """

    n: int
    before: float
    after: float
    change: float
    interval: Interval | None
    n_gained: int
    n_lost: int


class Pairing:
    """The rows of two evaluations, put together by what they are of and counted by tag or class."""

    def __init__(self, what: Of, baseline: Path, current: Path, metrics: Sequence[Metric]) -> None:
        """Read both.

        Args:
            what: rows are of.
            baseline: folder of an evaluation.
            current: folder of another.
            metrics: what is asked of the rows; both hold their outcomes.
        """
        self._table = query(_sql(what, metrics), _rows(what, (baseline, current), metrics))
        self.n_repeated = max(_n_repeated(what, folder) for folder in (baseline, current))

    def tags(self) -> list[str | None]:
        """The tags that rows of both have."""
        both = self._table.filter(pc.greater(self._table.column("both"), 0))
        tags: list[str | None] = both.column("tag").to_pylist()
        return tags

    def of_tag(self, tag: str | None) -> pa.Table:
        """Counts of the rows of a tag, a row a group."""
        column = self._table.column("tag")
        return self._table.filter(pc.is_null(column) if tag is None else pc.fill_null(pc.equal(column, tag), False))

    def of_data_sets(self, data_sets: Sequence[str]) -> pa.Table:
        """Counts of the images of zero-shot data sets, a row a class."""
        return self._table.filter(pc.is_in(self._table.column("data_set"), pa.array([*data_sets], pa.string())))

    def of_all(self) -> pa.Table:
        """Counts of all rows."""
        return self._table


def shared_rows(counts: pa.Table) -> SharedRows:
    """How many rows counts are of."""
    both, only_current, only_baseline = (
        int(counts.column(name).to_numpy().sum()) for name in ("both", "only_current", "only_baseline")
    )
    return SharedRows(both, only_current, only_baseline)


def compared(counts: pa.Table, metric: Metric, seed: int) -> Compared:
    """A figure in both evaluations.

    Args:
        counts: of a `Pairing`, of 1 row of both or more.
        metric: what is counted, under its own name.
        seed: of the resamples, where an interval needs some: of scores, and of a mean over classes.

    Raises:
        DataError: a score is NaN or infinite.
    """
    counts = counts.filter(pc.greater(counts.column("both"), 0))
    if metric.kind == "mean":
        return _compared_scores(counts, metric, seed)
    groups, found = _grouped(counts, metric)
    before, after = (100 * float((found[name] / groups.sizes).mean()) for name in ("before", "after"))
    gained, lost = found["gained"], found["lost"]
    return Compared(
        n=int(groups.sizes.sum()),
        before=before,
        after=after,
        change=100 * float(((gained - lost) / groups.sizes).mean()),
        interval=difference_interval(groups, gained, lost, generator(seed))
        if groups.one_sample
        else paired_score_interval(groups, gained, lost),
        n_gained=int(gained.sum()),
        n_lost=int(lost.sum()),
    )


def _compared_scores(counts: pa.Table, metric: Metric, seed: int) -> Compared:
    before, after = (
        counts.column(f"{metric.name}.{side}").combine_chunks().flatten().to_numpy().astype(float)
        for side in ("before", "after")
    )
    steps: Scores = after - before
    if not np.isfinite(steps).all():
        raise DataError(f"a score of {metric.name} is NaN or infinite; measure both models again")
    alike = np.ptp(steps) == 0
    interval = None if alike and len(steps) < ENOUGH_ALIKE else mean_difference_interval(steps, generator(seed))
    rose, fell = int((steps > 0).sum()), int((steps < 0).sum())
    return Compared(len(steps), float(before.mean()), float(after.mean()), float(steps.mean()), interval, rose, fell)


def _grouped(counts: pa.Table, metric: Metric) -> tuple[Groups, dict[str, NDArray[np.int64]]]:
    """Counts as a figure takes them: rows together, or data sets or the classes of one apart."""
    sizes = counts.column("both").to_numpy()
    found = {name: counts.column(f"{metric.name}.{name}").to_numpy() for name in _COUNTS}
    if metric.name.endswith(f".{MEAN_OVER_CLASSES}"):
        return Groups(sizes, one_sample=True), found
    if metric.name == ZERO_SHOT:
        names, of = np.unique(counts.column("data_set").to_pylist(), return_inverse=True)
    else:
        names, of = np.array(["all"]), np.zeros(len(sizes), np.int64)

    def merged(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([values[of == place].sum() for place in range(len(names))], np.int64)

    return Groups(merged(sizes)), {name: merged(values) for name, values in found.items()}


def _sql(what: Of, metrics: Sequence[Metric]) -> str:
    table = OUTCOME_TABLES[what]
    rows, key = {"first": "baseline", "second": "current"}, ", ".join(table.same)
    groups = [f"{name}" if name in table.same else f"coalesce(first.{name}, second.{name})" for name in _BY[what]]
    in_both = "first.here AND second.here"
    columns = [
        *(f"{sql} AS {name}" for sql, name in zip(groups, _BY[what], strict=True)),
        f"count(*) FILTER ({in_both}) AS both",
        "count(*) FILTER (first.here IS NULL) AS only_current",
        "count(*) FILTER (second.here IS NULL) AS only_baseline",
        *(column for metric in metrics for column in _columns(metric, in_both, key)),
    ]
    sources = [f"(SELECT *, true AS here FROM {name}) AS {row}" for row, name in rows.items()]
    grouped = ", ".join(groups)
    return (
        f"SELECT {', '.join(columns)} FROM {' FULL JOIN '.join(sources)} USING ({key}) GROUP BY {grouped} ORDER BY ALL"
    )


def _columns(metric: Metric, in_both: str, key: str) -> list[str]:
    within = "" if metric.below is None else f" < {metric.below}"
    first, second = (f'({row}."{metric.outcome}"{within})' for row in ("first", "second"))
    if metric.kind == "mean":
        ways = {
            name: f"list({value} ORDER BY {key}) FILTER ({in_both})"
            for name, value in (("before", first), ("after", second))
        }
    else:
        wanted = (first, second, f"NOT {first} AND {second}", f"{first} AND NOT {second}")
        ways = {name: f"count(*) FILTER ({in_both} AND {sql})" for name, sql in zip(_COUNTS, wanted, strict=True)}
    return [f'{sql} AS "{metric.name}.{name}"' for name, sql in ways.items()]


def _rows(what: Of, folders: Sequence[Path], metrics: Sequence[Metric]) -> dict[str, Any]:
    table = OUTCOME_TABLES[what]
    columns = {*table.same, *_BY[what], *(metric.outcome for metric in metrics)}
    return {
        side: stream_rows([folder / table.file], sorted(columns)) for side, folder in zip(_SIDES, folders, strict=True)
    }


def _n_repeated(what: Of, folder: Path) -> int:
    table = OUTCOME_TABLES[what]
    sql = f"SELECT count(*) - count(DISTINCT ({', '.join(table.key)})) AS n FROM held"
    (row,) = query(sql, {"held": stream_rows([folder / table.file], table.key)}).to_pylist()
    return int(row["n"])
