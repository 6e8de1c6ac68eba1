"""`uwm init` writes settings that run as they are, from shards or from a table."""

import shlex
from pathlib import Path

import pytest

from data_specs.config_file import load_config
from data_specs.watch_file import load_watch
from flows.readiness import require_paths
from tasks.shards.location import expand_locations
from tasks.shards.packing import pack_table
from tests.cases.small_run import Here, write_run

MODEL = ("--set", "model={architecture: model.json, weights: model.safetensors}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_run(tmp_path, calibration=24, test=4, per_shard=2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path) -> tuple[list[str], list[str]]:
    """The names of the shards for calibration and evaluation, which are there."""
    config = load_config(path)
    require_paths(config)
    sides = (config.calibration.shards or [], config.evaluation.shards)
    calibration, evaluation = ([Path(name).name for name in expand_locations(side)] for side in sides)
    return calibration, evaluation


def test_sets_are_told_apart_by_their_names_and_the_run_goes_through(folder: Path, here: Here) -> None:
    done = here("init", *MODEL)
    assert (done.returncode, done.stdout) == (0, "wrote run.yaml\n"), done.stderr
    calibration, evaluation = written(folder / "run.yaml")
    assert (len(calibration), evaluation) == (12, ["test-000000.tar", "test-000001.tar"])
    text = (folder / "run.yaml").read_text(encoding="utf-8")
    assert "# 24 pairs in 12 shards; tags: even 12, odd 12\n" in text
    assert "shards: ['calibration-{000000..000011}.tar']" in text
    assert load_config(folder / "run.yaml").name.startswith(folder.name[:5])
    planned = here("plan", "run.yaml", "--json")
    assert planned.returncode == 0, planned.stderr

    again = here("init", *MODEL)
    assert (again.returncode, again.stderr) == (
        2,
        "error: --out run.yaml is there already; remove it or choose another name\n",
    )
    assert (folder / "run.yaml").read_text(encoding="utf-8") == text


def test_of_one_set_every_fifth_shard_is_for_evaluation_alone(folder: Path, here: Here) -> None:
    assert here("init", "calibration-*.tar", *MODEL, "--out", "one.yaml").returncode == 0
    calibration, evaluation = written(folder / "one.yaml")
    assert evaluation == ["calibration-000004.tar", "calibration-000009.tar"]
    assert sorted([*calibration, *evaluation]) == [f"calibration-{number:06d}.tar" for number in range(12)]
    alone = here("init", "calibration-000000.tar", *MODEL, "--out", "alone.yaml")
    assert (alone.returncode, (folder / "alone.yaml").exists()) == (3, False)
    assert "is the only one, and what a model was edited on must not measure it" in alone.stderr


def test_of_a_table_it_says_how_to_pack_it_and_what_it_says_can_be_done(folder: Path, here: Here) -> None:
    (folder / "my table.jsonl").write_text((folder / "calibration.jsonl").read_text(encoding="utf-8"))
    done = here("init", "my table.jsonl", *MODEL)
    assert done.returncode == 0, done.stderr
    text = (folder / "run.yaml").read_text(encoding="utf-8")
    (command,) = [line for line in text.splitlines() if "uwm shards pack" in line]
    assert here(*shlex.split(command)[2:]).returncode == 0
    calibration, evaluation = written(folder / "run.yaml")
    assert (len(calibration), evaluation) == (4, ["my table-000004.tar"])
    assert "# 20 pairs in 4 shards; tags: even 10, odd 10\n" in text


def test_what_cannot_run_is_refused_with_its_reason(folder: Path, here: Here) -> None:
    rows = [f"k{n},,safe {n},unsafe {n},," for n in range(4)]
    table = folder / "texts.csv"
    table.write_text("\n".join(["key,tag,safe_text,unsafe_text,safe_image,unsafe_image", *rows]))
    refused = here("init", "texts.csv", "--out", "x.yaml")
    assert refused.returncode == 3
    assert "hold no pair with a safe and an unsafe image; expected all four members" in refused.stderr
    # For calibration of the text encoder they do.
    pack_table(table, str(folder / "texts-%d.tar"), max_count=2)
    assert here("init", "texts-*.tar", "test-*.tar", *MODEL, "--out", "x.yaml").returncode == 0
    config = load_config(folder / "x.yaml")
    assert (config.vision, config.text is None) == (None, False)
    assert here("init", "--preset", "vitb32").stderr.endswith("; did you mean vit-b32\n")
    assert "shard nothing-*.tar does not exist; no file of . matches" in here("init", "nothing-*.tar").stderr


def test_a_first_watch_measures_what_is_called_a_test_and_takes_what_comes_later(folder, here: Here):
    done = here("init", "--watch", *MODEL)
    assert done.returncode == 0, done.stderr
    first = load_watch(folder / "watch.yaml")
    assert here("init", "--watch", *MODEL).returncode == 2
    assert here("init", *MODEL).returncode == 0
    assert here("init", "--watch", "--out", "other.yaml", *MODEL).returncode == 0
    second = load_watch(folder / "other.yaml")
    assert {name: on.shards for name, on in first.sets.items()} == {"test": [str(folder / "test*.tar")]}
    assert first.models["original"].model.weights == str(folder / "model.safetensors")
    assert first.baseline == first.models["original"]
    assert second.models["candidate"].config == str(folder / "run.yaml")
    assert next(gate.name for gate in first.gates_for("original", "test")) == "GS min_change -1"
