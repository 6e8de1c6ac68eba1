"""What held while an artifact was made: machine, libraries, commit."""

import getpass
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from data_specs.manifest import Circumstances, GivenSettings
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.environment import environment_here, product_version


@dataclass(frozen=True)
class RunContext:
    """How a run is carried out; nothing here may change a number on the CPU."""

    device: str = "cpu"
    workers: int = 0
    precision: str = "fp32"
    seed: int | None = None
    flow_run_id: str | None = None
    runner: Any = field(default=None, compare=False, repr=False)  # who makes parts beside this process, if anybody
    started_by: str = "local"  # who starts the processes
    run: str | None = None  # identifier of the run's record
    settings: GivenSettings | None = field(default=None, repr=False)
    models: tuple[ModelInUse, ...] = field(default=(), repr=False)  # those that a digest in a recipe may stand for
    # By SHA-256, the ETags of shards that were taken for unchanged on their word.
    trusted: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

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
    here = environment_here(context.device, context.precision)
    return Circumstances(
        libraries=dict(here.libraries),
        records=dict(here.records),
        hardware=dict(here.hardware),
        environment=here.digest,
        device=context.device,
        precision=context.precision,
        seed=context.seed,
        product=product_version(),
        git_commit=commit,
        git_dirty=dirty,
        flow_run_id=context.flow_run_id,
        run=context.run,
        command=[*sys.argv],
        user=user_name(),
        host=platform.node(),
        system=_system(),
        process=os.getpid(),
        runner=context.started_by,
        started=started,
        ended=now(),
    )


@cache
def _system() -> str:
    return platform.platform()


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
