"""The four columns that machine-readable tables give to one metric."""

from collections.abc import Mapping

SUFFIXES = ("", "_low", "_high", "_difference")


def measured_columns(metric: str) -> list[str]:
    """Names of the columns: figure, 95 % interval in percent, and points against the original."""
    return [f"{metric}{suffix}" for suffix in SUFFIXES]


def measured_cells(
    metric: str,
    values: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    original: Mapping[str, float],
) -> dict[str, float | None]:
    """The columns' cells; None where something was not measured."""
    low, high = intervals.get(metric, (None, None))
    difference = values[metric] - original[metric] if metric in values and metric in original else None
    return dict(zip(measured_columns(metric), (values.get(metric), low, high, difference), strict=True))
