"""`uwm results`, and names of runs where versions do."""

import csv
import json
from pathlib import Path

import pytest

from data_specs.errors import ArtifactError, SpecError
from flows.results import results_of
from tasks.lineage.references import find_artifact
from tasks.lineage.store import Store
from tests.cases.small_run import Finished, Here, change_run, completed, write_run


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    folder = tmp_path_factory.mktemp("results")
    return completed(here, "run", write_run(folder, calibration=4, test=6, vision=None), folder / "store")


@pytest.fixture(scope="module")
def other(first: Finished, here: Here) -> Finished:
    config = change_run(first.config, "small-2", text={"tau": 0.9, "alpha": 0})
    return completed(here, "run", config, first.store, "--set", "text.tau=0.7")


def test_a_record_holds_the_settings_with_their_changes_and_the_command(other: Finished) -> None:
    (record,) = [path for path in (other.store / ".runs").glob("*.json") if '"small-2"' in path.read_text()]
    content = json.loads(record.read_text(encoding="utf-8"))
    assert content["settings"]["text"]["tau"] == 0.7
    assert "text.tau=0.7" in content["command"]
    manifest = json.loads((other.place("edit") / "manifest.json").read_text())
    assert manifest["recipe"]["settings"]["text"]["tau"] == 0.7


def test_results_are_the_figures_of_all_runs_with_what_differs(first: Finished, other: Finished, here: Here) -> None:
    rows = list(csv.DictReader(here("results", "--store", str(first.store), "--csv").stdout.splitlines()))
    assert [(row["run"], row["what"]) for row in rows] == [
        ("small-2", "original"), ("small-2", "edited"), ("small", "original"), ("small", "edited")
    ]  # fmt: skip
    assert [(row["text.tau"], row["text.alpha"]) for row in rows[1::2]] == [("0.7", "0.0"), ("0.9", "-1.0")]
    intervals = json.loads((first.place("evaluation.edited") / "intervals.json").read_text())
    for finished, row in ((other, rows[1]), (first, rows[3])):
        assert float(row["GS"]) == finished.result["metrics"]["edited"]["GS"]
    assert [float(rows[3]["PS_low"]), float(rows[3]["PS_high"])] == intervals["PS"]
    told = json.loads(here("results", "--store", str(first.store), "--json", "--name", "small-2").stdout)
    assert [row["run"] for row in told["rows"]] == ["small-2", "small-2"]
    assert told["rows"][1]["figures"] == other.result["metrics"]["edited"]


def test_results_fit_80_columns_and_say_once_what_is_the_same(
    first: Finished, other: Finished, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.commands.display.output.width", 80)
    shown = here("results", "--store", str(first.store)).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("model.json model.safetensors") == shown.count("test-000000.tar") == 1
    assert "text.tau 0.7" in shown
    assert "text.layers" not in shown
    figure = other.result["metrics"]["edited"]["GS"]
    assert f"{figure:.1f}" in shown


def test_results_are_filtered_and_repeated_ones_told_once(first: Finished, other: Finished, here: Here) -> None:
    assert here("run", str(first.config), "--store", str(first.store), "--workers", "0").returncode == 0
    found = results_of(first.store)
    assert (len(found.rows), found.n_repeated, found.unfinished) == (4, 2, {})
    assert [row.run for row in found.rows] == ["small", "small", "small-2", "small-2"]
    assert results_of(first.store, model="model.safetensors").rows == found.rows
    assert results_of(first.store, model="ViT").rows == results_of(first.store, since="2999-01-01").rows == []
    assert results_of(first.store, since=found.rows[0].started).rows == found.rows[:2]
    with pytest.raises(SpecError, match="'yesterday' is no date"):
        results_of(first.store, since="yesterday")
    assert "no completed run" in here("results", "--store", str(first.store), "--name", "nothing").stderr


def test_a_run_s_name_stands_for_what_it_made(first: Finished, other: Finished, here: Here, tmp_path: Path) -> None:
    store = Store(first.store)
    assert find_artifact(store, "small").version == first.version("model")
    assert find_artifact(store, "small-").version == other.version("model")
    assert find_artifact(store, "small:edit").version == first.version("edit")
    assert find_artifact(store, "small:evaluation.edited").version == first.version("evaluation.edited")
    assert find_artifact(store, first.version("report")[:12]).kind == "report"
    for name, told in (
        ("sma", "'sma' names 2: run small, run small-2; write more of it"),
        ("smal-2", "names neither an artifact nor a run in .*; did you mean small-2;"),
        ("small:edits", "made no 'edits', only .*; did you mean edit$"),
        ("", "names .*artifacts"),
    ):
        with pytest.raises(ArtifactError, match=told):
            find_artifact(store, name)
    assert here("artifacts", "verify", "small", "--store", str(first.store)).returncode == 0
    done = here("export", "small", "--store", str(first.store), "--out", str(tmp_path / "out"))
    assert (done.returncode, (tmp_path / "out" / "README.md").exists()) == (0, True), done.stderr


def test_a_beginning_of_a_version_and_of_a_run_s_name_is_ambiguous(first: Finished, other: Finished) -> None:
    version = first.version("edit")[:6]
    record = next((first.store / ".runs").glob("*.json"))
    content = json.loads(record.read_text())
    content["settings"]["name"] = version + "-run"
    added = record.with_name("20000101T000000-00000000.json")
    added.write_text(json.dumps(content))
    try:
        with pytest.raises(ArtifactError, match=f"'{version}' names 2: run {version}-run, edit {version}"):
            find_artifact(Store(first.store), version)
    finally:
        added.unlink()


def test_a_record_of_several_settings_is_one_of_each(tmp_path: Path) -> None:
    (tmp_path / ".runs").mkdir()
    content = {
        "id": "x",
        "status": "completed",
        "started": "2026-01-01T00:00:00+00:00",
        "settings": [{"name": "a", "seed": 1}, {"name": "b", "seed": 2}],
        "artifacts": {"evaluation.original": "0", "b.evaluation.original": "1"},
        "figures": {"original": {"GS": 1.0}, "b.original": {"GS": 2.0}},
        "intervals": {"b.original": {"GS": [1.0, 3.0]}},
    }
    (tmp_path / ".runs" / "x.json").write_text(json.dumps(content))
    rows = results_of(tmp_path).rows
    assert [(row.run, row.what, row.figures, row.evaluation) for row in rows] == [
        ("a", "original", {"GS": 1.0}, "0"), ("b", "original", {"GS": 2.0}, "1")
    ]  # fmt: skip
    assert (rows[0].intervals, rows[1].intervals) == ({}, {"GS": (1.0, 3.0)})


def test_artifacts_are_listed_with_run_model_and_figures(first: Finished, here: Here) -> None:
    told = [
        json.loads(line)
        for line in here("artifacts", "list", "--json", "--store", str(first.store)).stdout.split("\n")[:-1]
    ]
    (edited,) = [item for item in told if item["version"] == first.version("evaluation.edited")]
    assert (edited["run"], edited["role"]) == ("small", "evaluation.edited")
    assert (edited["model"], edited["figures"]) == (
        "model.json model.safetensors",
        first.result["metrics"]["edited"],
    )
    shown = here("artifacts", "list", "--store", str(first.store)).stdout
    figures = first.result["metrics"]["edited"]
    assert f"GS {figures['GS']:.1f} PS {figures['PS']:.1f}" in shown
    assert "  small " in shown


def test_long_names_fit_80_columns_and_none_is_cut(
    first: Finished, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.commands.display.output.width", 80)
    record = next(path for path in (first.store / ".runs").glob("*.json") if first.version("model") in path.read_text())
    content = json.loads(record.read_text(encoding="utf-8"))
    name = "safe-clip-vit-l14-visu-2026-11-30-" + "nightly_" * 12
    content["settings"]["name"] = name
    content["settings"]["model"] = {
        "architecture": "hf-hub:a-laboratory-with-a-long-name/CLIP-ViT-bigG-14-laion2B-39B-b160k",
        "weights": None,
    }
    content["settings"]["evaluation"]["shards"] = [
        f"/data/visu/test-of-{part}-{{000000..000004}}.tar" for part in ("hate", "violence", "harassment", "self-harm")
    ]
    content["started"] = "2999-01-01T00:00:00+00:00"
    added = record.with_name("29990101T000000-00000000.json")
    added.write_text(json.dumps(content), encoding="utf-8")
    try:
        for command in (("artifacts", "list"), ("results",)):
            shown = here(*command, "--store", str(first.store)).stdout
            assert max(map(len, shown.splitlines())) <= 80
            assert "…" not in shown
            # Folded names go on in the next line of their column, beside other cells.
            assert shown.count("nightly_") >= 12
    finally:
        added.unlink()
