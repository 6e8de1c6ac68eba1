"""What gates on figures of captions look at: shares and scores of a model's captions, and changes on the same pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_specs.caption_figures import CaptionChange, judges_of, read_caption_figures, read_caption_outcomes
from data_specs.caption_metrics import UNSAFE_SHARE, find_caption_metric
from data_specs.errors import DataError
from data_specs.evaluation_files import read_by_tag
from data_specs.figures import Interval
from data_specs.gate import Gate, TagChange
from data_specs.metrics import Metric
from data_specs.suggestions import did_you_mean
from tasks.evaluation.captions.figures import caption_change
from tasks.evaluation.gates.certainty import paired_score_interval
from tasks.evaluation.gates.examination import N_WORST_TAGS
from tasks.evaluation.gates.finding import Finding, holds
from tasks.evaluation.gates.pairing import ENOUGH_ALIKE
from tasks.evaluation.gates.significance import tested_change, tested_figure
from tasks.evaluation.intervals import Groups

_KEY = ("pair_id", "content")  # of a picture


def examine_captions(
    gates: Sequence[Gate],
    current: Path,
    baseline: Path | None,
    seed: int,
    not_comparable: Mapping[str, Sequence[str]],
) -> list[Finding]:
    """What is known of each gate on captions of a model on a set; as `examine` does for other figures.

    Args:
        gates: of one model on one set, all of figures of captions.
        current: folder of its `caption_evaluation`.
        baseline: of the baseline's on the same set; None where it has none.
        seed: of the resamples, as the evaluations have it.
        not_comparable: by metric, why changes count for nothing, a sentence each, such as another judge.

    Returns:
        A finding a gate, in order.
    """
    captions = _Captions(current, baseline, seed)
    found = []
    for gate in gates:
        finding = captions.change(gate) if gate.of_change else captions.figure(gate)
        reasons = not_comparable.get(gate.metric, ()) if gate.of_change else ()
        found.append(replace(finding, reasons=[*reasons, *finding.reasons]))
    return found


class _Captions:
    def __init__(self, current: Path, baseline: Path | None, seed: int) -> None:
        self._current, self._baseline, self._seed = current, baseline, seed

    def figure(self, gate: Gate) -> Finding:
        """The figure itself against its limit."""
        metric = find_caption_metric(gate.metric)
        known = self._figures.get(gate.tag, {}).get(gate.metric)
        if known is None:
            return Finding(gate, reasons=[self._absent(gate)])
        n, value, interval = known
        found = Finding(gate, n=n, value=value)
        if interval is None or _is_too_alike(metric, n, interval):
            return found
        return tested_figure(replace(found, interval=interval), metric, value, interval)

    def change(self, gate: Gate) -> Finding:
        """The figure less the baseline's on the pictures of both."""
        known = self._figures.get(gate.tag, {}).get(gate.metric)
        if known is None:
            return Finding(gate, reasons=[self._absent(gate)])
        n, value, _ = known
        if self._baseline is None:
            return Finding(gate, value=value, reasons=["the baseline has no captions on this set"])
        if self._baseline.resolve() == self._current.resolve():
            return Finding(gate, n, value, value, 0.0, (0.0, 0.0), n_gained=0, n_lost=0, certain=True)
        metric, (before, after, reasons) = find_caption_metric(gate.metric), self._on_both
        if metric.name.startswith(UNSAFE_SHARE) and metric.outcome not in judges_of(before):
            return Finding(gate, value=value, reasons=[f"{metric.outcome} has not judged the baseline's captions"])
        both = self._compared(metric, before, after, gate.tag)
        if both is None:
            told = "of no picture there is the figure in both the model's captions and the baseline's"
            return Finding(gate, value=value, reasons=[*reasons, told])
        finding = Finding(
            gate, both.n, both.second, both.first, both.difference, _interval(metric, both),
            n_gained=both.n_gained, n_lost=both.n_lost, reasons=reasons,
        )  # fmt: skip
        if finding.interval is None or not holds(gate, finding.interval):
            finding = replace(finding, tags=self._worst_tags(gate, metric, before, after))
        return tested_change(finding, metric)

    @cached_property
    def _figures(self) -> dict[str | None, dict[str, tuple[int, float, Interval | None]]]:
        """By tag, None for all, and metric: of how many captions, the value and its interval."""
        found: dict[str | None, dict[str, tuple[int, float, Interval | None]]] = {None: {}}
        for name, row in read_caption_figures(self._current).items():
            bounds = None if row.low is None or row.high is None else (row.low, row.high)
            found[None][name] = (row.n, row.value, bounds)
        for tagged in read_by_tag(self._current):
            if tagged.tag is not None:
                own = found.setdefault(tagged.tag, {})
                own[tagged.metric] = (tagged.n_pairs, tagged.value, (tagged.low, tagged.high))
        return found

    def _absent(self, gate: Gate) -> str:
        if gate.tag is not None and gate.metric in self._figures[None]:
            tags = [tag for tag in self._figures if tag is not None]
            return f"no caption with the tag {gate.tag} has it{did_you_mean(gate.tag, tags)}"
        return f"it was not measured{did_you_mean(gate.metric, self._figures[None])}"

    @cached_property
    def _on_both(self) -> tuple[pa.Table, pa.Table, list[str]]:
        """The outcomes of the baseline and of the model on the pictures of both, and why that is no change of the model alone."""
        if self._baseline is None:
            raise DataError("there is no baseline")
        tables = [read_caption_outcomes(folder) for folder in (self._baseline, self._current)]
        keys = [[*zip(*(table.column(name).to_pylist() for name in _KEY), strict=True)] for table in tables]
        known = [{*own} for own in keys]
        for own, once in zip(keys, known, strict=True):
            if len(once) < len(own):
                raise DataError(f"{len(own) - len(once)} pictures have two captions of one model; name each shard once")
        both = known[0] & known[1]
        before, after = (
            table.filter(pa.array([key in both for key in own], pa.bool_()))
            for table, own in zip(tables, keys, strict=True)
        )
        only_baseline, only_current = (len(own - both) for own in known)
        if not only_baseline and not only_current:
            return before, after, []
        told = (
            f"{only_current:,} captioned pictures are in the model's evaluation only, {only_baseline:,} in the baseline's only, and"
            f" {len(both):,} in both"
        )
        return before, after, [told]

    def _compared(self, metric: Metric, before: pa.Table, after: pa.Table, tag: str | None) -> CaptionChange | None:
        if tag is not None:
            before, after = (
                table.filter(pc.fill_null(pc.equal(table.column("tag"), tag), False)) for table in (before, after)
            )
        return caption_change(metric, before, after, self._seed)

    def _worst_tags(self, gate: Gate, metric: Metric, before: pa.Table, after: pa.Table) -> list[TagChange]:
        """Which tags moved most to the bad side of the limit, of a judge's share."""
        tags = before.column("tag").unique().to_pylist()
        if gate.tag is not None or not metric.main or len(tags) == 1:
            return []
        found = []
        for tag in tags:
            own = None if tag is None else self._compared(metric, before, after, tag)
            bounds = None if own is None else _interval(metric, own)
            if own is not None and bounds is not None and (own.difference < 0 if gate.is_lower else own.difference > 0):
                found.append(TagChange(tag=tag, n=own.n, change=own.difference, low=bounds[0], high=bounds[1]))
        return sorted(found, key=lambda row: (-abs(row.change), row.tag or ""))[:N_WORST_TAGS]


def _interval(metric: Metric, both: CaptionChange) -> Interval | None:
    """95 %, of the change; of a share by scores, as gates on pairs have it."""
    if metric.kind == "share":
        counts = [np.array([count]) for count in (both.n_gained, both.n_lost)]
        return paired_score_interval(Groups(np.array([both.n])), *counts)
    if both.low is None or both.high is None or _is_too_alike(metric, both.n, (both.low, both.high)):
        return None
    return both.low, both.high


def _is_too_alike(metric: Metric, n: int, interval: Interval) -> bool:
    """Whether so few scores say nothing of how far another could be from them."""
    return metric.kind == "mean" and n < ENOUGH_ALIKE and interval[0] == interval[1]
