"""What was found of one gate before it is judged beside the others of its night."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_specs.figures import Interval
from data_specs.gate import Gate, PFrom, TagChange

_SAME = 1e-9


@dataclass(frozen=True)
class Finding:
    """Figures of one gate, what is held against its limit, and how sure that is.

    Figures are None where they were not measured. A finding without an interval and not `certain` cannot be judged.
    """

    gate: Gate
    n: int = 0  # pairs, captions or images that were compared
    value: float | None = None  # of the model
    baseline: float | None = None  # on the same rows
    change: float | None = None  # value less baseline
    interval: Interval | None = None  # 95 %, of what is held against the limit
    p: float | None = None  # two-sided, that what is held against the limit is the limit itself
    p_from: PFrom | None = None
    n_gained: int | None = None
    n_lost: int | None = None
    certain: bool = False  # one evaluation, not two: the change is 0, and nothing was drawn
    reasons: Sequence[str] = ()  # why it is not comparable
    tags: Sequence[TagChange] = ()  # those that moved most to the limit's bad side, the furthest first

    @property
    def held(self) -> float | None:
        """What is held against the limit."""
        return self.change if self.gate.of_change else self.value


def holds(gate: Gate, interval: Interval) -> bool:
    """Whether an interval lies wholly on the good side of the limit, which is itself on that side; never of NaN."""
    low, high = interval
    return low >= gate.limit - _SAME if gate.is_lower else high <= gate.limit + _SAME


def breaks(gate: Gate, interval: Interval) -> bool:
    """Whether it lies wholly on the bad side; never of NaN."""
    low, high = interval
    return high < gate.limit - _SAME if gate.is_lower else low > gate.limit + _SAME
