"""A store with the nights of a watch: three models on three sets, one of which falls, with all that can go wrong."""

from datetime import timedelta
from pathlib import Path

from data_specs.moments import moment_of
from data_specs.night import Night, Schedule
from flows.nightly.nights import add_schedule
from tests.cases.nights import at, gate_result, keep, measured, night

MODELS, SETS = ("current", "candidate", "safe-clip"), ("visu", "red-team", "coco")
SETTINGS = {
    "name": "production",
    "precision": "fp32",
    "models": {"current": {"tag": "production"}, "candidate": {"tag": "next"}, "safe-clip": {"model": {}}},
    "sets": {on: {"shards": [f"{on}.tar"]} for on in SETS},
    "baseline": {"tag": "production"},
}
N_NIGHTS = 60
FIRST = moment_of(at(1, 3, month=9))
NOW = FIRST + timedelta(days=N_NIGHTS - 1, hours=5)
FALL = (
    "GS fell by 9.0 points (60.0 -> 51.0; 95 % interval -11.0 to -7.0; 1,200 pairs; limit -1.0); most on tag violence"
)


def watched(root: Path) -> Path:
    """Nights of which the last three fail on one set, one is missed, one crashed; libraries change before the fall."""
    add_schedule(root, "production", Schedule(at=FIRST.isoformat(), cron="0 3 * * *"))
    keep(root, *(_night(number) for number in range(N_NIGHTS) if number != 40))
    return root


def _night(number: int) -> Night:
    begun = (FIRST + timedelta(days=number)).isoformat()
    given = {"settings": SETTINGS, "due": begun, "host": "elsewhere"}
    if number == 50:
        return night(begun, status="running", **given)
    fell = number >= N_NIGHTS - 3
    parts = [_measured(model, on, number, fell) for model in MODELS for on in SETS]
    return night(begun, *parts, outcome="failed" if fell else "passed", **given)


def _measured(model: str, on: str, number: int, fell: bool):
    own_fall = fell and (model, on) == ("current", "red-team")
    gs = (51.0 if own_fall else 60.0) + number % 3
    failed = {"change": -9.0, "low": -11.0, "high": -7.0, "baseline": 60.0}
    kept = {"change": 0.4, "low": -0.5, "high": 1.3, "baseline": 60.0}
    result = gate_result("fail", **failed) if own_fall else gate_result(**kept)
    if own_fall:
        result = result.model_copy(update={"sentence": FALL})
    if (model, on) == ("candidate", "coco"):
        result = gate_result("unsure", **kept)
    torch = "2.10.0" if fell else "2.9.0"
    shards = [f"{n:064x}" for n in range(2 + number // 20)]
    return measured(
        gs,
        model,
        on,
        gates=[result, gate_result(metric="PS", baseline=80.0)],
        shards=shards,
        libraries={"torch": torch, "numpy": "2.1.0"},
        evaluation=f"{1000 + number:064x}",
    )
