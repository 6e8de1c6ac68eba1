"""Nights of a watch and records of other runs, as a store keeps them."""

import json
import zlib

from data_specs.gate import Gate, GateResult
from data_specs.night import Measured, Night
from flows.nightly.nights import write_night

VERSIONS = {"what": "a" * 64, "baseline": "b" * 64, "evaluation": "c" * 64, "baseline_evaluation": "d" * 64}


def gate_result(outcome="pass", metric="GS", **more):
    """A gate on a change of at least -1 point."""
    gate = Gate(metric=metric, rule="min_change", limit=-1)
    return GateResult(gate=gate, outcome=outcome, n=1200, sentence=f"{metric} did what makes it {outcome}", **more)


def measured(gs=60.0, model="current", on="visu", **more):
    """One model on one set; `gs` with an interval of 3 points each side."""
    given = {
        "status": "completed",
        "figures": {"GS": gs, "PS": 80.0},
        "intervals": {"GS": (gs - 3, gs + 3)},
        "n_pairs": 1200,
        "shards": ["1" * 64, "2" * 64],
        "libraries": {"torch": "2.9.0", "numpy": "2.1.0"},
        "environments": ["e" * 64],
        "code": "f" * 64,
        **VERSIONS,
    }
    return Measured(model=model, set=on, **(given | more))


def night(started, *parts, watch="production", **more):
    """A night that came to its end, unless `more` says otherwise; it measured `parts`."""
    given = {
        "id": f"n{started}",
        "settings": {"name": watch, "precision": "fp32"},
        "started": started,
        "ended": started,
        "status": "completed",
        "host": "elsewhere",
        "process": 1,
        "measured": [*parts],
    }
    return Night(watch=watch, **(given | more))


def keep(root, *nights):
    """Put nights into a store."""
    for each in nights:
        write_night(root, each)
    return root


def at(day, hour=3, minute=0, month=11):
    """A moment of 2026 as nights hold it."""
    return f"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00+00:00"


def record_id(name, started):
    """As records are called, by the second, and apart by the run's name."""
    return f"{started[:19].replace('-', '').replace(':', '')}-{zlib.crc32(name.encode()):08x}"


def write_record(root, name, started, *, status="completed", evaluation=None, **more):
    """A record of a run with one model."""
    content = {
        "id": record_id(name, started),
        "settings": {"name": name, "model": {}, "evaluation": {"shards": ["/data/test-0.tar"]}, "precision": "fp32"},
        "started": started,
        "status": status,
        "figures": {"edited": {"GS": 50.0, "n_pairs": 60}},
        "intervals": {"edited": {"GS": [45.0, 55.0]}},
        "artifacts": {"evaluation.edited": evaluation} if evaluation else {},
    }
    (root / ".runs").mkdir(parents=True, exist_ok=True)
    (root / ".runs" / f"{content['id']}.json").write_text(json.dumps(content | more))
