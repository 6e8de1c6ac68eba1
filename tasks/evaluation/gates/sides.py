"""What a model's evaluation and the baseline's hold for some gates: read once, when it is first asked for."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from data_specs.evaluation_files import OUTCOME_TABLES, read_chance, read_figures, read_zero_shot
from data_specs.gate import Gate
from data_specs.manifest import VERSION_PATTERN
from data_specs.metrics import MEAN_OVER_CLASSES, ZERO_SHOT, Metric, Of, accuracy_name, find_metric
from data_specs.suggestions import did_you_mean
from tasks.evaluation.counts import Figure, figures, tag_figures
from tasks.evaluation.gates.pairing import Pairing


class Sides:
    """Two evaluations, of which the second may be missing, and the seed of their intervals."""

    def __init__(self, metrics: Iterable[str], current: Path, baseline: Path | None, seed: int) -> None:
        """Nothing is read yet.

        Args:
            metrics: names of those that gates look at.
            current: folder of the model's evaluation.
            baseline: of the baseline's.
            seed: of the resamples.
        """
        self.current, self.baseline, self.seed = current, baseline, seed
        self._asked = [find_metric(name) for name in dict.fromkeys(metrics)]
        self._pairings: dict[Of, Pairing] = {}

    @cached_property
    def same(self) -> bool:
        """Whether the two are one: one folder, or of one version."""
        if self.baseline is None:
            return False
        of_version = re.fullmatch(VERSION_PATTERN, self.current.name) and self.current.name == self.baseline.name
        return bool(of_version) or self.current.resolve() == self.baseline.resolve()

    def figure(self, gate: Gate) -> Figure:
        """The model's own figure; there is one, see `absent`."""
        found = self._of_all if gate.tag is None else self._by_tag[gate.tag]
        return found[gate.metric]

    def absent(self, gate: Gate) -> str | None:
        """Why the model has no such figure; None where it has one."""
        if (reason := self._absent_from(self.current, gate.metric)) is not None:
            return reason
        if gate.tag is not None and gate.metric not in self._by_tag.get(gate.tag, {}):
            known = [tag for tag in self._by_tag if tag]
            return f"no {find_metric(gate.metric).of} has the tag {gate.tag}{did_you_mean(gate.tag, known)}"
        return None

    def absent_from_baseline(self, gate: Gate) -> str | None:
        """Why nothing can be told of the baseline; None where it has such a figure."""
        if self.baseline is None:
            return "the baseline was not measured on this set"
        reason = self._absent_from(self.baseline, gate.metric)
        return None if reason is None else f"of the baseline {reason}"

    def pairing(self, what: Of) -> Pairing:
        """The rows of both, with all metrics that are asked for and both have; there is a baseline."""
        if what not in self._pairings and self.baseline is not None:
            both = [read_figures(folder).keys() for folder in (self.baseline, self.current)]
            held = [row for row in self._asked if row.of == what and all(row.name in names for names in both)]
            self._pairings[what] = Pairing(what, self.baseline, self.current, held)
        return self._pairings[what]

    def data_sets(self, metric: Metric) -> tuple[list[str], str | None]:
        """Zero-shot data sets that a figure is of and both evaluations have, and why others are not; none of pairs."""
        if metric.of != "image" or self.baseline is None:
            return [], None
        own, other = read_zero_shot(self.current), read_zero_shot(self.baseline)
        if metric.name != ZERO_SHOT:
            wanted = [metric.name.removeprefix(f"{ZERO_SHOT}.").rpartition(".")[0]]
            return self._with_same_classes(wanted)
        both, reason = self._with_same_classes([name for name in own if name in other])
        if own.keys() != other.keys():
            found = [(sorted(own.keys() - other.keys()), "model"), (sorted(other.keys() - own.keys()), "baseline")]
            parts = [f"{', '.join(names)} of the {whose} only" for names, whose in found if names]
            reason = "; ".join([f"the zero-shot data sets differ: {', '.join(parts)}", *([reason] if reason else [])])
        return both, reason

    def _with_same_classes(self, names: Sequence[str]) -> tuple[list[str], str | None]:
        # Ranks are among a data set's classes; what random answers give tells how many those are.
        if self.baseline is None:
            return [], None
        levels = [read_chance(folder) for folder in (self.current, self.baseline)]
        found = {name: [level.get(accuracy_name(name, "acc1")) for level in levels] for name in names}
        other = [name for name, (own, others) in found.items() if own and others and own != others]
        reason = f"the classes of {', '.join(other)} are not as many as the baseline's" if other else None
        return [name for name in names if name not in other], reason

    @cached_property
    def _of_all(self) -> dict[str, Figure]:
        return {row.metric: row for row in figures(self.current, read_zero_shot(self.current))}

    @cached_property
    def _by_tag(self) -> dict[str | None, dict[str, Figure]]:
        return {tag: {row.metric: row for row in rows} for tag, rows in tag_figures(self.current).items()}

    def _absent_from(self, folder: Path, name: str) -> str | None:
        held = read_figures(folder)
        metric = find_metric(name)
        if name in held and (folder / OUTCOME_TABLES[metric.of].file).exists():
            return None
        if metric.of == "image" and not read_zero_shot(folder):
            return "it was not measured, as the set has no zero-shot data sets"
        return f"it was not measured{did_you_mean(name, held)}"


def is_of_one_set(metric: Metric) -> bool:
    """Whether a figure is one share of one set, which exact tests are for, and not a mean of several or of scores."""
    several = metric.name == ZERO_SHOT or metric.name.endswith(f".{MEAN_OVER_CLASSES}")
    return metric.kind == "share" and not several
