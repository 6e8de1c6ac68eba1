"""A run's record goes to a hook: a function of one's own, and MLflow on SQLite where it is installed."""

import json
from pathlib import Path

import pytest

from data_specs.errors import SpecError
from flows.trackers import VARIABLE, find_hook, tell_hook, to_mlflow
from tests.cases.small_run import Finished, Here, completed, write_run

HOOK = """
import json, pathlib

def keep(record):
    with pathlib.Path(__file__).with_name("kept.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\\n")

def fail(record):
    raise RuntimeError("the tracker is away")

number = 3
"""


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hooks")
    (folder / "own_hooks_of_this_test.py").write_text(HOOK)
    return folder


@pytest.fixture(autouse=True)
def importable(hooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(hooks)


@pytest.fixture(scope="module")
def run(hooks: Path, here: Here, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(hooks)
        patch.setenv(VARIABLE, "own_hooks_of_this_test:keep")
        return completed(here, "run", write_run(folder, calibration=4, test=4, vision=None), folder / "store")


def kept(hooks: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (hooks / "kept.jsonl").read_text().splitlines()]


def test_a_run_gives_its_record_to_the_hook_of_the_environment(run: Finished, hooks: Path) -> None:
    (path,) = (run.store / ".runs").glob("*.json")
    assert kept(hooks)[0] == json.loads(path.read_text())
    assert kept(hooks)[0]["status"] == "completed"


def test_a_hook_that_fails_is_a_notice_and_the_run_goes_well(
    run: Finished, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, told in (
        ("own_hooks_of_this_test:fail", "the tracker is away"),
        ("nowhere_at_all:x", "No module named"),
    ):
        monkeypatch.setenv(VARIABLE, name)
        done = here("run", str(run.config), "--store", str(run.store), "--workers", "0")
        assert (done.returncode, f"{VARIABLE} '{name}' failed, the run did not" in done.stderr) == (0, True)
        assert told in done.stderr


def test_results_sends_what_is_in_the_store_already(run: Finished, here: Here, hooks: Path) -> None:
    before = len(kept(hooks))
    arguments = ("results", "--store", str(run.store), "--send", "own_hooks_of_this_test:keep")
    done = here(*arguments)
    sent = int(done.stdout.split()[1])
    assert (done.returncode, sent > 0) == (0, True), done.stderr
    assert len(kept(hooks)) == before + sent
    assert here(*arguments, "--name", "nothing").stdout == "sent 0 records\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("own_hooks_of_this_test:number", "is no function"),
        ("own_hooks_of_this_test", "is no function"),
        ("own_hooks_of_this_test:kep", "cannot be imported"),
        ("", "cannot be imported"),
    ],
)
def test_what_is_no_hook_is_refused(name: str, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        find_hook(name)


def test_of_a_comparison_of_several_settings_a_hook_gets_a_record_of_each(
    hooks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "own_hooks_of_this_test:keep")
    content = {"settings": [{"name": "a"}, {"name": "b"}], "figures": {"edited": {"GS": 1}, "b.edited": {"GS": 2}}}
    tell_hook(content)
    assert [(item["settings"]["name"], item["figures"]) for item in kept(hooks)[-2:]] == [
        ("a", {"edited": {"GS": 1}}), ("b", {"edited": {"GS": 2}})
    ]  # fmt: skip


def test_mlflow_on_sqlite_holds_settings_figures_intervals_and_versions_once(
    run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    (path, *_) = sorted((run.store / ".runs").glob("*.json"))
    record = json.loads(path.read_text())
    for _ in range(2):
        to_mlflow(record)
    (found,) = mlflow.search_runs(output_format="list")
    assert found.info.run_name == "small"
    assert found.data.params["text.tau"] == str(record["settings"]["text"]["tau"])
    figures = record["figures"]["edited"]
    assert found.data.metrics["edited.GS"] == figures["GS"]
    assert found.data.metrics["edited.Ts-Vs_at_5"] == figures["Ts-Vs@5"]
    low, high = record["intervals"]["edited"]["PS"]
    assert (found.data.metrics["edited.PS.low"], found.data.metrics["edited.PS.high"]) == (low, high)
    assert found.data.tags["uwm.model"] == run.version("model")
