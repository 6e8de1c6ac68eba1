"""How long commands take that need no run, over the import of what they need; processes of their own, by turns."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from tests.benchmarks.timing import by_turns, ratio
from tests.cases.small_run import UWM, change_run, environment, uwm, write_run

_REPEATS = 5
# Modules that load the rest of themselves when it is first used are asked for what the commands use: typer makes an
# adapter of pydantic for each option.
_SETTINGS = "import typer, yaml, filelock; from pydantic import BaseModel, Field, TypeAdapter; TypeAdapter(int)"
_PLAN = "import open_clip, prefect, duckdb, pyarrow.parquet, typer, rich.table"
_TENSORS = f"import torch, safetensors.torch, numpy; {_SETTINGS}"


def start_up_over_imports() -> dict[str, Any]:
    """The slowest of them: a plan, a list, an edit applied, an export, wrong settings; and an unchanged run, apart."""
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        config, store = write_run(Path(folder), calibration=8, test=8), Path(folder) / "store"
        run = ["run", str(config), "--workers", "0"]
        done = uwm(*run, "--store", str(store))
        if done.returncode:
            raise RuntimeError(done.stderr)
        wrong = change_run(config, "wrong", text={"tauu": 0.9})
        edit, model = (next((store / kind).iterdir()).name for kind in ("edit", "model"))
        weights, outs = config.parent / "model.safetensors", count()
        commands = {
            "plan": (lambda: ["plan", str(config)], _PLAN, 0),
            "artifacts_list": (lambda: ["artifacts", "list"], f"import rich.table; {_SETTINGS}", 0),
            "edit_apply": (lambda: ["edit", "apply", edit, str(weights), "--out", _out(folder, outs)], _TENSORS, 0),
            "export": (lambda: ["export", model, "--out", _out(folder, outs)], _TENSORS, 0),
            "wrong_settings": (lambda: ["run", str(wrong)], _SETTINGS, 2),
            "unchanged_run": (lambda: run, _PLAN, 0),
        }
        for name, (arguments, imports, status) in commands.items():
            command, bare = by_turns(
                partial(_called, arguments, store, status), partial(_ran, [sys.executable, "-c", imports], 0), _REPEATS
            )
            measured |= {f"{name}_seconds": command, f"{name}_over_imports": command / bare}
    slowest = max(value for name, value in measured.items() if name.endswith("_over_imports") and "run" not in name)
    return ratio(slowest, "<= 1.5", **measured)


def _out(folder: str, outs: Iterator[int]) -> str:
    """A place where nothing is yet."""
    return str(Path(folder) / f"out-{next(outs)}.safetensors")


def _called(arguments: Callable[[], list[str]], store: Path, status: int) -> None:
    _ran([*UWM, *arguments(), "--store", str(store)], status)


def _ran(command: list[str], status: int) -> None:
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != status:
        raise RuntimeError(done.stderr)
