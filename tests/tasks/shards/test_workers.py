"""Processes that decode: little shared memory, and their death."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from data_specs.errors import MachineError
from tests.cases.places import ROOT
from tests.cases.streams import large, stream_of

pytestmark = pytest.mark.slow


def killed_at(caption):
    if "7" in caption:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(1)


def test_a_worker_that_is_killed_names_the_shard_and_where_it_was(tmp_path):
    with pytest.raises(MachineError, match=r"ended at or after sample 'k\d' of shard .*x\.tar: .*--workers 0, or in a"):
        list(stream_of(tmp_path, killed_at, 2).batches(0))


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pickle
from tests.cases.streams import large, stream_of
batches = list(stream_of(Path(sys.argv[2]), large, 3).batches(0))
print(pickle.dumps([(batch.keys, {side: value.sum().item() for side, value in batch.inputs.items()}) for batch in batches]).hex())
"""


def may_mount():
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/dev/shm"]
    return sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("size", ["64m", "2m", "16k"])
def test_batches_are_the_same_whatever_the_size_of_shared_memory(tmp_path, size):
    if not may_mount():
        pytest.skip("needs the right to mount /dev/shm")
    expected = [
        (batch.keys, {side: value.sum().item() for side, value in batch.inputs.items()})
        for batch in stream_of(tmp_path, large, 0).batches(0)
    ]
    inner = f'mount -t tmpfs -o size={size} tmpfs /dev/shm; exec {sys.executable} -c "$SCRIPT" {ROOT} {tmp_path}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inner],
        env={**os.environ, "SCRIPT": SCRIPT},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=Path(ROOT),
    )
    assert done.returncode == 0, done.stderr
    assert pickle.loads(bytes.fromhex(done.stdout.split()[-1])) == expected
    assert "Traceback" not in done.stderr
