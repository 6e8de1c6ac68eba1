"""The end of a command by a signal, in what may come between: second signals, finalizers, locks, libraries that swallow."""

import signal
import subprocess
import sys

import pytest

from tests.cases.processes import PATIENCE_SECONDS
from tests.cases.small_run import environment

pytestmark = pytest.mark.slow

NOTHING = "nothing was written"
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
