"""Pass, fail, unsure or not comparable: the gates of a night judged together."""

from collections.abc import Sequence

from data_specs.experiment import holm_adjusted
from data_specs.gate import GateOutcome, GateResult
from tasks.evaluation.gates.certainty import SURE_BELOW, detectable_change, pairs_to_settle
from tasks.evaluation.gates.finding import Finding, breaks, holds
from tasks.evaluation.gates.sentences import failed, not_comparable, passed, unsure

_Place = tuple[int, int]


def decide(findings: Sequence[Sequence[Finding]]) -> list[list[GateResult]]:
    """What became of each gate of a night.

    A gate passes where the whole 95 % interval is on the good side of its limit, which is itself good. It fails where
    the whole interval is on the bad side and its p, by Holm's method among all gates of the night that can be judged,
    is below 0.05: on a night on which nothing is worse than its limit any gate fails in 5 % of cases at most. All
    between is unsure. What is no comparison of the models is not comparable, whatever its figures are.

    Args:
        findings: of each model and set those of its gates.

    Returns:
        Results in the same order.
    """
    tested = {
        (row, column): found.p
        for row, own in enumerate(findings)
        for column, found in enumerate(own)
        if found.p is not None and _is_test(found)
    }
    adjusted = holm_adjusted(tested)
    return [
        [_result(found, (row, column), tested, adjusted) for column, found in enumerate(own)]
        for row, own in enumerate(findings)
    ]


def _result(found: Finding, place: _Place, tested: dict[_Place, float], adjusted: dict[_Place, float]) -> GateResult:
    outcome = _outcome(found, adjusted.get(place))
    # By Holm a p is multiplied by how many are no smaller.
    n_tests = sum(p >= tested[place] for p in tested.values()) if place in tested else 1
    needed = _needed(found, n_tests) if outcome == "unsure" else None
    low, high = found.interval or (None, None)
    return GateResult(
        gate=found.gate,
        outcome=outcome,
        n=found.n,
        value=found.value,
        baseline=found.baseline,
        change=found.change,
        low=low,
        high=high,
        p=found.p,
        p_from=found.p_from,
        p_adjusted=adjusted.get(place),
        n_gained=found.n_gained,
        n_lost=found.n_lost,
        settles_at=needed,
        detectable=None if found.interval is None or found.certain else detectable_change(found.interval),
        reasons=list(found.reasons),
        worst_tags=[] if outcome == "pass" else list(found.tags),
        sentence=_sentence(found, outcome, needed, adjusted.get(place), len(tested)),
    )


def _is_test(found: Finding) -> bool:
    # A p that is no number has no place among others.
    return found.p is not None and 0 <= found.p <= 1 and not found.reasons and not found.certain


def _outcome(found: Finding, adjusted: float | None) -> GateOutcome:
    if found.reasons:
        return "not_comparable"
    if found.interval is None:
        return "unsure"
    if holds(found.gate, found.interval):
        return "pass"
    if breaks(found.gate, found.interval) and (found.certain or (adjusted is not None and adjusted < SURE_BELOW)):
        return "fail"
    return "unsure"


def _needed(found: Finding, n_tests: int) -> int | None:
    if found.interval is None or found.held is None:
        return None
    # That a limit holds is asked of each gate alone, that one does not of all together.
    is_bad = found.held < found.gate.limit if found.gate.is_lower else found.held > found.gate.limit
    return pairs_to_settle(found.n, found.held, found.interval, found.gate.limit, n_tests if is_bad else 1)


def _sentence(found: Finding, outcome: GateOutcome, needed: int | None, adjusted: float | None, n_tested: int) -> str:
    if outcome == "not_comparable":
        return not_comparable(found)
    if outcome == "unsure":
        is_broken = found.interval is not None and breaks(found.gate, found.interval)
        return unsure(found, needed, adjusted if is_broken else None, n_tested)
    return failed(found) if outcome == "fail" else passed(found)
