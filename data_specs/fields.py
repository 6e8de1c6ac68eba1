"""Types of fields that settings of several kinds have."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, WrapValidator

from data_specs.wording import shown

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$"

# A path, URL or name; no system call takes a NUL.
Location = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Workers = Annotated[int, Field(ge=0, le=256)] | None

AUTO = "auto"
_Count = Annotated[int, Field(ge=1, le=4096)]
_COUNT: TypeAdapter[int] = TypeAdapter(_Count)


def _count_or_auto(value: Any, _handler: Any) -> Any:
    # One error of the kind that was meant, in place of one for each.
    if isinstance(value, bool | str) and value != AUTO:
        raise ValueError(f"expected a number or {AUTO}, got {shown(value)}")
    return value if value == AUTO else _COUNT.validate_python(value)


BatchSize = Annotated[_Count | Literal["auto"], Field(ge=1, le=4096), WrapValidator(_count_or_auto)]


def only_numbers(value: Any) -> Any:
    """Let no `yes` and no text pass for a number."""
    # YAML's `yes` would count as 1, and a max_bad_fraction of 1 tolerates everything. A text that looks
    # like a number is refused by Prefect's server, and so it is here.
    if isinstance(value, bool | str):
        raise ValueError(f"expected a number, got {shown(value)}")
    return value
