"""The README's own commands against a real server: deployments, a schedule, runs at once, cancelled and killed ones."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from data_specs.config_file import load_config
from tests.cases.places import ROOT
from tests.cases.prefect_server import free_port, wait_for_server
from tests.cases.small_run import change_run, kinds, write_run

pytestmark = pytest.mark.slow

PREFECT = [sys.executable, "-m", "prefect"]
# What a run waits on when it must still be there to be cancelled or killed.
ENDLESS = {"calibration": {"shards": ["pipe:sleep 600"]}}
RUN_SECONDS = 600


@dataclass(frozen=True)
class Project:
    """A checkout with a run.yaml in it, and a server of its own."""

    folder: Path
    environment: dict[str, str]

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """A command that goes on, in a process group of its own."""
        log = (self.folder / "log.txt").open("ab")
        return subprocess.Popen(
            [*PREFECT, *shlex.split(command)[1:]],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def call(self, command: str) -> str:
        """A command that must succeed."""
        process = subprocess.run(
            [*PREFECT, *shlex.split(command)[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def ask(self, method: str, path: str, **json: Any) -> Any:
        """The server's own answer."""
        url = f"{self.environment['PREFECT_API_URL']}/{path}"
        while True:
            answer = httpx.request(method, url, json=json or None, timeout=RUN_SECONDS, trust_env=False)
            # SQLite is locked for a moment; Prefect's own client tries again, too.
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def send(self, **parameters: Any) -> str:
        """One more run of the nightly deployment; returns its id."""
        deployment = self.ask("GET", "deployments/name/make-safe/nightly")["id"]
        parameters = {"workers": 0, **parameters}
        return str(self.ask("POST", f"deployments/{deployment}/create_flow_run", parameters=parameters)["id"])

    def state(self, run: str) -> str:
        """How a run stands, such as RUNNING."""
        return str(self.ask("GET", f"flow_runs/{run}")["state_type"])

    def until(self, run: str, *states: str) -> str:
        """Wait for one of some states; returns it."""
        end = time.monotonic() + RUN_SECONDS
        while (state := self.state(run)) not in states:
            assert time.monotonic() < end, f"{state}, expected {states}; {self.said()}"
            assert state not in {"FAILED", "CRASHED", "CANCELLED"}, f"{state}; {self.said()}"
            time.sleep(0.5)
        return state

    def said(self) -> str:
        """The end of what server and workers have logged."""
        return (self.folder / "log.txt").read_text(errors="replace")[-6000:]


@contextmanager
def going(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """A process that is ended with all that it started."""
    try:
        yield process
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            end_group(process, sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=60)


def end_group(process: "subprocess.Popen[bytes]", sign: signal.Signals) -> None:
    """Send a signal to a process and all of its group that are left."""
    try:
        os.killpg(process.pid, sign)
    except ProcessLookupError:
        return


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("data_specs", "tasks", "flows"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("prefect.yaml", "prefect.toml"):
        shutil.copy(ROOT / name, folder / name)
    write_run(folder / "data", calibration=8, test=8)
    settings = yaml.safe_load((folder / "data/config.yaml").read_text())
    for part in (settings["calibration"], settings["evaluation"]):
        part["shards"] = [f"data/{name}" for name in part["shards"]]
    settings["model"] = {"architecture": "data/model.json", "weights": "data/model.safetensors"}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **kept,
        "PYTHONPATH": str(folder),
        "PREFECT_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        # How often things are looked at, which a test would wait for.
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
    project = Project(folder, environment)
    with going(project.start(f"prefect server start --port {port}")) as server:
        wait_for_server(server, environment["PREFECT_API_URL"], project.said)
        for command in readme_commands("work-pool create", "deploy --all"):
            project.call(command)
        yield project


def readme_commands(*words: str) -> list[str]:
    """The README's commands that hold some words, in the order of the words."""
    lines = re.findall(r"^(prefect .*?)(?: +#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [next(line for line in lines if word in line) for word in words]


@pytest.fixture
def worker(project: Project) -> Iterator["subprocess.Popen[bytes]"]:
    [command] = readme_commands("worker start")
    with going(project.start(command)) as process:
        yield process


def test_three_runs_sent_at_once_wait_for_each_other_and_all_complete(
    project: Project, worker: "subprocess.Popen[bytes]"
) -> None:
    settings = load_config(project.folder / "run.yaml").model_dump(mode="json") | {"vision": None}
    other = change_run(project.folder / "run.yaml", "other", text={"tau": 0.8})
    # One by the README's command, one with the file's absolute path, one with the settings themselves.
    [command] = readme_commands("deployment run")
    told = project.call(command)
    [by_command] = re.findall(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", told)[-1:]
    runs = [by_command, project.send(config=str(other)), project.send(config=settings)]
    for run in runs:
        project.until(run, "COMPLETED")
    assert worker.poll() is None
    times = sorted(
        (run["start_time"], run["end_time"]) for run in (project.ask("GET", f"flow_runs/{run}") for run in runs)
    )
    assert all(end <= start for (_, end), (start, _) in pairwise(times)), times
    assert kinds(project.folder / "store")["model"] == 3


def test_a_schedule_that_is_switched_on_fires_and_its_run_completes(
    project: Project, worker: "subprocess.Popen[bytes]"
) -> None:
    deployment = project.ask("GET", "deployments/name/make-safe/nightly")
    [shipped] = deployment["schedules"]
    assert shipped["active"] is False
    every = {"interval": 30, "anchor_date": "2020-01-01T00:00:00Z", "timezone": "UTC"}
    schedules = f"deployments/{deployment['id']}/schedules/{shipped['id']}"
    project.ask("PATCH", schedules, active=True, schedule=every)
    chosen = {"deployments": {"id": {"any_": [deployment["id"]]}}, "flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}
    end = time.monotonic() + RUN_SECONDS
    while not (done := [run for run in project.ask("POST", "flow_runs/filter", **chosen) if run["end_time"]]):
        assert time.monotonic() < end, project.said()
        assert worker.poll() is None, project.said()
        time.sleep(0.5)
    project.ask("PATCH", schedules, active=False)
    # What it has sent while that run went on would keep the next test waiting.
    for run in project.ask("POST", "flow_runs/filter", **chosen):
        if run["state_type"] == "SCHEDULED":
            project.ask("DELETE", f"flow_runs/{run['id']}")
    assert done[0]["state_type"] == "COMPLETED", project.said()
    assert done[0]["parameters"] == {"config": "run.yaml", "store": "store"}


def test_a_cancelled_run_ends_cancelled_and_the_next_one_completes(
    project: Project, worker: "subprocess.Popen[bytes]"
) -> None:
    config = change_run(project.folder / "run.yaml", "endless", **ENDLESS)
    run = project.send(config=str(config), store="cancelled")
    project.until(run, "RUNNING")
    project.call(f"prefect flow-run cancel {run}")
    project.until(run, "CANCELLING", "CANCELLED")
    project.until(run, "CANCELLED")
    project.until(project.send(), "COMPLETED")
    assert worker.poll() is None


def test_a_killed_worker_holds_nothing_that_the_next_run_needs(project: Project) -> None:
    config = change_run(project.folder / "run.yaml", "endless", **ENDLESS)
    [command] = readme_commands("worker start")
    with going(project.start(command)) as killed:
        run = project.send(config=str(config))
        project.until(run, "RUNNING")
        end_group(killed, signal.SIGKILL)
        killed.wait()
    with going(project.start(command)):
        project.until(project.send(), "COMPLETED")
