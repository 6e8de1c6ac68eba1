"""What became of a gate in one sentence, for a person who was woken."""

from collections.abc import Iterable, Sequence

from data_specs.caption_metrics import find_figure
from data_specs.gate import Gate, TagChange
from data_specs.metrics import Metric, Of, shown_p
from data_specs.trend import Slide
from data_specs.wording import one_line
from tasks.evaluation.gates.certainty import SURE_BELOW
from tasks.evaluation.gates.finding import Finding

_TAG_LENGTH = 60
_N_TAGS = 3
_MOST_DIGITS = 4


def passed(found: Finding) -> str:
    """Of a gate that holds; a figure that surely got worse within the limit is told as such."""
    if found.certain:
        return f"{_same(found)}: the limit holds"
    if found.interval is not None and found.gate.of_change and _is_surely_worse(found):
        return f"{_movement(found)}: surely worse, but within the limit"
    return f"{_movement(found)}: the limit holds"


def failed(found: Finding) -> str:
    """Of a gate that surely does not hold."""
    if found.certain:
        return f"{_same(found)}: the limit does not hold"
    return _movement(found) + _worst_on(found.gate, found.tags)


def unsure(found: Finding, settles_at: int | None, adjusted: float | None, n_tests: int) -> str:
    """Of a gate that nobody can tell yet.

    Args:
        found: what is known.
        settles_at: about how many rows would settle it.
        adjusted: p among all gates of the night, where the interval alone would say that it fails.
        n_tests: how many gates those are.
    """
    if found.interval is None:
        return f"{_movement(found)}: so few, which are all alike, do not tell how far others would be from them"
    if adjusted is not None and found.p is not None:
        doubt = (
            f"alone it would fail, but among {n_tests} gates it may be chance (p {found.p:.2g}, by Holm {adjusted:.2g})"
        )
        if found.p >= SURE_BELOW:
            doubt = f"by an exact test it may be chance (p {found.p:.2g})"
    else:
        doubt = "it is not sure whether the limit holds"
    needed = f"no number of {_rows_name(found.gate)}s would settle it, so near is it to the limit"
    if settles_at is not None:
        tagged = "" if found.gate.tag is None else " with this tag"
        needed = f"about {settles_at:,} {_rows_name(found.gate)}s{tagged} would settle it"
    return f"{_movement(found)}: {doubt}; {needed}{_worst_on(found.gate, found.tags)}"


def not_comparable(found: Finding) -> str:
    """Of a gate that cannot be judged, with what is known all the same."""
    reasons = "; ".join(found.reasons)
    start = f"{found.gate.figure} is not comparable: {reasons}"
    if found.held is None or not found.n:
        return start
    return f"{start}; on the {_rows_name(found.gate)}s of both, {_movement(found)}"


def slid(found: Slide) -> str:
    """Of a figure that got worse little by little."""
    metric = find_figure(found.metric)
    moved, size = ("fell", -1.0) if found.change < 0 else ("rose", 1.0)
    low, high = (metric.shown(bound, sign="+") for bound in found.interval)
    rows = f"{found.n:,} {metric.of}s{', the same every night' if found.paired else ', each night taken by itself'}"
    return (
        f"{found.metric} {moved} little by little: by {_points(metric, size * found.slope, 1)} a night over"
        f" {found.n_nights} nights, {metric.shown(size * found.change)} in all since {found.since}"
        f" ({metric.shown(found.first)} -> {metric.shown(found.last)}; 95 % interval {low} to {high}; {rows}; p {shown_p(found.p)})"
    )


def tag_in_words(tag: str | None) -> str:
    """A tag, short and on one line."""
    return "(none)" if tag is None else one_line(tag, _TAG_LENGTH) or '""'


def _movement(found: Finding) -> str:
    """Such as `GS fell by 4.2 points (58.9 -> 54.7; 95 % interval -6.0 to -2.5; 1,200 pairs; limit -1.0)`."""
    gate, metric = found.gate, find_figure(found.gate.metric)
    sign, digits = "+" if gate.of_change else "", _digits(found, metric)

    def shown(value: float) -> str:
        return metric.shown(value, more=digits, sign=sign)

    known = (
        [] if found.interval is None else [f"95 % interval {shown(found.interval[0])} to {shown(found.interval[1])}"]
    )
    known += [_rows(found), _limit(gate, shown(gate.limit))]
    if not gate.of_change:
        before = "" if found.baseline is None else f"; {metric.shown(found.baseline, more=digits)} in the baseline"
        return f"{gate.figure} is {shown(found.value or 0.0)} ({'; '.join(known)}{before})"
    change = found.change or 0.0
    moved = f"{'fell' if change < 0 else 'rose'} by {_points(metric, abs(change), digits)}"
    if change == 0:
        moved = "did not change"
    if found.value is not None and found.baseline is not None:
        known.insert(0, f"{metric.shown(found.baseline, more=digits)} -> {metric.shown(found.value, more=digits)}")
    return f"{gate.figure} {moved} ({'; '.join(known)})"


def _same(found: Finding) -> str:
    metric = find_figure(found.gate.metric)
    value = "" if found.value is None else f" is {metric.shown(found.value)} and"
    limit = _limit(found.gate, metric.shown(found.gate.limit, sign="+"))
    return f"{found.gate.figure}{value} did not change, it is the baseline's own evaluation ({limit})"


def _limit(gate: Gate, limit: str) -> str:
    limit = "0" if gate.limit == 0 else limit
    return f"limit {limit}" if gate.of_change else f"limit at {'least' if gate.is_lower else 'most'} {limit}"


def _points(metric: Metric, value: float, digits: int) -> str:
    text = metric.shown(value, more=digits)
    return f"{text} points" if metric.kind == "share" else text


def _rows(found: Finding) -> str:
    return f"{found.n:,} {_rows_name(found.gate)}{'' if found.n == 1 else 's'}"


def _rows_name(gate: Gate) -> Of:
    return find_figure(gate.metric).of


def _worst_on(gate: Gate, tags: Sequence[TagChange]) -> str:
    metric = find_figure(gate.metric)
    parts = [
        f"{tag_in_words(row.tag)} ({metric.shown(row.change, sign='+')}, {row.n:,} {metric.of}{'' if row.n == 1 else 's'})"
        for row in tags[:_N_TAGS]
    ]
    return f"; worst on tag{'' if len(parts) == 1 else 's'} {', '.join(parts)}" if parts else ""


def _is_surely_worse(found: Finding) -> bool:
    if found.interval is None:
        return False
    metric = find_figure(found.gate.metric)
    return all(metric.gain(bound) < 0 for bound in found.interval)


def _digits(found: Finding, metric: Metric) -> int:
    """How many digits more than usual tell the figures from the limit."""
    figures: Iterable[float] = [*(found.interval or ()), *([] if found.held is None else [found.held])]
    other = [value for value in figures if value != found.gate.limit]
    for more in range(_MOST_DIGITS):
        limit = metric.shown(found.gate.limit, more=more)
        if all(metric.shown(value, more=more) != limit for value in other):
            return more
    return 0
