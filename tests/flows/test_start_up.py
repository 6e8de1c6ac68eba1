"""What needs no run starts no server and imports nothing heavy."""

import json
import re
import subprocess
import sys

import pytest

from tests.cases.nights import at, keep, measured, night
from tests.cases.small_run import change_run, environment, write_run

HEAVY = ("torch", "open_clip", "prefect", "duckdb", "scipy", "matplotlib", "transformers")
TOLD = """
import json, sys
sys.argv = ["uwm", *sys.argv[1:]]
from flows.commands.main import main
try:
    main()
finally:
    print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("start"), calibration=4, test=4)


def imported(*arguments, cwd):
    script = TOLD.replace("{heavy}", repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=cwd,
        check=False,
    )
    return done.returncode, done.stderr.strip(), json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"text": {"tauu": 0.9}}, 2, "tauu"),
        ({"model": {"architecture": "model.json", "weights": "./nowhere.safetensors"}}, 2, "nowhere.safetensors"),
        ({"evaluation": {"shards": ["nowhere.tar"]}}, 3, "nowhere.tar"),
        ({"calibration": {"shards": ["nowhere-{0..2}.tar"]}}, 3, "nowhere-0.tar"),
    ],
)
@pytest.mark.parametrize("command", [("run",), ("sweep", "--tau", "0.9"), ("compare",), ("plan",)])
def test_wrong_settings_are_refused_before_anything_heavy_is_imported(config, command, changes, status, word):
    wrong = change_run(config, "wrong", **changes)
    found, told, heavy = imported(command[0], str(wrong), *command[1:], cwd=config.parent)
    assert (found, len(told.splitlines())) == (status, 1), told
    assert word in told
    # Grids are checked by what computes them.
    assert heavy in ([], ["torch"]) if command[0] == "sweep" else heavy == []
    assert not (config.parent / "store").exists()


@pytest.mark.parametrize("arguments", [("artifacts", "list"), ("config", "config.yaml"), ("--help",), ("--version",)])
def test_what_only_looks_imports_nothing_heavy(config, arguments):
    status, told, heavy = imported(*arguments, cwd=config.parent)
    assert (status, heavy) == (0, []), told


def test_a_history_that_slides_waits_for_no_tensor_library(tmp_path):
    figures = (70.0, 66.0, 62.0, 58.0, 54.0)
    keep(tmp_path, *(night(at(day), measured(figure), due=at(day)) for day, figure in enumerate(figures, 1)))
    status, told, heavy = imported("history", "--store", str(tmp_path), cwd=tmp_path)
    assert (status, "torch" in heavy) == (0, False), told


def test_a_model_that_open_clip_does_not_know_is_refused_without_a_record(config):
    wrong = change_run(config, "wrong", model={"architecture": "ViT-B-99", "weights": "openai"})
    status, told, _ = imported("run", str(wrong), cwd=config.parent)
    assert status == 2
    assert "ViT-B-99" in told
    assert not (config.parent / "store").exists()


def test_the_version_and_the_short_word_for_help_are_answered(here):
    assert re.fullmatch(r"uwm \S+\n", here("--version").stdout)
    assert here("-h").stdout == here("--help").stdout
    assert here("shards", "pack", "-h").stdout == here("shards", "pack", "--help").stdout


@pytest.mark.parametrize(("words", "expected"), [("uwm sw", "sweep"), ("uwm artifacts ve", "verify")])
def test_a_shell_completes_commands(here, monkeypatch, words, expected):
    monkeypatch.setenv("_UWM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    done = here()
    assert (done.returncode, done.stdout.strip()) == (0, expected)
