"""`uwm sweep` from outside: what it makes once, what its points are, and which one it takes."""

import csv
import json
import re

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from data_specs.config_file import load_config
from flows.measure import EvaluationSets, measure_original
from flows.session import open_session
from flows.sweep import sweep_of
from tasks.lineage.store import Store
from tests.cases.small_run import Finished, Here, artifacts, change_run, completed, kinds, prefect_here, write_run

GRID = [(tau, alpha) for alpha in (-1.0, 0.0) for tau in (0.8, 0.85, 0.9)]
OPTIONS = ["--tau", "0.8:0.9:0.05", "--alpha", "-1,0", "--encoder", "text"]
COSTLY = {
    f"{kind}.{encoder}" for kind in ("activations", "layer_scores", "embeddings") for encoder in ("text", "vision")
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, here: Here) -> Finished:
    folder = tmp_path_factory.mktemp("sweep")
    return completed(here, "sweep", write_run(folder), folder / "store", *OPTIONS, "--choose", "PS>=-100")


def points(swept: Finished) -> list[dict]:
    return json.loads((swept.place("sweep") / "sweep.json").read_text())["points"]


def best(found: list[dict], keeping: list[int]) -> int:
    """The highest GS; of equals the larger tau, then the alpha nearer to 1."""
    return sorted(keeping, key=lambda i: (-found[i]["values"]["GS"], -found[i]["tau"], abs(found[i]["alpha"] - 1)))[0]


def test_sweep_makes_its_tables_figure_report_and_the_chosen_model(swept: Finished) -> None:
    folder = swept.place("sweep")
    assert [(point["tau"], point["alpha"]) for point in points(swept)] == GRID
    assert pq.read_table(folder / "sweep.parquet").select(["tau", "alpha"]).to_pylist() == [
        {"tau": tau, "alpha": alpha} for tau, alpha in GRID
    ]
    rows = list(csv.DictReader((folder / "sweep.csv").read_text().splitlines()))
    assert [(float(row["tau"]), float(row["alpha"])) for row in rows] == GRID
    assert [float(row["GS"]) for row in rows] == [point["values"]["GS"] for point in points(swept)]
    assert (folder / "sweep.svg").read_text().startswith("<svg")
    assert "<svg" in (swept.place("report") / "report.html").read_text()
    assert swept.result["metrics"]["original"]["n_pairs"] == 12


def test_what_points_share_is_made_once(swept: Finished) -> None:
    # Of the vision encoder there are two versions, the original and the one edit of the settings.
    made = kinds(swept.store)
    assert {kind: made[kind] for kind in ("activations.text", "layer_scores.text", "scores", "edit", "evaluation")} == {
        "activations.text": 1,
        "layer_scores.text": 1,
        "scores": 1,
        "edit": len(GRID),
        "evaluation": len(GRID) + 1,
    }
    assert (made["activations.vision"], made["layer_scores.vision"]) == (1, 1)
    assert (made["embeddings.text"], made["embeddings.vision"]) == (len(GRID) + 1, 2)
    assert swept.result["computed"] == made.total()


def test_point_equals_a_run_with_its_settings_and_lends_it_the_embeddings(swept: Finished, here: Here) -> None:
    before = artifacts(swept.store)
    config = change_run(swept.config, "point", text={"tau": 0.85, "alpha": 0})
    run = completed(here, "run", config, swept.store)
    new = [path.parent.name for path in artifacts(swept.store) - before]
    # The record of scores tabulates other taus; what costs time is found.
    assert {"scores", "edit", "model", "evaluation"} <= {*new}
    assert not COSTLY & {*new}
    assert run.result["computed"] == len(new) <= 8
    point = points(swept)[GRID.index((0.85, 0.0))]
    metrics = dict(run.result["metrics"]["edited"])
    assert metrics.pop("n_pairs") == 12
    assert point["values"] == metrics
    intervals = json.loads((run.place("evaluation.edited") / "intervals.json").read_text())
    assert point["intervals"] == intervals
    assert run.version("evaluation.original") == swept.version("evaluation.original")
    own = load_file(swept.store / "edit" / point["edit"] / "edit.safetensors")
    edit = load_file(run.place("edit") / "edit.safetensors")
    assert own.keys() == edit.keys()
    assert all(own[name].equal(edit[name]) for name in edit)


def test_second_sweep_computes_nothing(swept: Finished, here: Here) -> None:
    again = completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", "PS>=-100")
    assert again.result["computed"] == 0
    assert again.result["artifacts"] == swept.result["artifacts"]
    assert again.result["metrics"] == swept.result["metrics"]


def test_chosen_point_has_the_best_gs_and_its_model_is_the_base_with_its_edit(swept: Finished) -> None:
    found = points(swept)
    chosen = json.loads((swept.place("sweep") / "sweep.json").read_text())["chosen"]
    assert len({point["values"]["GS"] for point in found}) > 1
    assert chosen == best(found, [*range(len(found))])
    tau, alpha = GRID[chosen]
    assert swept.version("edit") == found[chosen]["edit"]
    assert swept.version("evaluation.chosen") == found[chosen]["evaluation"]
    assert {name: swept.result["metrics"]["chosen"][name] for name in found[chosen]["values"]} == found[chosen][
        "values"
    ]

    edit = load_file(swept.place("edit") / "edit.safetensors")
    expected = load_file(swept.config.with_name("model.safetensors"))
    for name in [name for name in edit if name.endswith(".index")]:
        layer = name.removesuffix(".index")
        factor = -1.0 if layer.startswith("visual.") else alpha
        flat = expected[f"{layer}.weight"].view(-1)
        assert flat[edit[name]].equal(edit[f"{layer}.original"])
        flat[edit[name]] *= factor
    model = load_file(swept.place("model") / "model.safetensors")
    assert model.keys() == expected.keys()
    assert all(model[name].equal(expected[name]) for name in model)
    manifest = json.loads((swept.place("edit") / "manifest.json").read_text())
    assert manifest["recipe"]["settings"]["text"] == {"rule": "score_mass", "tau": tau, "alpha": alpha}


def test_limits_keep_the_best_point_from_being_chosen(swept: Finished, here: Here) -> None:
    found = points(swept)
    original = swept.result["metrics"]["original"]
    favourite = best(found, [*range(len(found))])
    # The highest limit on Vs-Ts that some points keep and the best of all does not.
    gains = [point["values"]["Vs-Ts"] - original["Vs-Ts"] for point in found]
    assert gains[favourite] < max(gains)
    limit = min(gain for gain in gains if gain > gains[favourite])
    done = completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", f"Vs-Ts>={limit - 0.01:.2f}")
    content = json.loads((done.place("sweep") / "sweep.json").read_text())
    assert content["chosen"] == best(found, [i for i, gain in enumerate(gains) if gain >= limit - 0.01])
    assert done.version("edit") == found[content["chosen"]]["edit"]

    none = completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", "Vs-Ts>=100")
    assert json.loads((none.place("sweep") / "sweep.json").read_text())["chosen"] is None
    assert {"edit", "model", "evaluation.chosen"} & none.result["artifacts"].keys() == set()


def test_both_encoders_are_swept_together_and_shown_to_a_person(swept: Finished, here: Here) -> None:
    before = artifacts(swept.store)
    options = ["--tau", "0.9", "--alpha", "-1", "--encoder", "both"]
    done = here("sweep", str(swept.config), "--store", str(swept.store), *options)
    assert done.returncode == 0, done.stderr
    assert "sweep of text and vision, 12 pairs, percent" in done.stdout
    assert re.search(r"^ +0\.9 +-1 +776 ", done.stdout, re.MULTILINE)
    assert "sweep.csv" in done.stdout
    # It is the point of the first sweep at which the vision encoder's settings are these.
    new = {path.parent.name for path in artifacts(swept.store) - before}
    assert "sweep" in new
    assert not COSTLY & new


def test_taus_that_differ_in_the_last_digits_only_are_points_of_their_own(swept: Finished, here: Here) -> None:
    done = completed(here, "sweep", swept.config, swept.store, "--tau", "0.8,0.80000001", "--alpha", "-1")
    edits = [point["edit"] for point in points(done)]
    assert len(set(edits)) == 2
    kept = {place["version"] for role, place in done.result["artifacts"].items() if role.startswith("edit.")}
    assert kept == set(edits)


def test_sweep_puts_the_original_weights_back(swept: Finished, tmp_path, api_url: str) -> None:
    config = load_config(swept.config)
    with prefect_here(api_url), open_session(config, tmp_path / "a", "cpu", 0) as session:
        sets = EvaluationSets(session)
        before = {name: value.clone() for name, value in session.original().model.state_dict().items()}
        measure_original(session, sets, "before")
        sweep_of(session, GRID[:1], "both", None)
        after = session.original().model.state_dict()
        assert all(before[name].equal(after[name]) for name in before)
        # In a store of its own nothing is found, so the model in memory is measured anew.
        session.store = Store(tmp_path / "b")
        measure_original(session, sets, "after")
        assert session.metrics["after"] == session.metrics["before"] == swept.result["metrics"]["original"]
        assert session.metrics["tau=0.8,alpha=-1"] != session.metrics["after"]
