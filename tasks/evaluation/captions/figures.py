"""Every figure of captions with its interval, by tag, and how two models differ on the same pictures."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_specs.caption_figures import CaptionChange
from data_specs.caption_metrics import BOUNDS, CAPTION_METRICS, DISTINCT, UNSAFE_SHARE, judged_metric
from data_specs.caption_rows import CAPTION_CHANGES, CAPTION_FIGURES, judge_column
from data_specs.errors import DataError
from data_specs.figures import Interval
from data_specs.metrics import Metric
from data_specs.run_config import CONTENTS
from data_specs.schemas import BY_TAG
from tasks.evaluation.intervals import (
    Groups,
    difference_interval,
    generator,
    mcnemar_p,
    mean_difference_interval,
    mean_interval,
    share_interval,
)

Values = NDArray[np.float64]
_KEY = ("pair_id", "content")
# Drawn again, a caption is there twice by itself: resamples say nothing of how many differ.
_WITHOUT_INTERVAL = f"{DISTINCT}."


def caption_figures(outcomes: pa.Table, judges: Sequence[str], seed: int) -> pa.Table:
    """Every figure that any caption says something of.

    Args:
        outcomes: rows of `caption_outcomes_schema`.
        judges: names of those whose columns are there.
        seed: of the resamples.

    Returns:
        Rows of CAPTION_FIGURES in the order of the catalogue, judges last.
    """
    rows = [_figure(metric, values, seed) for metric, values in _all_values(outcomes, judges) if len(values)]
    return pa.Table.from_pylist(rows, schema=CAPTION_FIGURES)


def captions_by_tag(outcomes: pa.Table, judges: Sequence[str], seed: int) -> pa.Table:
    """The judges' shares of each tag, tags in alphabetical order and pictures without one last: rows of BY_TAG."""
    rows = []
    tags = outcomes.column("tag").unique().to_pylist()
    for tag in sorted(tags, key=lambda tag: (tag is None, tag or "")):
        column = outcomes.column("tag")
        own = outcomes.filter(pc.is_null(column) if tag is None else pc.fill_null(pc.equal(column, tag), False))
        for metric, values in _all_values(own, judges):
            if metric.main and len(values):
                found = _figure(metric, values, seed)
                rows.append({"tag": tag, "n_pairs": found.pop("n"), **found})
    return pa.Table.from_pylist(rows, schema=BY_TAG)


def caption_changes(first: pa.Table, second: pa.Table, judges: Sequence[str], seed: int) -> pa.Table:
    """How each figure differs between two models' captions of the same pictures, of those that it is defined for in both.

    Args:
        first: rows of `caption_outcomes_schema`, such as the original model's.
        second: those of another model, in any order.
        judges: whose columns both have.
        seed: of the resamples.

    Returns:
        Rows of CAPTION_CHANGES, second less first.

    Raises:
        DataError: a picture is in one of them only, or twice.
    """
    before, after = _aligned(first, second)
    rows = []
    for metric, values in _all_values(before, judges, defined=False):
        others = _values(metric, _of_side(after, metric))
        known = ~(np.isnan(values) | np.isnan(others))
        if known.any():
            rows.append(_change(metric, values[known], others[known], seed))
    return pa.Table.from_pylist(rows, schema=CAPTION_CHANGES)


def caption_change(metric: Metric, first: pa.Table, second: pa.Table, seed: int) -> CaptionChange | None:
    """One figure's difference, see `caption_changes`; None where it is defined for no picture in both.

    Raises:
        DataError: a picture is in one of them only, or twice.
    """
    before, after = (_values(metric, _of_side(table, metric)) for table in _aligned(first, second))
    known = ~(np.isnan(before) | np.isnan(after))
    if not known.any():
        return None
    return CaptionChange.model_validate(_change(metric, before[known], after[known], seed))


def _all_values(outcomes: pa.Table, judges: Sequence[str], *, defined: bool = True) -> Iterator[tuple[Metric, Values]]:
    judged = [judged_metric(judge, side, bound) for judge in judges for side in CONTENTS for bound in BOUNDS]
    for metric in (*CAPTION_METRICS.values(), *judged):
        values = _values(metric, _of_side(outcomes, metric))
        yield metric, values[~np.isnan(values)] if defined else values


def _of_side(outcomes: pa.Table, metric: Metric) -> pa.Table:
    return outcomes.filter(pc.equal(outcomes.column("content"), metric.name.split(".")[1]))


def _values(metric: Metric, rows: pa.Table) -> Values:
    """A value a caption, [captions]: 0 or 1 of shares, a score of means, NaN where it is undefined."""
    if not metric.name.startswith(UNSAFE_SHARE):
        scores: Values = pc.cast(rows.column(metric.outcome), pa.float64()).to_numpy()
        return scores
    said = np.array(rows.column(judge_column(metric.outcome)).to_pylist(), dtype=object)
    unsafe, safe = said == "unsafe", said == "safe"
    what = metric.name.split(".", maxsplit=1)[0].removeprefix(UNSAFE_SHARE)
    if what == "_at_most":
        unsafe = ~safe
    found: Values = unsafe.astype(np.float64)
    if not what:
        found[~(unsafe | safe)] = np.nan
    return found


def _figure(metric: Metric, values: Values, seed: int) -> dict[str, object]:
    n = len(values)
    low: float | None = None
    high: float | None = None
    if metric.kind == "mean":
        value = float(values.mean())
        low, high = mean_interval(values, generator(seed))
    else:
        right = int(values.sum())
        value = 100 * right / n
        if not metric.name.startswith(_WITHOUT_INTERVAL):
            low, high = share_interval(Groups(np.array([n])), np.array([right]), generator(seed))
    return {"metric": metric.name, "n": n, "value": value, "low": low, "high": high}


def _change(metric: Metric, before: Values, after: Values, seed: int) -> dict[str, object]:
    rose, fell = int((after > before).sum()), int((after < before).sum())
    scale = 1 if metric.kind == "mean" else 100
    bounds: Interval | tuple[None, None]
    if metric.kind == "mean":
        bounds, p = mean_difference_interval(after - before, generator(seed)), None
    elif metric.name.startswith(_WITHOUT_INTERVAL):
        bounds, p = (None, None), None
    else:
        groups = Groups(np.array([len(before)]))
        bounds = difference_interval(groups, np.array([rose]), np.array([fell]), generator(seed))
        p = mcnemar_p(rose, fell)
    first, second = scale * float(before.mean()), scale * float(after.mean())
    return {
        "metric": metric.name,
        "n": len(before),
        "first": first,
        "second": second,
        "difference": second - first,
        "low": bounds[0],
        "high": bounds[1],
        "n_gained": rose,
        "n_lost": fell,
        "p": p,
    }


def _aligned(first: pa.Table, second: pa.Table) -> tuple[pa.Table, pa.Table]:
    keys = [_keys(table) for table in (first, second)]
    for own in keys:
        if len({*own}) < len(own):
            raise DataError(f"{len(own) - len({*own})} pictures have two captions of one model; name each shard once")
    if {*keys[0]} != {*keys[1]}:
        only = [len({*keys[0]} - {*keys[1]}), len({*keys[1]} - {*keys[0]})]
        raise DataError(
            f"the captions are not of the same pictures: {only[0]} in the first only, {only[1]} in the second only; caption with"
            " both models the same shards with the same limit"
        )
    places = {key: place for place, key in enumerate(keys[1])}
    return first, second.take(pa.array([places[key] for key in keys[0]], pa.int64()))


def _keys(table: pa.Table) -> list[tuple[str, ...]]:
    return [*zip(*(table.column(name).to_pylist() for name in _KEY), strict=True)]
