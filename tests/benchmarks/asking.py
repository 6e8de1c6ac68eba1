"""How long `uwm lineage` takes on a store of 10,000 artifacts beyond the import of what it needs; processes by turns."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import by_turns, seconds
from tests.cases.large_store import LargeStore
from tests.cases.small_run import UWM, environment

_REPEATS, _N_ARTIFACTS = 3, 10_000
# The command line itself, and what it asks with.
_IMPORTS = (
    "import flows.commands.main, flows.commands.lineage.group, flows.commands.lineage.show, rich.table,"
    " tasks.tracing.uses, tasks.tracing.graph"
)


def lineage_seconds_over_imports() -> dict[str, Any]:
    """The slowest question of each kind, and the first one, which reads all manifests."""
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        large = LargeStore(Path(folder) / "store")
        large.fill(_N_ARTIFACTS)
        place = ["--store", str(large.root)]
        count = ["sql", "SELECT count(*) FROM artifacts"]
        measured["first_question_seconds"] = _seconds([*count, *place])
        questions = {
            "show": ["show", "run-0003:evaluation.edited"],
            "diff": ["diff", "run-0003", "run-0007"],
            "uses_shard": ["uses", large.shards[0].sha256],
            "uses_edit": ["uses", "run-0003:edit"],
            "sql_modules": ["sql", "SELECT module, count(DISTINCT digest) FROM modules GROUP BY 1"],
            "sql_join": ["sql", "SELECT a.kind, count(*) FROM inputs i JOIN artifacts a USING (version) GROUP BY 1"],
        }
        for name, arguments in questions.items():
            imports = _IMPORTS + (", tasks.tracing.tables" if "sql" in name else "")
            command, bare = by_turns(
                partial(_ran, [*UWM, "lineage", *arguments, *place]),
                partial(_ran, [sys.executable, "-c", imports]),
                _REPEATS,
            )
            measured[name] = command - bare
    slowest = max(value for name, value in measured.items() if name != "first_question_seconds")
    told = {name: round(value, 3) for name, value in measured.items()}
    return {"value": round(slowest, 3), "unit": "seconds", "limit": "<= 1", "artifacts": large.n_artifacts, **told}


def _seconds(arguments: list[str]) -> float:
    return seconds(partial(_ran, [*UWM, "lineage", *arguments]))


def _ran(command: list[str]) -> None:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
