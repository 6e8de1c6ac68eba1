"""Signals at several moments of real processes: the exit status, one line, nothing left behind."""

import io
import os
import signal
import subprocess
from pathlib import Path
from threading import Event

import pytest
from PIL import Image

from tasks.shards.copies import Copies
from tests.cases.file_server import files_served
from tests.cases.processes import PATIENCE_SECONDS, alive, children, wait_for
from tests.cases.shard_files import pairs, tar_bytes, write_tar
from tests.cases.small_run import UWM, change_run, environment, write_run

pytestmark = pytest.mark.slow

NOTHING = "nothing was written"


def ended(command, folder, number, moment, *, api_url=None, group=False):
    """Status, lines of stderr and what is left in the folder of temporary files, of a process told to end at a moment."""
    temporary = folder / "temporary"
    temporary.mkdir()
    around = {**environment(api_url), "TMPDIR": str(temporary), "PREFECT_HOME": str(folder / "prefect")}
    if api_url is None:
        around.pop("PREFECT_API_URL", None)
    process = subprocess.Popen(
        command, env=around, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        moment(process.pid)
        (os.killpg if group else os.kill)(process.pid, number)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    left = [path.name for path in temporary.iterdir() if "torchinductor" not in path.name]
    return process.returncode, said.splitlines(), left


def kept_in(store):
    return f"finished work is kept in store {store}, the same command goes on there"


def test_a_signal_during_imports(tmp_path):
    def imports(pid):
        wait_for(
            lambda: "typer" in Path(f"/proc/{pid}/maps").read_text() or "yaml" in Path(f"/proc/{pid}/maps").read_text()
        )

    status, said, left = ended([*UWM, "demo", "--store", str(tmp_path / "s")], tmp_path, signal.SIGINT, imports)
    assert (status, left) == (130, [])
    # The libraries of the command line, or already those of the run, which then has told of its first stages.
    assert said[-1:] in ([f"interrupted; {NOTHING}"], [f"interrupted; {kept_in(tmp_path / 's')}"])


def test_a_signal_while_the_server_starts(tmp_path):
    servers = []
    status, said, left = ended(
        [*UWM, "demo", "--store", str(tmp_path / "s")],
        tmp_path,
        signal.SIGTERM,
        lambda pid: servers.extend(wait_for(lambda: children(pid))),
    )
    assert (status, said, left) == (143, [f"terminated (SIGTERM); {kept_in(tmp_path / 's')}"], [])
    wait_for(lambda: not any(alive(pid) for pid in servers))


def test_a_signal_while_a_command_gives_a_shard(tmp_path):
    pid_file = tmp_path / "pid"
    command = [*UWM, "shards", "check", f"pipe:sleep 1000 & echo $! > {pid_file}; wait"]
    status, said, left = ended(
        command, tmp_path, signal.SIGHUP, lambda _: wait_for(lambda: pid_file.exists() and pid_file.read_text())
    )
    assert (status, said[-1:], left) == (129, [f"the terminal was closed (SIGHUP); {NOTHING}"], [])
    wait_for(lambda: not alive(int(pid_file.read_text())))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_that_decode(tmp_path, number):
    picture = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(picture, "JPEG")
    members = [(f"{i}.{side}.jpg", picture.getvalue()) for i in range(400) for side in ("safe", "unsafe")]
    path = write_tar(tmp_path / "x.tar", members)
    workers = []
    status, said, left = ended(
        [*UWM, "shards", "check", str(path), "--workers", "2"],
        tmp_path,
        number,
        lambda pid: workers.extend(wait_for(lambda: len(children(pid)) == 2 and children(pid))),
        group=True,
    )
    assert (status, left) == (128 + number, [])
    assert said[-1].endswith(NOTHING)
    assert [line for line in said[:-1] if not line.startswith("check shards")] == []
    wait_for(lambda: not any(alive(pid) for pid in workers))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_shards_are_fetched_ahead_leaves_nothing(tmp_path, number):
    bodies = {name: tar_bytes(pairs([name])) for name in "abc"}
    with files_served(**bodies) as server:
        for name in "bc":
            server.files[f"{name}.tar"].goes_on = Event()
        urls = [f"{server.url}/{name}.tar" for name in bodies]
        status, said, left = ended(
            [*UWM, "shards", "check", *urls], tmp_path, number, lambda _: wait_for(lambda: len(server.asked) == 3)
        )
        for name in "bc":
            server.files[f"{name}.tar"].goes_on.set()
    assert (status, left) == (128 + number, [])
    assert said[-1].endswith(NOTHING)


def test_a_signal_while_a_run_fetches_removes_the_copies(tmp_path, api_url):
    config = write_run(tmp_path / "data")
    shards = sorted(str(path) for path in (tmp_path / "data").glob("calibration-*.tar"))
    pid_file, store = tmp_path / "pid", tmp_path / "store"
    waiting = f"pipe:echo $$ > {pid_file}; sleep 1000"
    config = change_run(config, "piped", calibration={"shards": [f"pipe:cat {shards[0]}", waiting]})
    abandoned = store / ".scratch" / "fetched-999999999"
    abandoned.mkdir(parents=True)
    (abandoned / "x.tar").write_bytes(b"x")
    seen = []

    def fetching(_):
        wait_for(lambda: pid_file.exists() and pid_file.read_text())
        seen.extend((store / ".scratch").glob("fetched-*/*.tar"))

    command = [*UWM, "run", str(config), "--store", str(store), "--device", "cpu"]
    status, said, left = ended(command, tmp_path, signal.SIGTERM, fetching, api_url=api_url)
    assert (status, said[-1:], left) == (143, [f"terminated (SIGTERM); {kept_in(store)}"], [])
    assert len(seen) == 1
    assert list((store / ".scratch").glob("fetched-*")) == []
    assert not alive(int(pid_file.read_text()))


def test_copies_that_another_process_holds_stay(tmp_path):
    held = Copies(tmp_path / Copies.name(1))
    held.hold()
    (tmp_path / "fetched-2").mkdir()
    Copies(tmp_path / Copies.name(3))
    assert [path.name for path in tmp_path.iterdir()] == ["fetched-1"]
    held.close()
    assert list(tmp_path.iterdir()) == []
