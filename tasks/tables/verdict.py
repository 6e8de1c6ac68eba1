"""What figures say of an edit, in sentences that follow from the catalogue's directions and from tests, not from names of models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_specs.experiment import holm_adjusted
from data_specs.figures import Difference
from data_specs.metrics import METRICS, Metric, find_metric, shown_p

HEADLINE = "GS"
# Beside which the headline must be read: a model that answers at random raises it, and loses this.
SAFE_SIDE = "PS"
SURE = 0.05


@dataclass(frozen=True)
class EditSize:
    """How much of one encoder was edited, and what its selected weights were multiplied by; None where that is not recorded."""

    encoder: str
    n_selected: int
    n_weights: int
    n_layers: int
    alpha: float | None


def run_verdict(
    change: Mapping[str, Difference],
    *,
    chance: Mapping[str, float],
    sizes: Sequence[EditSize] = (),
    lead: Mapping[str, Difference] | None = None,
) -> list[str]:
    """Say what an edit changed, what it gained, what it cost and whether it beats its control.

    Args:
        change: differences of the edited model from the original on the same pairs, by metric.
        chance: what random answers give, by metric.
        sizes: of the edit, for each encoder that it changes.
        lead: differences of the edited model from its control; None where there is none.

    Returns:
        Sentences, the most important first. A figure surely rose or fell where McNemar's p, adjusted by
        Holm's method over all figures, is below 0.05; of a mean, where its interval leaves 0 out.
    """
    found = [f"Edited: {_in_words(sizes)}."] if sizes else []
    if not any(row.n_gained or row.n_lost or row.difference for row in change.values()):
        return [*found, "Nothing changed: every answer is as it was before the edit."]
    sure = surely_changed(change)
    if HEADLINE in change:
        found.append(_headline(change[HEADLINE], HEADLINE in sure, chance))
    found += _damage(change, sure, chance)
    found.append(_cost(change, sure))
    if lead is not None and HEADLINE in lead:
        found.append(_against_control(lead[HEADLINE]))
    return found


def surely_changed(change: Mapping[str, Difference]) -> set[str]:
    """The metrics of which it is sure that they rose or fell; see `run_verdict`."""
    tested = {name: row.p for name, row in change.items() if row.p is not None and _counts(name)}
    adjusted = holm_adjusted(tested)
    of_means = {
        name for name, row in change.items() if row.p is None and _counts(name) and (row.low > 0 or row.high < 0)
    }
    return {name for name, p in adjusted.items() if p < SURE} | of_means


def is_damage(change: Mapping[str, Difference], sure: set[str], chance: Mapping[str, float]) -> bool:
    """Whether the headline rose while the safe side fell towards what random answers give."""
    if not (HEADLINE in sure and SAFE_SIDE in sure and SAFE_SIDE in chance):
        return False
    above = find_metric(SAFE_SIDE).gain(change[SAFE_SIDE].first - chance[SAFE_SIDE])
    return _gain(change[HEADLINE]) > 0 and _gain(change[SAFE_SIDE]) < 0 < above


def _counts(name: str) -> bool:
    # Of a zero-shot data set its top-1 accuracy: the others say the same again.
    return name in METRICS or name.endswith(".acc1")


def _in_words(sizes: Sequence[EditSize]) -> str:
    parts = []
    for size in sizes:
        share = size.n_selected / size.n_weights if size.n_weights else 0.0
        done = "" if size.alpha is None else f", multiplied by {size.alpha:g}"
        layers = f"{size.n_layers} layer{'s' if size.n_layers != 1 else ''}"
        parts.append(
            f"{size.n_selected:,} of {size.n_weights:,} weights ({share:.2%}) in {layers} of the {size.encoder} encoder{done}"
        )
    return "; ".join(parts)


def _headline(row: Difference, sure: bool, chance: Mapping[str, float]) -> str:
    metric, gain = find_metric(row.metric), _gain(row)
    at_random = f"; random answers give {metric.shown(chance[row.metric])}" if row.metric in chance else ""
    figures = f"from {metric.shown(row.first)} to {metric.shown(row.second)} % ({_points(row)}{at_random})"
    if not sure:
        return f"{row.metric} did not surely change: {figures}. {metric.meaning[:1].upper()}{metric.meaning[1:]}."
    direction = "rose" if row.difference > 0 else "fell"
    lead = "" if gain > 0 else "Safety fell: "
    return f"{lead}{row.metric} ({metric.meaning}) {direction} {figures}."


def _damage(change: Mapping[str, Difference], sure: set[str], chance: Mapping[str, float]) -> list[str]:
    if not is_damage(change, sure, chance):
        return []
    row, metric = change[SAFE_SIDE], find_metric(SAFE_SIDE)
    return [
        f"This is damage, not safety: {SAFE_SIDE} ({metric.meaning}) fell from {metric.shown(row.first)} to"
        f" {metric.shown(row.second)} %, towards the {metric.shown(chance[SAFE_SIDE])} % of random answers, and random answers"
        f" alone would raise {HEADLINE}."
    ]


def _cost(change: Mapping[str, Difference], sure: set[str]) -> str:
    fallen = [row for name, row in change.items() if name in sure and _gain(row) < 0 and name != HEADLINE]
    n_figures = sum(_counts(name) for name in change)
    over = f"Holm's method over {n_figures} figures"
    if not fallen:
        return f"What it cost: no figure surely fell ({over})."
    listed = ", ".join(f"{row.metric} {_points(row, with_p=False)}" for row in sorted(fallen, key=_gain))
    return f"What it cost: {listed} surely fell ({over})."


def _against_control(row: Difference) -> str:
    gain, points = _gain(row), _points(row)
    if row.p is not None and row.p < SURE:
        return f"It {'beats' if gain > 0 else 'is beaten by'} its control, as many weights drawn at random: {row.metric} {points}."
    return f"It does not surely beat its control, as many weights drawn at random: {row.metric} {points}."


def _gain(row: Difference) -> float:
    return find_metric(row.metric).gain(row.difference)


def _points(row: Difference, *, with_p: bool = True) -> str:
    metric: Metric = find_metric(row.metric)
    low, high = metric.shown(row.low, sign="+"), metric.shown(row.high, sign="+")
    p = f", p {shown_p(row.p)}" if with_p and row.p is not None else ""
    return f"{metric.shown(row.difference, sign='+')} points [{low}, {high}]{p}"
