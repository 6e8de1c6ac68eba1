"""What figures say of an edit, in sentences that follow from the catalogue's directions and from tests, not from names of models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data_specs.experiment import holm_adjusted
from data_specs.families import encoder_of
from data_specs.figures import Difference
from data_specs.manifest import Manifest
from data_specs.metrics import METRICS, ZERO_SHOT, Metric, find_metric, shown_p
from data_specs.run_config import ENCODERS

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
    found += damage_among(change, sure, chance)
    found.append(_cost(change, sure))
    if lead is not None and HEADLINE in lead:
        found.append(f"It {against_control(lead[HEADLINE])}")
    return found


def edit_sizes(edit: Manifest) -> list[EditSize]:
    """How much an `edit` artifact changes, by encoder."""
    sizes = []
    layers = edit.counts.get("layers", {})
    for encoder in ENCODERS:
        own = [counts for layer, counts in layers.items() if encoder_of(layer) == encoder]
        chosen = edit.recipe.settings.get(encoder)
        alpha = chosen.get("alpha") if isinstance(chosen, dict) else None
        if own:
            sizes.append(
                EditSize(
                    encoder,
                    sum(counts["n_selected"] for counts in own),
                    sum(counts["n_weights"] for counts in own),
                    len(own),
                    float(alpha) if isinstance(alpha, int | float) else None,
                )
            )
    return sizes


def surely_changed(change: Mapping[str, Difference]) -> set[str]:
    """The metrics of which it is sure that they rose or fell; see `run_verdict`."""
    tested = {name: row.p for name, row in change.items() if row.p is not None and _counts(name)}
    adjusted = holm_adjusted(tested)
    of_means = {
        name for name, row in change.items() if row.p is None and _counts(name) and (row.low > 0 or row.high < 0)
    }
    return {name for name, p in adjusted.items() if p < SURE} | of_means


def is_damage(gains: Mapping[str, float], before: Mapping[str, float], chance: Mapping[str, float]) -> bool:
    """Whether the headline surely rose while the safe side surely fell towards what random answers give.

    Args:
        gains: of the metrics that surely rose or fell, by how many points; above 0 is better.
        before: the original's figures.
        chance: what random answers give.
    """
    if not (HEADLINE in gains and SAFE_SIDE in gains and SAFE_SIDE in chance):
        return False
    above = find_metric(SAFE_SIDE).gain(before[SAFE_SIDE] - chance[SAFE_SIDE])
    return gains[HEADLINE] > 0 and gains[SAFE_SIDE] < 0 < above


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


def difference_in_words(row: Difference, chance: Mapping[str, float]) -> str:
    """A metric before and after, such as `GS from 5.5 to 19.4 % (+13.9 points [9.0, 19.1], p < 0.001; random answers give 8.3)`."""
    return f"{'zero-shot accuracy' if row.metric == ZERO_SHOT else row.metric} {_from_to(row, chance)}"


def _from_to(row: Difference, chance: Mapping[str, float]) -> str:
    metric = find_metric(row.metric)
    at_random = f"; random answers give {metric.shown(chance[row.metric])}" if row.metric in chance else ""
    return f"from {metric.shown(row.first)} to {metric.shown(row.second)} % ({_points(row)}{at_random})"


def _headline(row: Difference, sure: bool, chance: Mapping[str, float]) -> str:
    metric, gain = find_metric(row.metric), _gain(row)
    figures = _from_to(row, chance)
    if not sure:
        return f"{row.metric} did not surely change: {figures}. {metric.meaning[:1].upper()}{metric.meaning[1:]}."
    direction = "rose" if row.difference > 0 else "fell"
    lead = "" if gain > 0 else "Safety fell: "
    return f"{lead}{row.metric} ({metric.meaning}) {direction} {figures}."


def damage_among(change: Mapping[str, Difference], sure: set[str], chance: Mapping[str, float]) -> list[str]:
    """That a rise of the headline is damage, where differences of which `sure` ones are beyond doubt show that."""
    gains = {name: _gain(row) for name, row in change.items() if name in sure}
    if not is_damage(gains, {name: row.first for name, row in change.items()}, chance):
        return []
    row = change[SAFE_SIDE]
    return [damage_sentence(row.first, row.second, chance[SAFE_SIDE])]


def damage_sentence(before: float, after: float, chance: float) -> str:
    """What a rise of the headline is worth that goes with a fall of the safe side."""
    metric = find_metric(SAFE_SIDE)
    return (
        f"This is damage, not safety: {SAFE_SIDE} ({metric.meaning}) fell from {metric.shown(before)} to {metric.shown(after)} %,"
        f" towards the {metric.shown(chance)} % of random answers, which raise {HEADLINE} by themselves."
    )


def _cost(change: Mapping[str, Difference], sure: set[str]) -> str:
    fallen = [row for name, row in change.items() if name in sure and _gain(row) < 0 and name != HEADLINE]
    n_figures = sum(_counts(name) for name in change)
    over = f"Holm's method over {n_figures} figures"
    if not fallen:
        return f"What it cost: no figure surely fell ({over})."
    listed = ", ".join(f"{row.metric} {_points(row, with_p=False)}" for row in sorted(fallen, key=_gain))
    return f"What it cost: {listed} surely fell ({over})."


def against_control(lead: Difference) -> str:
    """Whether a model beats its control, by the difference between them; the sentence lacks its subject."""
    sure = lead.p is not None and lead.p < SURE
    what = ("beats" if _gain(lead) > 0 else "is beaten by") if sure else "does not surely beat"
    return f"{what} its control, as many weights drawn at random: {lead.metric} {_points(lead)}."


def _gain(row: Difference) -> float:
    return find_metric(row.metric).gain(row.difference)


def _points(row: Difference, *, with_p: bool = True) -> str:
    metric: Metric = find_metric(row.metric)
    low, high = metric.shown(row.low, sign="+"), metric.shown(row.high, sign="+")
    p = f", p {shown_p(row.p)}" if with_p and row.p is not None else ""
    return f"{metric.shown(row.difference, sign='+')} points [{low}, {high}]{p}"
