"""How long commands take that need no run, over the import of what they need; processes of their own, by turns."""

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import by_turns, ratio
from tests.cases.small_run import UWM, change_run, environment, uwm, write_run

_REPEATS = 5
# Modules that load the rest of themselves when it is first used are asked for what the commands use.
_SETTINGS = "import typer, yaml, filelock; from pydantic import BaseModel, Field, TypeAdapter"
_PLAN = "import open_clip, prefect, duckdb, pyarrow.parquet, typer, rich.table"


def start_up_over_imports() -> dict[str, Any]:
    """The slowest of them: a plan, a list, an edit shown, wrong settings; and an unchanged run over its own imports."""
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        config, store = write_run(Path(folder), calibration=8, test=8), Path(folder) / "store"
        run = ["run", str(config), "--store", str(store), "--workers", "0"]
        done = uwm(*run)
        if done.returncode:
            raise RuntimeError(done.stderr)
        wrong = change_run(config, "wrong", text={"tauu": 0.9})
        edit = next((store / "edit").iterdir())
        commands = {
            "plan": (["plan", str(config), "--store", str(store)], _PLAN),
            "artifacts_list": (["artifacts", "list", "--store", str(store)], f"import rich.table; {_SETTINGS}"),
            "edit_show": (["edit", "show", str(edit / "edit.safetensors")], "import torch, safetensors, typer"),
            "wrong_settings": (["run", str(wrong), "--store", str(store)], _SETTINGS),
            "unchanged_run": (run, _PLAN),
        }
        for name, (arguments, imports) in commands.items():
            command, bare = by_turns(
                partial(_ran, [*UWM, *arguments]), partial(_ran, [sys.executable, "-c", imports]), _REPEATS
            )
            measured |= {f"{name}_seconds": command, f"{name}_over_imports": command / bare}
    slowest = max(value for name, value in measured.items() if name.endswith("_over_imports") and "run" not in name)
    return ratio(slowest, "<= 1.5", **measured)


def _ran(command: list[str]) -> None:
    subprocess.run(command, env=environment(), capture_output=True, check=False)
