"""The sign filter from outside: what it edits, its controls, what it costs, and what it refuses."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from data_specs.sign_filter import SIGN_NOTE
from tasks.selection.rules import select
from tasks.selection.scores_table import SLOPES_FILE, layer_files, read_layer
from tests.cases.small_run import Finished, Here, artifacts, change_run, completed, damage, kinds, write_run

ENCODERS = ("text", "vision")
WAYS = {"UWM": {}, "filtered": {"text": {"sign": "loss"}}}
ROWS = [
    ("original", "original"),
    *((name, "method") for name in WAYS),
    *(
        (f"{name}: {what}", "control")
        for name, what in (("UWM", "random control"), ("filtered", "random + sign"), ("filtered", "opposite sign"))
    ),
]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    folder = tmp_path_factory.mktemp("sign")
    return completed(
        here,
        "compare",
        write_run(folder, calibration=12, test=8, methods=WAYS),
        folder / "store",
        "--controls",
        "first",
    )


def rows(done: Finished) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads((done.place("comparison") / "comparison.json").read_text())["rows"]}


def edit_of(done: Finished, row: dict) -> dict:
    return load_file(done.store / "edit" / row["versions"]["edit"] / "edit.safetensors")


def manifest_of(done: Finished, role: str) -> dict:
    return json.loads((done.place(role) / "manifest.json").read_text())


def directions(done: Finished, edit: dict) -> dict[str, np.ndarray]:
    """Of each layer of texts, the sign of W dL/dW at the edited weights."""
    found = {}
    for layer, (encoder, path) in layer_files(done.place("scores.filtered")).items():
        if encoder == "vision":
            continue
        slopes = read_layer(path.with_name(SLOPES_FILE), "slope").reshape(-1)
        found[layer] = np.sign(edit[f"{layer}.original"].numpy()) * np.sign(slopes[edit[f"{layer}.index"].numpy()])
    return found


def test_every_comparison_with_a_filter_shows_its_controls(compared: Finished, here: Here) -> None:
    found = rows(compared)
    assert [(row["name"], row["role"]) for row in found.values()] == ROWS
    for name in ("comparison.md", "comparison.tex"):
        assert "supervised one-step editing" in (compared.place("comparison") / name).read_text()
    assert found["UWM"]["settings"]["text"].get("sign") is None
    assert found["filtered"]["settings"]["text"]["sign"] == "loss"
    assert found["filtered: opposite sign"]["settings"]["text"]["sign"] == "against"
    before = kinds(compared.store)
    without = completed(here, "compare", compared.config, compared.store, "--controls", "none")
    assert [*rows(without)] == [name for name, _ in ROWS if name != "UWM: random control"]
    assert kinds(compared.store)["slopes.text"] == before["slopes.text"] == 1  # for all scorers


def test_a_filter_and_its_controls_change_as_many_weights_of_each_layer_and_go_the_right_way(
    compared: Finished,
) -> None:
    found = rows(compared)
    plain = edit_of(compared, found["UWM"])
    both_ways = directions(compared, plain)
    assert {*np.sign(np.concatenate([*both_ways.values()]))} == {-1.0, 1.0}
    for name, expected in (("filtered", 1), ("filtered: random + sign", 1), ("filtered: opposite sign", -1)):
        edit = edit_of(compared, found[name])
        assert {key: len(value) for key, value in edit.items()} == {key: len(value) for key, value in plain.items()}
        assert {float(value) for layer in directions(compared, edit).values() for value in layer} == {expected}
    drawn = edit_of(compared, found["filtered: random + sign"])
    assert any(
        len(np.setdiff1d(drawn[key], edit_of(compared, found["filtered"])[key])) for key in drawn if "index" in key
    )


def test_an_encoder_without_a_filter_is_edited_as_ever(compared: Finished) -> None:
    found = rows(compared)
    plain, texts = (edit_of(compared, found[name]) for name in ("UWM", "filtered"))
    opposite = edit_of(compared, found["filtered: opposite sign"])
    vision = [key for key in plain if key.startswith("visual.")]
    assert len(vision) == 4
    assert all(np.array_equal(plain[key], edit[key]) for key in vision for edit in (texts, opposite))
    assert any(len(np.setxor1d(plain[key], texts[key])) for key in plain if key.endswith(".index"))


def test_the_summary_counts_what_the_filter_leaves_selected(compared: Finished) -> None:
    scores = compared.place("scores.filtered")
    edit = edit_of(compared, rows(compared)["filtered"])
    files = layer_files(scores)
    for row in pq.read_table(scores / "layer_summary.parquet").to_pylist():
        values, index = read_layer(files[row["layer"]][1], "score"), edit[f"{row['layer']}.index"].numpy()
        assert row["n_selected"] == len(index) == len(select(values, row["rule"], row["tau"]).index)
        assert row["threshold"] == values.reshape(-1)[index].min()


def test_slopes_are_of_both_encoders_embeddings_and_of_nothing_that_scores_are_of(compared: Finished) -> None:
    recipe = manifest_of(compared, "slopes.text.filtered")["recipe"]
    assert recipe["inputs"].keys() == {"embeddings.text", "embeddings.vision", "encoder", "shards"}
    assert recipe["settings"]["temperature"] == 0.05
    assert manifest_of(compared, "scores.filtered")["recipe"]["settings"]["sign"] == {"text": "loss"}
    assert "sign" not in manifest_of(compared, "scores.UWM")["recipe"]["settings"]


def test_plan_counts_the_passes_and_the_run_tells_what_it_is(compared: Finished, here: Here, tmp_path) -> None:
    own = {encoder: {"tau": 0.9, "sign": "loss", "scorer": "magnitude"} for encoder in ENCODERS}
    config = change_run(compared.config, "own", methods={}, **own)
    plan = here("plan", str(config), "--store", str(tmp_path / "empty"), "--json")
    gradients = {item["role"]: item["gradients"] for item in json.loads(plan.stdout)["artifacts"] if item["gradients"]}
    assert gradients == {"slopes.text": 2 * 12, "slopes.vision": 2 * 12}
    done = completed(here, "run", config, compared.store)
    assert "supervised one-step editing" in (done.place("report") / "report.html").read_text()
    record = max(compared.store.glob(".runs/*.json"), key=lambda path: path.stat().st_mtime)
    assert json.loads(record.read_text())["remarks"] == [SIGN_NOTE]
    exported = here(
        *("export", done.version("model"), "--format", "open_clip"),
        *("--out", str(tmp_path / "out"), "--store", str(compared.store)),
    )
    assert exported.returncode == 0, exported.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    assert "supervised one" in card
    assert "sign loss" in card


def test_pairs_without_the_other_modality_are_refused_before_anything_is_made(here: Here, tmp_path) -> None:
    config = write_run(tmp_path, calibration=4, test=4, text={"tau": 0.9, "sign": "loss"}, vision=None)
    pictures = {f"calibration{i:04d}.{side}.png": None for i in range(4) for side in ("safe", "unsafe")}
    damage(tmp_path / "calibration-000000.tar", pictures)
    refused = here("run", str(config), "--store", str(tmp_path / "store"), "--workers", "0")
    assert refused.returncode == 3
    assert "sign needs calibration pairs with all four members" in refused.stderr
    assert "4 for text and 0 for vision" in refused.stderr
    assert not artifacts(tmp_path / "store")
