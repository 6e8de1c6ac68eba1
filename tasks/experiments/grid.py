"""The points of a sweep, from what a person writes on the command line."""

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

from pydantic import ValidationError

from data_specs.config_file import describe_validation
from data_specs.errors import SpecError
from data_specs.run_config import Encoder, EncoderConfig, MethodConfig
from data_specs.wording import shown

MAX_VALUES = 1000
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


def grid_points(taus: Sequence[float], alphas: Sequence[float]) -> list[tuple[float, float]]:
    """Every tau with every alpha once, in rising tau for each alpha.

    Raises:
        SpecError: there is none.
    """
    points = [(tau, alpha) for alpha in dict.fromkeys(alphas) for tau in sorted(set(taus))]
    if not points:
        raise SpecError("a sweep needs at least one tau and one alpha")
    return points


def swept_encoders(choice: str, method: MethodConfig) -> list[Encoder]:
    """The encoders that `text`, `vision` or `both` means; both: those that the run edits.

    Raises:
        SpecError: another word, or an encoder that the run leaves alone.
    """
    edited = list(method.edited)
    if choice == "both":
        return edited
    if choice not in ("text", "vision"):
        raise SpecError(f"encoder is {shown(choice)}, expected text, vision or both")
    chosen = [encoder for encoder in edited if encoder == choice]
    if not chosen:
        raise SpecError(
            f"encoder {choice} is to be swept, but the settings leave it alone ({choice}: null); remove that line,"
            f" or sweep {edited[0]}"
        )
    return chosen


def method_at(method: MethodConfig, encoders: Sequence[Encoder], tau: float, alpha: float) -> MethodConfig:
    """The same method with another tau and alpha for some encoders.

    Raises:
        SpecError: tau or alpha is out of bounds.
    """
    changed: dict[Encoder, EncoderConfig] = {
        encoder: _with(config, tau, alpha) for encoder, config in method.edited.items() if encoder in encoders
    }
    configs = method.edited | changed
    return MethodConfig(text=configs.get("text"), vision=configs.get("vision"))


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
