"""What an experiment says, in sentences: which model is best, what it cost, whether chance does as well."""

from collections.abc import Mapping

from data_specs.experiment import Experiment, Row
from data_specs.metrics import ZERO_SHOT, find_metric
from tasks.tables.verdict import (
    HEADLINE,
    SAFE_SIDE,
    SURE,
    against_control,
    damage_among,
    damage_sentence,
    difference_in_words,
    is_damage,
    surely_changed,
)

_TOLD = (HEADLINE, SAFE_SIDE, ZERO_SHOT)
_RANDOM = "random"  # the scorer that looks at nothing


def experiment_verdict(experiment: Experiment) -> list[str]:
    """Sentences on a comparison, a sweep or an ablation, the most important first."""
    if experiment.kind == "comparison":
        return _comparison_verdict(experiment)
    if experiment.kind == "sweep":
        return [
            sweep_verdict(experiment),
            *_reported(experiment),
            *_damage_of_chosen(experiment),
            *_doubts_of_choice(experiment),
        ]
    return _ablation_verdict(experiment)


def sweep_verdict(sweep: Experiment) -> str:
    """The chosen point in words and on how many pairs it was chosen, or why there is none."""
    limits, by = " and ".join(sweep.limits), ""
    if sweep.choice is not None and limits:
        bound = "by the bound of the difference's 95 % interval"
        by = f" ({bound if sweep.choice.by == 'bound' else 'by the estimate'} on {sweep.n_pairs:,} pairs)"
    if sweep.chosen is None:
        return (
            f"None of the {len(sweep.points)} points keeps {limits}{by}.{_if_estimates_counted(sweep)}"
            if limits
            else "No point was chosen."
        )
    point = sweep.points[sweep.chosen]
    kept = f" It has the best {HEADLINE} of the points that keep {limits}{by}." if limits else ""
    gives = "" if _is_reported(sweep) else _gives(sweep, point)
    return f"Chosen: {point_in_words(point)} ({encoders_of(sweep)}), which edits {point.n_selected:,} weights{gives}.{kept}"


def point_in_words(point: Row) -> str:
    """Where a point stands, such as `text tau 0.9, vision tau 0.95, alpha -1`."""
    return ", ".join(f"{axis.replace('_', ' ')} {point.at(axis):g}" for axis in point.axes)


def _gives(sweep: Experiment, point: Row) -> str:
    metrics = [name for name in _TOLD if name in point.values and name in sweep.original]
    changes = " and ".join(_change(metric, point, sweep) for metric in metrics)
    return f"{' and gives ' if changes else ''}{changes}"


def _if_estimates_counted(sweep: Experiment) -> str:
    choice = sweep.choice
    if choice is None or choice.by == "estimate" or not choice.keeping_by_estimate:
        return ""
    n = choice.keeping_by_estimate
    return (
        f" By the estimate alone {n} {'does' if n == 1 else 'do'} (--choose-by estimate), but with this many pairs nobody can say"
        " whether others would agree; more pairs make the intervals narrower."
    )


def _is_reported(sweep: Experiment) -> bool:
    return sweep.choice is not None and bool(sweep.choice.reported)


def encoders_of(sweep: Experiment) -> str:
    """Whose settings a sweep changes, in words."""
    return f"{' and '.join(sweep.encoders)} encoder{'s' if len(sweep.encoders) > 1 else ''}"


def _comparison_verdict(experiment: Experiment) -> list[str]:
    adjusted = experiment.adjusted_p_values
    told = []
    for position, row in enumerate(experiment.rows):
        if row.role != "method":
            continue
        sure = {name for name in experiment.columns if adjusted.get((position, name), 1.0) < SURE}
        sure |= _apart_from_original(experiment, row)
        told.append(_method_sentence(experiment, row, sure))
        told += _damage(experiment, row, sure)
        if row.lead is not None:
            told.append(f"{row.name} {against_control(row.lead)}")
    return told


def _method_sentence(experiment: Experiment, row: Row, sure: set[str]) -> str:
    fallen = {name: change for name in sure if (change := _gain(experiment, row, name)) < 0 and name != HEADLINE}
    ordered = sorted(fallen, key=lambda name: fallen[name])
    cost = ", ".join(f"{name} {_points(experiment, row, name)}" for name in ordered)
    what = f"it cost {cost}" if cost else "no figure surely fell"
    if HEADLINE not in row.values or HEADLINE not in experiment.original:
        return f"{row.name}: {what}."
    certainty = "" if HEADLINE in sure else ", not surely"
    lead = "safety fell: " if HEADLINE in sure and _gain(experiment, row, HEADLINE) < 0 else ""
    return f"{row.name}: {lead}{_change(HEADLINE, row, experiment)}{certainty}; {what}."


def _reported(sweep: Experiment) -> list[str]:
    """What the chosen point gives on pairs that did not choose."""
    choice = sweep.choice
    if choice is None or not choice.reported:
        return []
    change = {row.metric: row for row in choice.reported}
    told = " and ".join(difference_in_words(change[name], choice.chance) for name in _TOLD if name in change)
    return [
        f"On {choice.n_reported:,} other pairs, which had no part in the choice: {told}.",
        *damage_among(change, surely_changed(change), choice.chance),
    ]


def _damage_of_chosen(sweep: Experiment) -> list[str]:
    if sweep.chosen is None or _is_reported(sweep):
        return []
    point = sweep.points[sweep.chosen]
    return _damage(sweep, point, _apart_from_original(sweep, point))


def _doubts_of_choice(sweep: Experiment) -> list[str]:
    """From how many points one was picked, by which figures, and that the grid may end too early."""
    if sweep.chosen is None:
        return []
    n_points, point = len(sweep.points), sweep.points[sweep.chosen]
    told = []
    if n_points > 1 and _is_reported(sweep):
        told.append(
            f"It was picked from {n_points} points on {sweep.n_pairs:,} pairs; the figures of all points are those pairs'."
        )
    elif n_points > 1:
        told.append(f"It was picked from {n_points} points by these figures on these pairs; expect less on others.")
    for axis in sweep.axes:
        values = sorted({item.at(axis) for item in sweep.points})
        if len(values) > 2 and point.at(axis) in (values[0], values[-1]):
            end = "lowest" if point.at(axis) == values[0] else "highest"
            told.append(
                f"Its {axis.replace('_', ' ')} {point.at(axis):g} is the {end} of the grid: a better point may lie beyond it."
            )
    return told


def _ablation_verdict(experiment: Experiment) -> list[str]:
    rows = [row for row in experiment.points if HEADLINE in row.values]
    drawn = [row for row in rows if _is_random(row)]
    chosen = [row for row in rows if not _is_random(row)]
    if not chosen:
        return []
    metric = find_metric(HEADLINE)
    best = max(chosen, key=lambda row: metric.gain(row.values[HEADLINE]))
    told = [
        f"The best {HEADLINE} of {len(chosen)} ways to edit is that of {best.name}: {_change(HEADLINE, best, experiment)}. It was"
        " picked by that figure on these pairs; expect less on others."
    ]
    told += _damage(experiment, best, _apart_from_original(experiment, best))
    if drawn:
        luck = max(drawn, key=lambda row: metric.gain(row.values[HEADLINE]))
        apart = metric.gain(best.values[HEADLINE] - luck.values[HEADLINE])
        beaten = [row.name for row in chosen if metric.gain(row.values[HEADLINE] - luck.values[HEADLINE]) <= 0]
        if apart <= 0:
            told.append(
                f"A random control does as well or better: {luck.name} has {HEADLINE} {metric.shown(luck.values[HEADLINE])} %, so"
                " choosing weights by their score gained nothing here."
            )
        elif beaten:
            told.append(
                f"The random control {luck.name} ({HEADLINE} {metric.shown(luck.values[HEADLINE])} %) does as well as or better"
                f" than {len(beaten)} of them: {', '.join(beaten)}."
            )
        else:
            told.append(f"All are above the random control {luck.name} ({metric.shown(luck.values[HEADLINE])} %).")
    return told


def _is_random(row: Row) -> bool:
    if "scorer" in row.axes:
        return row.axes["scorer"] == _RANDOM
    scorers = [part.get("scorer") for part in row.settings.values() if isinstance(part, Mapping)]
    return bool(scorers) and all(scorer == _RANDOM for scorer in scorers)


def _apart_from_original(experiment: Experiment, row: Row) -> set[str]:
    """Figures without a test whose interval leaves out the original's figure."""
    return {
        name
        for name, (low, high) in row.intervals.items()
        if name in experiment.original and name not in row.p_values and not low <= experiment.original[name] <= high
    }


def _damage(experiment: Experiment, row: Row, sure: set[str]) -> list[str]:
    before, gains = experiment.original, {name: _gain(experiment, row, name) for name in sure}
    if not is_damage(gains, before, experiment.chance):
        return []
    told = damage_sentence(before[SAFE_SIDE], row.values[SAFE_SIDE], experiment.chance[SAFE_SIDE])
    return [f"{row.name}: {told}"]


def _gain(experiment: Experiment, row: Row, name: str) -> float:
    return find_metric(name).gain(experiment.difference(row, name) or 0.0)


def _points(experiment: Experiment, row: Row, name: str) -> str:
    return find_metric(name).shown(experiment.difference(row, name) or 0.0, sign="+")


def _change(name: str, row: Row, experiment: Experiment) -> str:
    metric, interval = find_metric(name), row.intervals.get(name)
    sure = f", 95 % interval {metric.shown(interval[0])} to {metric.shown(interval[1])}" if interval else ""
    at_random = f", random answers {metric.shown(experiment.chance[name])}" if name in experiment.chance else ""
    words = "zero-shot accuracy" if name == ZERO_SHOT else name
    return f"{words} {metric.shown(row.values[name])} % ({_points(experiment, row, name)} points{sure}{at_random})"
