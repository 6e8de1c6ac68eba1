"""A folder is complete or not there, whatever ends the process that fills it."""

import subprocess
import sys

import pytest

from data_specs.errors import SpecError
from tasks.lineage.appearing import appearing
from tests.cases.places import ROOT

FILLING = """
import sys
from pathlib import Path
from tasks.lineage.appearing import appearing
with appearing(Path(sys.argv[1])) as draft:
    (draft / "half").write_bytes(b"x" * 1000)
    print("filling", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def filling(tmp_path):
    """A process that has begun to fill `out` and waits."""
    command = [sys.executable, "-c", FILLING, str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "filling\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next(filling, tmp_path):
    filling.kill()
    filling.wait()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".out.part-")
    with appearing(tmp_path / "out") as draft:
        assert not left.exists()
        (draft / "whole").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]


def test_the_draft_of_a_process_at_work_stays_and_who_comes_last_is_told(filling, tmp_path):
    with appearing(tmp_path / "out") as draft:
        (draft / "mine").write_text("x")
    filling.stdin.close()
    assert filling.wait() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_error_leaves_nothing_and_one_of_the_disk_names_the_folder(tmp_path):
    with pytest.raises(KeyError), appearing(tmp_path / "out"):
        raise KeyError("a")
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(SpecError, match=r"cannot write --out .*file/out': Not a directory"),
        appearing(tmp_path / "file" / "out"),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
