"""Outcomes counted in SQL, figure by figure: of one model, or what changed between two."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_specs.metrics import (
    GROUPS,
    PREFERENCES,
    RECALL_AT,
    RETRIEVALS,
    ZERO_SHOT,
    accuracy_name,
    metric_names,
    recall_name,
    tag_metric_names,
)
from tasks.evaluation.intervals import Counts, Groups
from tasks.extraction.table_reader import query, stream_rows

# Whether a row counts; {row} is the evaluation that it is of.
_PAIR_TESTS = {
    **{name: f"{{row}}.{name}" for name in (*PREFERENCES, *GROUPS)},
    **{recall_name(name, k): f'{{row}}."{name}" < {k}' for k in RECALL_AT for name in RETRIEVALS},
}
_ACCURACY_TESTS = {"acc1": "{row}.rank < 1", "acc5": "{row}.rank < 5"}
_OF_ONE = {"right": "({first})"}
_OF_TWO = {"gained": "NOT ({first}) AND ({second})", "lost": "({first}) AND NOT ({second})"}


@dataclass(frozen=True)
class CountedFigure:
    """A metric's groups and counts [groups]: `right` of one model, `gained` and `lost` between two."""

    metric: str
    groups: Groups
    counts: Mapping[str, Counts]

    @property
    def is_share(self) -> bool:
        """Whether it is the share of one set of pairs or images, not a mean of several."""
        return len(self.groups.sizes) == 1 and not self.groups.one_sample


def pair_figures(*outcomes: Path) -> list[CountedFigure]:
    """Every metric of pairs.

    Args:
        outcomes: `outcomes.parquet` of one evaluation, or of two on the same pairs.

    Returns:
        In table order.
    """
    table = _count(outcomes, ("pair_id",), {name: _PAIR_TESTS[name] for name in metric_names()})
    return [_figure(name, table) for name in metric_names()]


def tag_figures(outcomes: Path) -> dict[str | None, list[CountedFigure]]:
    """The metrics that are given by tag, of one model; None are the pairs without a tag, last."""
    names = tag_metric_names()
    table = _count((outcomes,), ("pair_id",), {name: _PAIR_TESTS[name] for name in names}, by=("tag",))
    tags: list[str | None] = table.column("tag").to_pylist()
    return {tag: [_figure(name, table.slice(row, 1)) for name in names] for row, tag in enumerate(tags)}


def labelled_figures(accuracies: Mapping[str, Iterable[str]], *outcomes: Path) -> Iterator[CountedFigure]:
    """The mean over data sets, then every accuracy of every data set.

    Args:
        accuracies: which are asked for, by data set.
        outcomes: `zero_shot_outcomes.parquet` of one evaluation, or of two on the same images.
    """
    table = _count(outcomes, ("data_set", "sample_id"), _ACCURACY_TESTS, by=("data_set", "label"))
    names = np.array(table.column("data_set").to_pylist())
    by_class = {data_set: table.filter(pa.array(names == data_set)) for data_set in accuracies}
    means = [_merged(_figure("acc1", rows)) for rows in by_class.values()]
    yield CountedFigure(
        ZERO_SHOT,
        Groups(np.concatenate([each.groups.sizes for each in means])),
        {name: np.concatenate([each.counts[name] for each in means]) for name in means[0].counts},
    )
    for data_set, wanted in accuracies.items():
        for accuracy in wanted:
            metric = accuracy_name(data_set, accuracy)
            if accuracy == "mean_per_class_recall":
                figure = _figure("acc1", by_class[data_set])
                yield CountedFigure(metric, Groups(figure.groups.sizes, one_sample=True), figure.counts)
            else:
                yield replace(_merged(_figure(accuracy, by_class[data_set])), metric=metric)


def _count(
    outcomes: tuple[Path, ...], key: tuple[str, ...], tests: Mapping[str, str], by: tuple[str, ...] = ()
) -> pa.Table:
    """A row for each value of `by`: its columns, `n`, and the counts as `right.METRIC` and so on."""
    source = "first"
    if len(outcomes) > 1:
        source += f" JOIN second USING ({', '.join(key)})"
    ways = _OF_ONE if len(outcomes) == 1 else _OF_TWO
    columns = [f"first.{name}" for name in by] + ["count(*) AS n"]
    for metric, test in tests.items():
        rows = {row: test.format(row=row) for row in ("first", "second")}
        columns += [f'count(*) FILTER ({way.format(**rows)}) AS "{name}.{metric}"' for name, way in ways.items()]
    sql = f"SELECT {', '.join(columns)} FROM {source}"
    if by:
        sql += f" GROUP BY {', '.join(f'first.{name}' for name in by)} ORDER BY {', '.join(f'first.{name} NULLS LAST' for name in by)}"
    relations = {name: stream_rows([path]) for name, path in zip(("first", "second"), outcomes, strict=False)}
    return query(sql, relations)


def _figure(metric: str, rows: pa.Table) -> CountedFigure:
    """A figure whose groups are the rows."""
    suffix = f".{metric}"
    counts = {
        name.removesuffix(suffix): rows.column(name).to_numpy() for name in rows.column_names if name.endswith(suffix)
    }
    return CountedFigure(metric, Groups(rows.column("n").to_numpy()), counts)


def _merged(figure: CountedFigure) -> CountedFigure:
    """All groups as one."""
    counts = {name: count.sum(keepdims=True) for name, count in figure.counts.items()}
    return CountedFigure(figure.metric, Groups(figure.groups.sizes.sum(keepdims=True)), counts)
