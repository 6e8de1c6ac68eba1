"""What held while an artifact was made: machine, libraries, commit."""

import getpass
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from data_specs.manifest import Circumstances

_LIBRARIES = (
    "torch",
    "open_clip_torch",
    "torchvision",
    "timm",
    "transformers",
    "numpy",
    "pillow",
    "pyarrow",
    "duckdb",
    "scipy",
    "webdataset",
    "safetensors",
    "prefect",
)


@dataclass(frozen=True)
class RunContext:
    """How a run is carried out; nothing here may change a number on the CPU."""

    device: str = "cpu"
    workers: int = 0
    precision: str = "fp32"
    seed: int | None = None
    flow_run_id: str | None = None
    runner: Any = field(default=None, compare=False, repr=False)  # who makes parts beside this process, if anybody

    def within(self, flow_run_id: str | None) -> "RunContext":
        """The same context, inside a flow run."""
        return replace(self, flow_run_id=flow_run_id)


def now() -> str:
    """The time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def user_name() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def describe_circumstances(context: RunContext, *, started: str) -> Circumstances:
    """Everything of note about this process, ending now."""
    commit, dirty = _git_state()
    return Circumstances(
        libraries=_library_versions(),
        device=context.device,
        precision=context.precision,
        seed=context.seed,
        git_commit=commit,
        git_dirty=dirty,
        flow_run_id=context.flow_run_id,
        command=[*sys.argv],
        started=started,
        ended=now(),
    )


@cache
def _library_versions() -> dict[str, str]:
    found = {"python": python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _git_state() -> tuple[str | None, bool | None]:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None
