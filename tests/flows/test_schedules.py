"""The README's own commands against a real server: deployments, a schedule, runs at once, cancelled and killed ones.

A run takes ten seconds, most of them for its process to start; so the run that others wait for is the one that is
cancelled, and the run that follows a killed worker is the schedule's.
"""

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
    client: httpx.Client

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """A command that goes on, in a process group of its own."""
        with (self.folder / "log.txt").open("ab") as log:
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
        while True:
            answer = self.client.request(method, path, json=json or None)
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

    def send_endless(self, **parameters: Any) -> str:
        """A run that is there until it is cancelled or killed; returns its id once it runs."""
        config = change_run(self.folder / "run.yaml", "endless", **ENDLESS)
        run = self.send(config=str(config), **parameters)
        self.until(run, "RUNNING")
        return run

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
        shutil.copytree(ROOT / name, folder / name)  # with what is compiled, which each process would compile again
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
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "3",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
    client = httpx.Client(base_url=environment["PREFECT_API_URL"], timeout=RUN_SECONDS, trust_env=False)
    project = Project(folder, environment, client)
    with client, going(project.start(f"prefect server start --port {port}")) as server:
        wait_for_server(server, environment["PREFECT_API_URL"], project.said)
        for command in readme_commands("work-pool create", "deploy --all"):
            project.call(command)
        yield project


def readme_commands(*words: str) -> list[str]:
    """The README's commands that hold some words, in the order of the words."""
    lines = re.findall(r"^(prefect .*?)(?: +#.*)?$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [next(line for line in lines if word in line) for word in words]


@pytest.fixture(scope="module")
def worker(project: Project) -> Iterator["subprocess.Popen[bytes]"]:
    """One for all tests; the last of them kills it."""
    [command] = readme_commands("worker start")
    with going(project.start(command)) as process:
        yield process


def is_begun(run: dict[str, Any]) -> bool:
    """Whether a worker has taken a run, as the server tells of it."""
    return run["state_type"] != "SCHEDULED"


def test_runs_sent_at_once_wait_for_each_other_and_one_that_is_cancelled_holds_up_none(
    project: Project, worker: "subprocess.Popen[bytes]"
) -> None:
    endless = project.send_endless(store="cancelled")
    settings = load_config(project.folder / "run.yaml").model_dump(mode="json") | {"vision": None}
    other = change_run(project.folder / "run.yaml", "other", text={"tau": 0.8})
    # One by the README's command, one with the file's absolute path, one with the settings themselves.
    [command] = readme_commands("deployment run")
    told = project.call(command)
    [by_command] = re.findall(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", told)[-1:]
    runs = [by_command, project.send(config=str(other)), project.send(config=settings)]
    assert project.state(endless) == "RUNNING", project.said()
    assert [project.state(run) for run in runs] == ["SCHEDULED"] * 3
    project.call(f"prefect flow-run cancel {endless}")
    project.until(endless, "CANCELLING", "CANCELLED")
    project.until(endless, "CANCELLED")
    for run in runs:
        project.until(run, "COMPLETED")
    assert worker.poll() is None
    times = sorted(
        (run["start_time"], run["end_time"])
        for run in (project.ask("GET", f"flow_runs/{run}") for run in [endless, *runs])
    )
    assert all(end <= start for (_, end), (start, _) in pairwise(times)), times
    assert kinds(project.folder / "store")["model"] == 3


def test_a_killed_worker_holds_nothing_that_the_next_run_needs_which_a_schedule_sends(
    project: Project, worker: "subprocess.Popen[bytes]"
) -> None:
    project.send_endless(store="store")
    end_group(worker, signal.SIGKILL)
    worker.wait()
    deployment = project.ask("GET", "deployments/name/make-safe/nightly")
    [shipped] = deployment["schedules"]
    assert shipped["active"] is False
    every = {"interval": 10, "anchor_date": "2020-01-01T00:00:00Z", "timezone": "UTC"}
    schedule = f"deployments/{deployment['id']}/schedules/{shipped['id']}"
    project.ask("PATCH", schedule, active=True, schedule=every)
    chosen = {"deployments": {"id": {"any_": [deployment["id"]]}}, "flow_runs": {"tags": {"all_": ["auto-scheduled"]}}}
    [command] = readme_commands("worker start")
    with going(project.start(command)) as another:
        end = time.monotonic() + RUN_SECONDS
        while not (begun := [run for run in project.ask("POST", "flow_runs/filter", **chosen) if is_begun(run)]):
            assert time.monotonic() < end, project.said()
            assert another.poll() is None, project.said()
            time.sleep(0.5)
        project.ask("PATCH", schedule, active=False)
        [run] = begun
        project.until(run["id"], "COMPLETED")
        assert run["parameters"] == {"config": "run.yaml", "store": "store"}
