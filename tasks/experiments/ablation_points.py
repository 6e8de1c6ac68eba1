"""The points of an ablation: the cross product of its axes, each point once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from data_specs.ablation import AXES, AblationPoint
from data_specs.config_file import describe_validation
from data_specs.errors import SpecError
from data_specs.experiment import LeftOut
from data_specs.run_config import Aggregation, MethodConfig, Rule, RunConfig, ScorerName
from data_specs.spec import Spec
from data_specs.wording import shown
from tasks.experiments.grid import MAX_POINTS

Axes = Mapping[str, Sequence[Any]]

# What is crossed where nothing is asked for: all that costs no second look at the calibration data.
DEFAULT_AXES: dict[str, list[Any]] = {
    "scorer": [*get_args(ScorerName)],
    "aggregation": [*get_args(Aggregation)],
    "rule": [*get_args(Rule)],
    "weight_by_magnitude": [True, False],
}
_READS_NO_DATA = ("magnitude", "random")
_ALL = "all"
_Spec = TypeVar("_Spec", bound=Spec)


@dataclass(frozen=True)
class AblationPlan:
    """What an ablation computes, and the combinations that it cannot."""

    points: list[AblationPoint]
    left_out: list[LeftOut]


def ablation_points(config: RunConfig, axes: Axes) -> AblationPlan:
    """Expand the axes; those that do not matter for a scorer take the run's own value.

    Args:
        config: the run; its values hold wherever an axis is not given. An encoder that it leaves
            alone stays so; the values of an axis go to both encoders else.
        axes: values of `scorer, aggregation, rule, weight_by_magnitude, layers, limit` (None: all
            pairs), `seed` and `sign`. `aggregation` matters for uwm, `seed` for random, `limit` for scorers
            that read calibration data. Another scorer than the run's weights by |W| where that is its
            habit, unless the axis says.

    Returns:
        Points in the order of the axes, the first axis slowest; each has settings of its own. A
        combination that the settings refuse is left out, with the reason.

    Raises:
        SpecError: an unknown axis, one without values, a value out of bounds, or no point is left.
    """
    _check(config, axes)
    points: dict[str, AblationPoint] = {}
    left_out: dict[str, LeftOut] = {}
    for values in _combinations(axes):
        method = _method(config, values)
        decisive = _decisive_values(config, method, values)
        label = _label(decisive, [axis for axis in AXES if len(set(axes.get(axis, ()))) > 1])
        shown_axes = {axis: _shown(value) for axis, value in decisive.items()}
        limit, seed = decisive.get("limit", config.calibration.limit), decisive.get("seed", config.seed)
        point = AblationPoint(label=label, axes=shown_axes, method=method, limit=limit, seed=seed)
        key = point.model_dump_json(include={"method", "limit", "seed"})
        if reason := _refusal(point, config):
            left_out.setdefault(key, LeftOut(label=label, axes=shown_axes, reason=reason))
        else:
            points.setdefault(key, point)
    if not points:
        reasons = "; ".join(sorted({item.reason for item in left_out.values()}))
        raise SpecError(f"none of the ablation's {len(left_out)} combinations can run: {reasons}")
    return AblationPlan(list(points.values()), list(left_out.values()))


def _check(config: RunConfig, axes: Axes) -> None:
    for axis, values in axes.items():
        if axis not in AXES:
            raise SpecError(f"there is no axis {shown(axis)}, only {', '.join(AXES)}")
        if not values:
            raise SpecError(f"axis {axis} has no values; name at least one or leave the axis out")
        if any(isinstance(value, list | dict) for value in values):
            raise SpecError(f"axis {axis} holds {shown(values)}, expected single values")
    if (n_points := prod(len(values) for values in axes.values())) > MAX_POINTS:
        raise SpecError(f"the axes give {n_points} combinations, expected at most {MAX_POINTS}; give fewer values")
    run = config.model_dump()
    for limit in axes.get("limit", ()):
        _validated(RunConfig, run | {"calibration": run["calibration"] | {"limit": limit}})
    for seed in axes.get("seed", ()):
        _validated(RunConfig, run | {"seed": seed})


def _validated(spec: type[_Spec], settings: Mapping[str, Any]) -> _Spec:
    try:
        return spec.model_validate(settings)
    except ValidationError as error:
        raise SpecError(f"ablation: {describe_validation(error)}") from error


def _combinations(axes: Axes) -> Iterator[dict[str, Any]]:
    given = [axis for axis in AXES if axis in axes]
    for values in product(*(dict.fromkeys(axes[axis]) for axis in given)):
        yield dict(zip(given, values, strict=True))


def _method(config: RunConfig, values: Mapping[str, Any]) -> MethodConfig:
    own = {axis: value for axis, value in values.items() if axis not in ("limit", "seed")}
    settings: dict[str, Any] = {"text": None, "vision": None}
    for encoder, base in config.edited.items():
        given = dict(own)
        if given.get("scorer", base.scorer) != "uwm":
            given.pop("aggregation", None)
        kept = base.model_dump()
        if given.get("scorer", base.scorer) != base.scorer:
            # Left to the scorer's habit, as where settings of methods are inherited.
            kept.pop("weight_by_magnitude")
        settings[encoder] = kept | given
    return _validated(MethodConfig, settings)


def _decisive_values(config: RunConfig, method: MethodConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that matter: of every axis, given or not, in the order of the axes."""
    scorers = {item.scorer for item in method.edited.values()}
    unused = set()
    if "uwm" not in scorers:
        unused.add("aggregation")
    if "random" not in scorers:
        unused.add("seed")
    if scorers <= set(_READS_NO_DATA) and not method.signs:
        unused.add("limit")
    if "sign" not in values and not method.signs:
        unused.add("sign")
    run = {"limit": config.calibration.limit, "seed": config.seed}
    return {
        axis: values.get(axis, run[axis]) if axis in run else _of_encoders(method, axis)
        for axis in AXES
        if axis not in unused
    }


def _of_encoders(method: MethodConfig, axis: str) -> Any:
    own: dict[str, Any] = {
        encoder: getattr(item, axis)
        for encoder, item in method.edited.items()
        if axis != "aggregation" or item.scorer == "uwm"
    }
    if len(set(own.values())) == 1:
        return next(iter(own.values()))
    return ", ".join(f"{encoder} {_shown(value)}" for encoder, value in own.items())


def _refusal(point: AblationPoint, config: RunConfig) -> str:
    try:
        RunConfig.model_validate(point.run_config(config).model_dump())
    except ValidationError as error:
        return describe_validation(error).removeprefix("settings: ")
    return ""


def _shown(value: Any) -> str:
    if value is None:
        return _ALL
    return str(value).lower() if isinstance(value, bool) else str(value)


def _label(decisive: Mapping[str, Any], varied: Sequence[str]) -> str:
    words = {
        "weight_by_magnitude": lambda value: f"weight by |W| {_shown(value)}",
        "limit": lambda value: f"{_shown(value)} samples",
        "seed": lambda value: f"seed {_shown(value)}",
        "sign": lambda value: f"sign {_shown(value)}",
    }
    parts = [words.get(axis, _shown)(value) for axis, value in decisive.items() if axis in varied]
    return ", ".join(parts) or "settings of the run"


def with_largest_limit(plan: AblationPlan, config: RunConfig) -> RunConfig:
    """Settings under which calibration data are read once, as many as the largest point needs; some points need none."""
    limits = [point.limit for point in plan.points if "limit" in point.axes] or [config.calibration.limit]
    largest = None if None in limits else max(limit for limit in limits if limit is not None)
    return config.model_copy(
        update={"calibration": config.calibration.model_copy(update={"limit": largest}), "methods": {}}
    )
