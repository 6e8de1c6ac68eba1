"""`--set` on every command that takes settings, and what a run's record says of it."""

import json
from pathlib import Path

import pytest

from data_specs.config_file import load_config
from tests.cases.small_run import Here, change_run, completed, write_run


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("set"), calibration=4, test=4, vision=None)


def test_the_settings_that_a_command_takes_are_those_of_the_file_with_changes(config: Path, here: Here) -> None:
    changes = ["text.tau=0.7", "calibration.limit=3"]
    done = here("config", str(config), "--set", changes[0], "--set", changes[1])
    assert (done.returncode, json.loads(done.stdout)) == (0, load_config(config, changes).model_dump(mode="json"))


@pytest.mark.parametrize(
    "command", [("run",), ("plan",), ("sweep", "--tau", "0.9"), ("compare",), ("ablate",), ("config",)]
)
def test_a_typo_in_a_change_is_refused_with_what_was_meant(config: Path, here: Here, command: tuple[str, ...]) -> None:
    paths = [str(config)] if command[0] != "compare" else [str(config), str(change_run(config, "other"))]
    done = here(command[0], *paths, *command[1:], "--set", "text.tua=0.9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("--set text.tua=0.9: text.tua is not a known setting; did you mean tau\n")


def test_a_change_holds_for_every_run_of_a_comparison(config: Path, tmp_path: Path, here: Here) -> None:
    other = change_run(config, "other", text={"tau": 0.8})

    def n_edits(*options: str) -> int:
        done = here(
            "compare", str(config), str(other), "--plan", "--json", "--store", str(tmp_path / "store"), *options
        )
        return [item["kind"] for item in json.loads(done.stdout)["artifacts"]].count("edit")

    # Each with its control.
    assert (n_edits(), n_edits("--set", "text.tau=0.7")) == (4, 2)


def test_a_batch_size_that_the_device_decides_is_a_number_in_versions_and_in_the_record(
    config: Path, tmp_path: Path, here: Here
) -> None:
    store = tmp_path / "store"
    usual = completed(here, "run", config, store)
    auto = completed(here, "run", config, store, "--set", "batch_size=auto", "--devices", "cpu")
    assert auto.result["computed"] == 0
    assert auto.result["artifacts"] == usual.result["artifacts"]
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (store / ".runs").glob("*.json")]
    assert [record["settings"]["batch_size"] for record in records] == [32, 32]
    plan = here("plan", str(config), "--store", str(store), "--set", "batch_size=auto", "--json")
    assert {item["there"] for item in json.loads(plan.stdout)["artifacts"]} == {True}
    other = here("plan", str(config), "--store", str(store), "--set", "batch_size=16", "--json")
    assert False in {item["there"] for item in json.loads(other.stdout)["artifacts"]}
