"""Types of fields that settings of several kinds have."""

from typing import Annotated, Any

from pydantic import Field

from data_specs.wording import shown

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$"

# A path, URL or name; no system call takes a NUL.
Location = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Workers = Annotated[int, Field(ge=0, le=256)] | None


def only_numbers(value: Any) -> Any:
    """Let no `yes` and no text pass for a number."""
    # YAML's `yes` would count as 1, and a max_bad_fraction of 1 tolerates everything. A text that looks
    # like a number is refused by Prefect's server, and so it is here.
    if isinstance(value, bool | str):
        raise ValueError(f"expected a number, got {shown(value)}")
    return value
