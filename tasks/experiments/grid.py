"""The points of a sweep, from what a person writes on the command line."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod

from pydantic import ValidationError

from data_specs.config_file import describe_validation
from data_specs.errors import SpecError
from data_specs.run_config import ENCODERS, Encoder, EncoderConfig, MethodConfig
from data_specs.wording import shown

# One list for the swept encoders together, or one for each.
Taus = Sequence[float] | Mapping[Encoder, Sequence[float]]
# Its value on each axis: `tau`, or `text_tau` and `vision_tau`, and `alpha`.
GridPoint = dict[str, float]

MAX_VALUES, MAX_POINTS = 1000, 10_000
_RANGE = "START:END:STEP"
# The longest bound has 19; what has more is out of bounds, too.
_MOST_DIGITS = 30


def parse_values(text: str, name: str) -> list[float]:
    """The values of tau or alpha.

    Args:
        text: numbers and inclusive ranges START:END:STEP, separated by commas, such as
            `0.9:0.995:0.005` or `-1,0`; computed in decimal, so that no value drifts.
        name: `tau` (above 0, below 1; sorted) or `alpha` (-10 to 10; in the order given).

    Returns:
        The values, each once. A range ends at its last value that is not above END.

    Raises:
        SpecError: not a number, out of bounds, a range that runs backwards, or more than 1,000 values.
    """
    values: dict[float, None] = {}
    for part in text.split(","):
        for value in _expand(part.strip(), text, name):
            # Adding 0 makes one zero of 0 and -0.
            values[_within_bounds(value, text, name) + 0.0] = None
        if len(values) > MAX_VALUES:
            raise _too_many(text, name)
    return sorted(values) if name == "tau" else list(values)


def parse_axis(axis: str, text: str) -> list[str | bool | int | None]:
    """The values of an ablation's axis, separated by commas.

    Args:
        axis: one of the ablation's axes.
        text: `true`, `false` for weight_by_magnitude; counts or `all` for limit; whole numbers for
            seed; names for the others, which are checked where they are used.

    Raises:
        SpecError: a value of another kind.
    """
    return [_axis_value(axis, part.strip(), text) for part in text.split(",")]


def grid_points(taus: Taus, alphas: Sequence[float]) -> list[GridPoint]:
    """Every tau, or every text tau with every vision tau, with every alpha, each once.

    Args:
        taus: of both encoders together, or a list for each encoder.
        alphas: in their order; the taus rise within each, the text encoder's first.

    Raises:
        SpecError: there is none, or there are more than 10,000.
    """
    axes: dict[str, Sequence[float]] = (
        {f"{encoder}_tau": taus[encoder] for encoder in ENCODERS if encoder in taus}
        if isinstance(taus, Mapping)
        else {"tau": taus}
    )
    if len(dict.fromkeys(alphas)) * prod(len(set(values)) for values in axes.values()) > MAX_POINTS:
        raise SpecError(f"these taus and alphas give more than {MAX_POINTS:,} points; take larger steps")
    # The last one varies fastest.
    slowest_first = [*reversed(axes)]
    points = [
        {**{name: values[slowest_first.index(name)] for name in axes}, "alpha": alpha}
        for alpha in dict.fromkeys(alphas)
        for values in product(*(sorted(set(axes[name])) for name in slowest_first))
    ]
    if not points:
        raise SpecError("a sweep needs at least one tau and one alpha")
    return points


def swept_encoders(choice: str, method: MethodConfig, taus: Taus = ()) -> list[Encoder]:
    """The encoders that `text`, `vision` or `both` means; both: those that the run edits, or that have taus of their own.

    Raises:
        SpecError: another word, an encoder that the run leaves alone, or `text` or `vision` beside taus for each encoder.
    """
    edited = list(method.edited)
    if isinstance(taus, Mapping):
        if choice != "both":
            raise SpecError(
                f"encoder {shown(choice)} beside taus of each encoder's own; leave --encoder out, or give --tau alone"
            )
        return [encoder for name in ENCODERS if name in taus for encoder in _one_of(name, method, f"--{name}-tau or ")]
    return edited if choice == "both" else _one_of(choice, method)


def _one_of(name: str, method: MethodConfig, without: str = "") -> list[Encoder]:
    if name not in ENCODERS:
        raise SpecError(f"encoder is {shown(name)}, expected text, vision or both")
    edited = list(method.edited)
    chosen = [encoder for encoder in edited if encoder == name]
    if not chosen:
        raise SpecError(
            f"encoder {name} is to be swept, but the settings leave it alone ({name}: null); remove {without}that line,"
            f" or sweep {edited[0]}"
        )
    return chosen


def method_at(method: MethodConfig, encoders: Sequence[Encoder], point: GridPoint) -> MethodConfig:
    """The same method with a point's tau and alpha for some encoders.

    Raises:
        SpecError: tau or alpha is out of bounds.
    """
    changed: dict[Encoder, EncoderConfig] = {
        encoder: _with(config, tau_at(point, encoder), point["alpha"])
        for encoder, config in method.edited.items()
        if encoder in encoders
    }
    configs = method.edited | changed
    return MethodConfig(text=configs.get("text"), vision=configs.get("vision"))


def tau_at(point: GridPoint, encoder: Encoder) -> float:
    """The tau of a swept encoder at a point."""
    return point["tau"] if "tau" in point else point[f"{encoder}_tau"]


def _with(config: EncoderConfig, tau: float, alpha: float) -> EncoderConfig:
    try:
        return EncoderConfig.model_validate(config.model_dump() | {"tau": tau, "alpha": alpha})
    except ValidationError as error:
        raise SpecError(f"sweep: {describe_validation(error)}") from error


def _axis_value(axis: str, part: str, text: str) -> str | bool | int | None:
    if axis == "weight_by_magnitude":
        if part not in ("true", "false"):
            raise SpecError(f"{axis} {shown(text)}: {shown(part)} is neither true nor false")
        return part == "true"
    if axis == "limit" and part == "all":
        return None
    if axis in ("limit", "seed"):
        if not (part.isascii() and part.isdecimal() and len(part) <= _MOST_DIGITS):
            more = " or all" if axis == "limit" else ""
            raise SpecError(
                f"{axis} {shown(text)}: {shown(part)} is no whole number; write numbers{more}, separated by commas"
            )
        return int(part)
    if not part:
        raise SpecError(f"{axis} {shown(text)} has an empty value; write names separated by commas")
    return part


def _expand(part: str, text: str, name: str) -> Iterator[Decimal]:
    numbers = [_number(piece, text, name) for piece in part.split(":")]
    if len(numbers) == 1:
        yield numbers[0]
        return
    if len(numbers) != 3:
        raise SpecError(f"{name} {shown(text)}: {shown(part)} is no range; write {_RANGE}, such as 0.9:0.995:0.005")
    start, end, step = numbers
    if step <= 0 or start > end:
        raise SpecError(
            f"{name} {shown(text)}: the range {shown(part)} never gets from {start} to {end}; write {_RANGE}, rising"
        )
    # Before the values are counted: a huge range must not be walked to be refused.
    _within_bounds(start, text, name)
    _within_bounds(end, text, name)
    if end - start > step * MAX_VALUES:
        raise _too_many(text, name)
    yield from (start + index * step for index in range(int((end - start) / step) + 1))


def _number(piece: str, text: str, name: str) -> Decimal:
    try:
        value = Decimal(piece.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise SpecError(
            f"{name} {shown(text)}: {shown(piece.strip())} is not a number; write numbers and ranges {_RANGE}, separated by commas"
        )
    return value


def _within_bounds(value: Decimal, text: str, name: str) -> float:
    number = float(value)
    if name == "tau" and not 0 < number < 1:
        raise SpecError(f"tau {shown(text)}: {value} is out of bounds, expected above 0 and below 1, such as 0.98")
    if name == "alpha" and not -10 <= number <= 10:
        raise SpecError(f"alpha {shown(text)}: {value} is out of bounds, expected -10 to 10, such as -1")
    return number


def _too_many(text: str, name: str) -> SpecError:
    return SpecError(f"{name} {shown(text)} gives more than {MAX_VALUES} values; take a larger step")
