"""`uwm compare` from outside: its rows, its controls, and what it refuses to set side by side."""

import csv
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from scipy.stats import binomtest

from tests.cases.small_run import Finished, Here, artifacts, change_run, completed, kinds, write_model, write_run

SCORERS = ["uwm", "unsafe_only", "difference", "gradient_unsafe", "gradient_safe_clip", "magnitude", "random"]
LAYERS = {
    "transformer.resblocks.0.attn.out_proj": "text",
    "transformer.resblocks.1.attn.out_proj": "text",
    "visual.transformer.resblocks.0.mlp.c_proj": "vision",
    "visual.transformer.resblocks.1.mlp.c_proj": "vision",
}


def way(scorer: str) -> dict:
    rule = {"rule": "top_share"} if scorer == "difference" else {}
    return {encoder: {"scorer": scorer, "tau": 0.9, "batch_pairs": 7, **rule} for encoder in ("text", "vision")}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    folder = tmp_path_factory.mktemp("compare")
    config = write_run(folder, methods={scorer: way(scorer) for scorer in SCORERS})
    write_model(folder / "other.safetensors", seed=1)
    return completed(here, "compare", config, folder / "store", "--controls", "first")


def rows(done: Finished) -> list[dict]:
    return json.loads((done.place("comparison") / "comparison.json").read_text())["rows"]


def edit_of(compared: Finished, row: dict) -> dict:
    return load_file(compared.store / "edit" / row["versions"]["edit"] / "edit.safetensors")


def test_table_holds_the_original_every_method_and_one_control(compared: Finished) -> None:
    found = rows(compared)
    assert [(row["name"], row["role"]) for row in found] == [
        ("original", "original"),
        *((scorer, "method") for scorer in SCORERS),
        ("uwm: random control", "control"),
    ]
    for row in found:
        label = {"uwm: random control": "uwm.random_control"}.get(row["name"], row["name"])
        metrics = {name: value for name, value in compared.result["metrics"][label].items() if name != "n_pairs"}
        assert row["values"] == metrics
        assert row["versions"]["evaluation"] == compared.version(f"evaluation.{label}")
        assert set(row["intervals"]) == set(metrics)
    methods = [row for row in found if row["role"] == "method"]
    assert [row["settings"]["text"]["scorer"] for row in methods] == SCORERS
    assert len({row["versions"]["edit"] for row in found[1:]}) == len(SCORERS) + 1
    folder = compared.place("comparison")
    with (folder / "comparison.csv").open() as file:
        assert [row["name"] for row in csv.DictReader(file)] == [row["name"] for row in found]
    lines = (folder / "comparison.md").read_text().splitlines()
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][2:]
    assert names.pop(1) == "chance"
    assert names == [re.sub("_", r"\\_", row["name"]) for row in found]
    tex = (folder / "comparison.tex").read_text()
    assert all(row["name"].replace("_", r"\_") in tex for row in found)
    assert "gradient_safe_clip" in (compared.place("report") / "report.html").read_text()


def test_p_values_are_the_exact_tests_of_the_pairs_that_changed(compared: Finished) -> None:
    original, *others = rows(compared)
    assert original["p_values"] == {}

    def outcomes(row: dict):
        return pq.read_table(compared.store / "evaluation" / row["versions"]["evaluation"] / "outcomes.parquet")

    changed = 0
    for row in others:
        for metric in ("P_t_s", "P_v_s", "Txt_s", "GS"):
            before, after = (np.array(outcomes(item).column(metric)) for item in (original, row))
            gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
            expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            assert row["p_values"][metric] == pytest.approx(expected, abs=1e-12)
            changed += expected < 1
    assert changed > len(SCORERS)


def test_every_edit_holds_weights_of_the_listed_layers_and_the_models_own_values(compared: Finished) -> None:
    base = load_file(compared.config.with_name("model.safetensors"))
    for row in rows(compared)[1:]:
        edit = edit_of(compared, row)
        assert {name.rsplit(".", 1)[0] for name in edit} == LAYERS.keys()
        for layer in LAYERS:
            index = edit[f"{layer}.index"]
            assert 0 < len(index) < base[f"{layer}.weight"].numel()
            assert base[f"{layer}.weight"].view(-1)[index].equal(edit[f"{layer}.original"])


def test_methods_without_data_select_what_their_scores_say(compared: Finished) -> None:
    by_name = {row["name"]: edit_of(compared, row) for row in rows(compared)[1:]}
    base = load_file(compared.config.with_name("model.safetensors"))
    for layer in LAYERS:
        scores = base[f"{layer}.weight"].abs().double().view(-1)
        order = scores.argsort(stable=True)
        above = (scores[order].cumsum(0) / scores.sum()) > 0.9
        assert order[above].sort().values.equal(by_name["magnitude"][f"{layer}.index"])
        n = scores.numel()
        assert len(by_name["difference"][f"{layer}.index"]) == n - n * 9 // 10


def test_control_edits_as_many_weights_of_each_layer_as_its_method(compared: Finished) -> None:
    _, method, *_, control = rows(compared)
    of_method, of_control = edit_of(compared, method), edit_of(compared, control)
    for layer in LAYERS:
        drawn, selected = of_control[f"{layer}.index"], of_method[f"{layer}.index"]
        assert len(drawn) == len(drawn.unique()) == len(selected)
        assert not drawn.equal(selected)


def test_methods_share_what_they_read(compared: Finished) -> None:
    made = kinds(compared.store)
    # Two sets of embeddings of the unedited model: of the evaluation and of the calibration pairs.
    assert (made["activations.text"], made["activations.vision"]) == (1, 1)
    assert (made["layer_scores.text"], made["layer_scores.vision"]) == (len(SCORERS), len(SCORERS))
    assert made["embeddings.text"] == 1 + 1 + len(SCORERS) + 1
    assert made["evaluation"] == 1 + len(SCORERS) + 1


def test_two_models_on_the_same_pairs_stand_in_one_table(compared: Finished, here: Here) -> None:
    first = change_run(compared.config, "first", methods={"uwm": way("uwm")})
    model = {"architecture": "model.json", "weights": "other.safetensors"}
    second = change_run(compared.config, "second", model=model, methods={})
    same = change_run(compared.config, "same", methods={})
    paths = (str(second), str(same))
    before, records = artifacts(compared.store), {*compared.store.glob(".runs/*")}
    done = completed(here, "compare", first, compared.store, *paths, "--controls", "each")
    found = rows(done)
    # The third run's original is the first's.
    assert [(row["name"], row["role"]) for row in found] == [
        ("first original", "original"),
        ("first uwm", "method"),
        ("first uwm: random control", "control"),
        ("second original", "original"),
        ("second", "method"),
        ("second: random control", "control"),
        ("same", "method"),
        ("same: random control", "control"),
    ]
    assert found[1]["versions"] == rows(compared)[1]["versions"]
    assert found[1]["versions"]["edit"] == found[-2]["versions"]["edit"]
    assert done.result["metrics"]["second.second"] != done.result["metrics"]["uwm"]
    assert done.result["computed"] == len(artifacts(compared.store) - before)

    (kept,) = {*compared.store.glob(".runs/*")} - records
    record = json.loads(kept.read_text())
    assert [settings["name"] for settings in record["settings"]] == ["first", "second", "same"]
    assert record["figures"] == done.result["metrics"]
    assert record["artifacts"] == {role: place["version"] for role, place in done.result["artifacts"].items()}
    # All that was measured, the second's and third's behind their names.
    assert record["intervals"].keys() == record["figures"].keys() > {"uwm", "second.second"}

    shown = here("compare", str(first), *paths, "--controls", "each", "--store", str(compared.store))
    assert shown.returncode == 0
    assert "first and second and same" in shown.stdout
    assert "comparison.csv" in shown.stdout
    assert "Bold: the best of a column" in shown.stdout


def refused(done) -> str:
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return lines[0]


def test_runs_on_other_pairs_are_refused_before_a_method_is_measured(compared: Finished, here: Here) -> None:
    before = kinds(compared.store)
    first = change_run(compared.config, "here", methods={"magnitude_of_half": way("magnitude")}, seed=5)
    other = change_run(compared.config, "elsewhere", evaluation={"shards": ["test-000000.tar"]}, methods={})
    done = here("compare", str(first), str(other), "--store", str(compared.store), "--workers", "0")
    assert done.returncode == 3
    line = refused(done)
    assert "here and elsewhere" in line
    assert "the two evaluations are not on the same pairs: 4 in the first only, 0 in the second only, 8 in both" in line
    assert kinds(compared.store) - before == {"evaluation": 2, "embeddings.text": 1, "embeddings.vision": 1}


def test_two_runs_of_one_name_are_refused(compared: Finished, here: Here) -> None:
    done = here("compare", str(compared.config), str(compared.config), "--store", str(compared.store))
    assert done.returncode == 2
    assert "different names, got small, small" in refused(done)


@pytest.mark.parametrize("name", ["original", "uwm.random_control"])
def test_method_with_the_name_of_another_row_is_refused(compared: Finished, here: Here, name: str) -> None:
    config = change_run(compared.config, "named", methods={"uwm": way("uwm"), name: way("magnitude")})
    done = here("compare", str(config), "--store", str(compared.store))
    assert done.returncode == 2
    assert name in refused(done)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"calibration": {"safe": ["calibration-000000.tar"], "unsafe": ["calibration-000001.tar"]}}, "needs paired"),
        ({"precision": "fp16"}, "vanish in fp16"),
    ],
)
def test_gradient_method_is_refused_by_its_field_where_it_cannot_be_right(
    compared: Finished, here: Here, changes: dict, words: str
) -> None:
    settings = {"scorer": "uwm", "aggregation": "ratio_of_means"}
    config = change_run(
        compared.config,
        "unfit",
        text=settings,
        vision=settings,
        methods={"sound": {}, "steep": {"vision": {"scorer": "gradient_unsafe"}}},
        **changes,
    )
    done = here("compare", str(config), "--store", str(compared.store))
    assert done.returncode == 2
    line = refused(done)
    assert "methods.steep.vision.scorer is gradient_unsafe" in line
    assert words in line
    assert "methods.sound" not in line


def test_method_whose_scores_cannot_be_selected_by_mass_is_named(compared: Finished, here: Here) -> None:
    only = {encoder: {"scorer": "difference", "rule": "score_mass"} for encoder in ("text", "vision")}
    config = change_run(compared.config, "negative", methods={"by_mass": only})
    done = here("compare", str(config), "--store", str(compared.store), "--workers", "0")
    assert done.returncode == 3
    assert re.search(
        r"method by_mass: layer \S+: score_mass needs a positive sum of scores, got .*top_share", refused(done)
    )
