"""Outcomes counted and gathered in SQL, figure by figure: of one model, or what changed between two."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_specs.evaluation_files import OUTCOME_TABLES
from data_specs.figures import Interval
from data_specs.metrics import ACCURACIES, MEAN_OVER_CLASSES, ZERO_SHOT, Metric, Of, accuracy_name, metrics_of
from tasks.evaluation.intervals import (
    Counts,
    Groups,
    difference_interval,
    mcnemar_p,
    mean_difference_interval,
    mean_interval,
    share_interval,
)
from tasks.extraction.table_reader import query, stream_rows

Accuracies = Mapping[str, Iterable[str]]

_SIDES = ("first", "second")
_UNGROUPED: tuple[Of, ...] = ("pair", "caption")
# first and second are what a row counts as, or scores, in either evaluation.
_OF_ONE = {"share": {"right": "count(*) FILTER ({first})"}, "mean": {"scores": "list({first} ORDER BY {key})"}}
_OF_TWO = {
    "share": {
        "gained": "count(*) FILTER (NOT ({first}) AND ({second}))",
        "lost": "count(*) FILTER (({first}) AND NOT ({second}))",
    },
    "mean": {"steps": "list({second} - {first} ORDER BY {key})"},
}


@dataclass(frozen=True)
class Figure:
    """A metric's value over `n` pairs, captions or images, a share in percent; `interval` draws its 95 % bounds."""

    metric: str
    n: int
    value: float
    interval: Callable[[np.random.Generator], Interval]


@dataclass(frozen=True)
class Change:
    """The difference of two models, second less first, a share's in points; how many rose and fell.

    p is McNemar's of a share of one set, and None of a mean of several shares or of scores.
    """

    metric: str
    n: int
    difference: float
    interval: Callable[[np.random.Generator], Interval]
    n_gained: int
    n_lost: int
    p: float | None


@dataclass(frozen=True)
class _Tally:
    """Of a share counts [groups] of `right`, or of `gained` and `lost`; of a mean `scores` [n], or `steps`."""

    metric: str
    groups: Groups
    found: Mapping[str, NDArray[Any]]

    def merged(self) -> "_Tally":
        """All groups as one."""
        found = {name: count.sum(keepdims=True) for name, count in self.found.items()}
        return replace(self, groups=Groups(self.groups.sizes.sum(keepdims=True)), found=found)


def figures(folder: Path, accuracies: Accuracies) -> list[Figure]:
    """Every figure of an evaluation: of pairs, of captions and of labelled images where there are any.

    Args:
        folder: holds the outcomes.
        accuracies: which are asked for, by zero-shot data set.
    """
    return [_figure(tally) for tally in _tallies((folder,), accuracies)]


def changes(first: Path, second: Path, accuracies: Accuracies) -> list[Change]:
    """The same between two evaluations on the same pairs, captions and images."""
    return [_change(tally) for tally in _tallies((first, second), accuracies)]


def tag_figures(folder: Path) -> dict[str | None, list[Figure]]:
    """The metrics that are given by tag; None are pairs and captions without a tag, last."""
    found: dict[str | None, list[Figure]] = {}
    for what in _present(folder):
        main = [metric for metric in metrics_of(what) if metric.main]
        table = _count(what, (folder,), main, by=("tag",))
        for row, tag in enumerate(table.column("tag").to_pylist()):
            found.setdefault(tag, []).extend(_figure(_tally(metric, table.slice(row, 1))) for metric in main)
    return {tag: found[tag] for tag in sorted(found, key=lambda tag: (tag is None, tag or ""))}


def _present(folder: Path) -> list[Of]:
    return [what for what in _UNGROUPED if (folder / OUTCOME_TABLES[what].file).exists()]


def _tallies(folders: Sequence[Path], accuracies: Accuracies) -> Iterator[_Tally]:
    for what in _present(folders[0]):
        table = _count(what, folders, metrics_of(what))
        yield from (_tally(metric, table) for metric in metrics_of(what))
    if accuracies:
        yield from _labelled(folders, accuracies)


def _labelled(folders: Sequence[Path], accuracies: Accuracies) -> Iterator[_Tally]:
    """The mean over data sets, then every accuracy of every data set."""
    table = _count("image", folders, list(ACCURACIES.values()), by=("data_set", "label"))
    names = np.array(table.column("data_set").to_pylist())
    by_class = {data_set: table.filter(pa.array(names == data_set)) for data_set in accuracies}
    first = ACCURACIES["acc1"]
    sets = [_tally(first, rows).merged() for rows in by_class.values()]
    found = {name: np.concatenate([item.found[name] for item in sets]) for name in sets[0].found}
    yield _Tally(ZERO_SHOT, Groups(np.concatenate([item.groups.sizes for item in sets])), found)
    for data_set, wanted in accuracies.items():
        for accuracy in wanted:
            tally = _tally(ACCURACIES[accuracy], by_class[data_set])
            if accuracy == MEAN_OVER_CLASSES:
                tally = replace(tally, groups=replace(tally.groups, one_sample=True))
            else:
                tally = tally.merged()
            yield replace(tally, metric=accuracy_name(data_set, accuracy))


def _count(what: Of, folders: Sequence[Path], metrics: Sequence[Metric], by: Sequence[str] = ()) -> pa.Table:
    """A row for each value of `by`: its columns, `n`, and what is found of each metric as `right.METRIC` and so on."""
    table = OUTCOME_TABLES[what]
    source = "first"
    if len(folders) > 1:
        source += f" JOIN second USING ({', '.join(table.key)})"
    key = ", ".join(f"first.{name}" for name in table.key)
    columns = [f"first.{name}" for name in by] + ["count(*) AS n"]
    for metric in metrics:
        within = "" if metric.below is None else f" < {metric.below}"
        values = {row: f'{row}."{metric.outcome}"{within}' for row in _SIDES}
        ways = (_OF_ONE if len(folders) == 1 else _OF_TWO)[metric.kind]
        columns += [f'{way.format(**values, key=key)} AS "{name}.{metric.name}"' for name, way in ways.items()]
    sql = f"SELECT {', '.join(columns)} FROM {source}"
    if by:
        names = ", ".join(f"first.{name}" for name in by)
        sql += f" GROUP BY {names} ORDER BY {', '.join(f'first.{name} NULLS LAST' for name in by)}"
    return query(sql, {name: stream_rows([folder / table.file]) for name, folder in zip(_SIDES, folders, strict=False)})


def _tally(metric: Metric, rows: pa.Table) -> _Tally:
    """What rows, each a group, hold of a metric; a mean has one group."""
    suffix = f".{metric.name}"
    columns = {name.removesuffix(suffix): rows.column(name) for name in rows.column_names if name.endswith(suffix)}
    found = {
        name: column.to_numpy() if metric.kind == "share" else column.combine_chunks().flatten().to_numpy()
        for name, column in columns.items()
    }
    return _Tally(metric.name, Groups(rows.column("n").to_numpy()), found)


def _figure(tally: _Tally) -> Figure:
    if "scores" in tally.found:
        scores = tally.found["scores"]
        return Figure(tally.metric, len(scores), float(scores.mean()), partial(mean_interval, scores))
    groups, right = tally.groups, tally.found["right"]
    n = int(groups.sizes.sum())
    return Figure(tally.metric, n, _share(groups, right), partial(share_interval, groups, right))


def _share(groups: Groups, right: Counts) -> float:
    if groups.one_sample:
        import torch  # whose sum has the last digits of the published figures; a history of nights goes without

        return 100 * torch.from_numpy(right / groups.sizes).mean().item()
    shares: list[float] = (100 * right / groups.sizes).tolist()
    return sum(shares) / len(shares)


def _change(tally: _Tally) -> Change:
    if "steps" in tally.found:
        steps = tally.found["steps"]
        rose, fell = int((steps > 0).sum()), int((steps < 0).sum())
        drawn = partial(mean_difference_interval, steps)
        return Change(tally.metric, len(steps), float(steps.mean()), drawn, rose, fell, None)
    groups, gained, lost = tally.groups, tally.found["gained"], tally.found["lost"]
    n_gained, n_lost = int(gained.sum()), int(lost.sum())
    of_one_set = len(groups.sizes) == 1 and not groups.one_sample
    return Change(
        metric=tally.metric,
        n=int(groups.sizes.sum()),
        difference=100 * float(((gained - lost) / groups.sizes).mean()),
        interval=partial(difference_interval, groups, gained, lost),
        n_gained=n_gained,
        n_lost=n_lost,
        p=mcnemar_p(n_gained, n_lost) if of_one_set else None,
    )
