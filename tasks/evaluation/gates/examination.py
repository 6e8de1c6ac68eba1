"""What the gates of one model on one set look at: figures and changes with their intervals, and why some cannot be told."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_specs.errors import DataError
from data_specs.evaluation_files import OUTCOME_TABLES
from data_specs.gate import Gate, TagChange
from data_specs.metrics import find_metric
from tasks.evaluation.gates.finding import Finding, holds
from tasks.evaluation.gates.pairing import ENOUGH_ALIKE, Compared, compared, shared_rows
from tasks.evaluation.gates.sentences import tag_in_words
from tasks.evaluation.gates.sides import Sides
from tasks.evaluation.gates.significance import tested_change, tested_figure
from tasks.evaluation.intervals import generator

N_WORST_TAGS = 5


def examine(
    gates: Sequence[Gate], current: Path, baseline: Path | None, seed: int, not_comparable: Sequence[str] = ()
) -> list[Finding]:
    """What is known of each gate of a model on a set.

    Changes are of the same pairs, captions or images: where the evaluations are not of the same ones, a change is not
    comparable, and what it is on those of both is told beside the reason. Limits of a figure itself ask the model alone.

    Args:
        gates: of one model on one set.
        current: folder of its evaluation.
        baseline: of the baseline's on the same set; None where there is none.
        seed: of the resamples, as the evaluations have it.
        not_comparable: why changes count for nothing, a sentence each, such as other libraries; figures are told.

    Returns:
        A finding a gate, in order.

    Raises:
        DataError: a score is NaN or infinite.
    """
    sides = Sides([gate.metric for gate in gates], current, baseline, seed)
    found = []
    for gate in gates:
        if (reason := sides.absent(gate)) is not None:
            found.append(Finding(gate, reasons=[reason]))
        elif gate.of_change:
            finding = _of_change(gate, sides)
            found.append(replace(finding, reasons=[*not_comparable, *finding.reasons]))
        else:
            found.append(_of_figure(gate, sides, is_comparable=not not_comparable))
    return found


def _of_figure(gate: Gate, sides: Sides, *, is_comparable: bool) -> Finding:
    metric, figure = find_metric(gate.metric), sides.figure(gate)
    if not math.isfinite(figure.value):
        raise DataError(f"a score of {metric.name} is NaN or infinite; measure the model again")
    interval = figure.interval(generator(sides.seed))
    if metric.kind == "mean" and figure.n < ENOUGH_ALIKE and interval[0] == interval[1]:
        return Finding(gate, n=figure.n, value=figure.value)
    found = Finding(gate, n=figure.n, value=figure.value, interval=interval)
    found = tested_figure(found, metric, figure.value, interval)
    if not is_comparable:
        return found
    if sides.same:
        return replace(found, baseline=figure.value, change=0.0)
    both, reasons = _both(gate, sides)
    if both is None or reasons:
        return found
    tags = [] if holds(gate, interval) else _worst_tags(gate, sides)
    return replace(
        found, baseline=both.before, change=both.change, n_gained=both.n_gained, n_lost=both.n_lost, tags=tags
    )


def _of_change(gate: Gate, sides: Sides) -> Finding:
    metric = find_metric(gate.metric)
    if sides.same:
        n, value = sides.figure(gate).n, sides.figure(gate).value
        return Finding(gate, n, value, value, 0.0, (0.0, 0.0), n_gained=0, n_lost=0, certain=True)
    both, reasons = _both(gate, sides)
    if both is None:
        return Finding(gate, value=sides.figure(gate).value, reasons=reasons)
    finding = Finding(
        gate, both.n, both.after, both.before, both.change, both.interval,
        n_gained=both.n_gained, n_lost=both.n_lost, reasons=reasons,
    )  # fmt: skip
    if both.interval is None or not holds(gate, both.interval):
        finding = replace(finding, tags=_worst_tags(gate, sides))
    return tested_change(finding, metric)


def _both(gate: Gate, sides: Sides) -> tuple[Compared | None, list[str]]:
    """The figure in both evaluations on the rows of both, and why that is no change of the model alone."""
    metric = find_metric(gate.metric)
    if (reason := sides.absent_from_baseline(gate)) is not None:
        return None, [reason]
    pairing, what = sides.pairing(metric.of), OUTCOME_TABLES[metric.of].what
    if pairing.n_repeated:
        reason = f"{pairing.n_repeated:,} {what} occur more than once in an evaluation; name each shard once"
        return None, [reason]
    data_sets, reason = sides.data_sets(metric)
    reasons = [reason] if reason else []
    counts = pairing.of_data_sets(data_sets) if metric.of == "image" else pairing.of_tag(gate.tag)
    if gate.tag is None and metric.of != "image":
        counts = pairing.of_all()
    # A retrieval ranks among all pairs of the set, whatever tag it is asked for.
    is_ranked = metric.ranked in ("pairs", "members")
    shared = shared_rows(pairing.of_all() if is_ranked else counts)
    if not shared.same:
        tagged = "" if gate.tag is None or is_ranked else f" with the tag {tag_in_words(gate.tag)}"
        reasons.append(
            f"{shared.only_current:,} {what}{tagged} are in the model's evaluation only,"
            f" {shared.only_baseline:,} in the baseline's only, and {shared.both:,} in both"
        )
        if is_ranked:
            reasons.append("a retrieval ranks among all pairs of its set, so that none of it is comparable")
            return None, reasons
    return (compared(counts, metric, sides.seed) if shared_rows(counts).both else None), reasons


def _worst_tags(gate: Gate, sides: Sides) -> list[TagChange]:
    """Which tags moved most to the bad side of the limit, of the rows of both."""
    metric = find_metric(gate.metric)
    if gate.tag is not None or metric.of == "image":
        return []
    pairing = sides.pairing(metric.of)
    tags = pairing.tags()
    if len(tags) == 1:
        return []
    found = []
    for tag in tags:
        own = compared(pairing.of_tag(tag), metric, sides.seed)
        if own.interval is not None and (own.change < 0 if gate.is_lower else own.change > 0):
            low, high = own.interval
            found.append(TagChange(tag=tag, n=own.n, change=own.change, low=low, high=high))
    return sorted(found, key=lambda row: (-abs(row.change), row.tag is None, row.tag or ""))[:N_WORST_TAGS]
