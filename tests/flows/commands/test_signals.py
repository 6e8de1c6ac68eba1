"""Signals at several moments of real processes: the exit status, one line, nothing left behind."""

import io
import os
import signal
import subprocess
import sys
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


SCRIPT = """
import sys, time
from flows.commands import ending
ending._SAME_SECONDS = float(sys.argv[1])
with ending.signals_heard() as heard:
    try:
        print("ready", flush=True)
        time.sleep(1000)
    finally:
        print("cleaning", heard.signal.name, flush=True)
        print(sys.stdin.readline(), end="", flush=True)
        time.sleep(1000)
"""
LATER, WITHIN_THE_SAME_MOMENT = "-1", "1000"


def started(*command):
    process = subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_signal_ends_at_once():
    process = started(sys.executable, "-c", SCRIPT, LATER)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning SIGINT\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 143


def test_the_same_signal_twice_in_a_moment_counts_once():
    process = started(sys.executable, "-c", SCRIPT, WITHIN_THE_SAME_MOMENT)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "cleaning SIGINT\n"
    process.send_signal(signal.SIGINT)
    process.stdin.write("goes on\n")
    process.stdin.flush()
    assert process.stdout.readline() == "goes on\n"
    process.kill()


def test_a_signal_that_was_ignored_stays_so():
    process = started("sh", "-c", 'trap "" HUP; exec "$0" -c "$1" "$2"', sys.executable, SCRIPT, LATER)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning SIGTERM\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 143


SWALLOWED = """
import sys, time
from flows.commands.ending import Stopped, signals_heard
class Held:
    def __del__(self):
        print("ready", flush=True)
        time.sleep(1000)
with signals_heard() as ending:
    try:
        held = Held()
        del held
        time.sleep(1000)
    except Stopped:
        sys.exit(ending.status)
"""


def test_a_signal_that_a_finalizer_swallows_is_not_lost():
    process = started(sys.executable, "-c", SWALLOWED)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE_SECONDS) == ("", "")
    assert process.returncode == 143


HELD = """
import threading, time
from flows.commands import ending, main
ending._END_SECONDS = 0.5

class Held:
    def __init__(self):
        self.lock = threading.Lock()
        self.lock.acquire()
    def __del__(self):
        self.lock.acquire()

def holding(arguments, debug, told):
    held = Held()
    print("ready", flush=True)
    time.sleep(1000)

main._run = holding
main.main()
"""


def test_a_lock_that_an_exception_left_taken_does_not_hold_up_the_end():
    process = subprocess.Popen(
        [sys.executable, "-c", HELD], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE_SECONDS) == ("", f"terminated (SIGTERM); {NOTHING}\n")
    assert process.returncode == 143


SLOW_HOOK = SWALLOWED.replace(
    "with signals_heard() as ending:",
    """from flows.commands import ending as module
slow = [True]
def ring_in(seconds, ring=module._ring_in):
    ring(seconds)
    if seconds == module._AGAIN_SECONDS and slow:
        slow.clear()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
module._ring_in, module._INSIST_SECONDS = ring_in, 1000
with signals_heard() as ending:""",
)


def test_a_signal_is_not_lost_where_it_comes_again_within_the_hook_itself():
    process = started(sys.executable, "-c", SLOW_HOOK)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE_SECONDS) == ("", "")
    assert process.returncode == 143


def test_copies_that_another_process_holds_stay(tmp_path):
    held = Copies(tmp_path / Copies.name(1))
    held.hold()
    (tmp_path / "fetched-2").mkdir()
    Copies(tmp_path / Copies.name(3))
    assert [path.name for path in tmp_path.iterdir()] == ["fetched-1"]
    held.close()
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_a_library_swallows_is_raised_again():
    script = """
import time
from flows.commands import ending, main
# Once within the wait below, and not again while it ends.
seconds = iter((0.5, 1000, 1000))
ending._ring_in = lambda _, ring=ending._ring_in: ring(next(seconds))

def swallowing(arguments, debug, told):
    print("ready", flush=True)
    try:
        time.sleep(1000)
    except:
        pass
    time.sleep(1000)

main._run = swallowing
main.main()
"""
    process = started(sys.executable, "-c", script)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, said) == (130, f"interrupted; {NOTHING}\n")
