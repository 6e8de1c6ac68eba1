"""`uwm sweep` from outside: what it makes once, what its points are, and which one it takes."""

import csv
import json
import re

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from data_specs.choosing import place_of
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
    return completed(here, "sweep", write_run(folder, test=24), folder / "store", *OPTIONS)


@pytest.fixture(scope="module")
def chosen(swept: Finished, here: Here) -> Finished:
    return completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", "PS>=-100")


def content(finished: Finished) -> dict:
    return json.loads((finished.place("sweep") / "sweep.json").read_text())


def pair_ids(place) -> set[str]:
    return set(pq.read_table(place / "outcomes.parquet").column("pair_id").to_pylist())


def points(swept: Finished) -> list[dict]:
    return json.loads((swept.place("sweep") / "sweep.json").read_text())["points"]


def best(found: list[dict], keeping: list[int]) -> int:
    """The highest GS; of equals the larger tau, then the alpha nearer to 1."""
    return sorted(keeping, key=lambda i: (-found[i]["values"]["GS"], -found[i]["tau"], abs(found[i]["alpha"] - 1)))[0]


def test_sweep_makes_its_tables_figure_and_report(swept: Finished) -> None:
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
    assert swept.result["metrics"]["original"]["n_pairs"] == 24


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
    assert run.result["computed"] == len(new) <= 10
    point = points(swept)[GRID.index((0.85, 0.0))]
    metrics = dict(run.result["metrics"]["edited"])
    assert metrics.pop("n_pairs") == 24
    assert point["values"] == metrics
    intervals = json.loads((run.place("evaluation.edited") / "intervals.json").read_text())
    assert point["intervals"] == intervals
    assert run.version("evaluation.original") == swept.version("evaluation.original")
    own = load_file(swept.store / "edit" / point["edit"] / "edit.safetensors")
    edit = load_file(run.place("edit") / "edit.safetensors")
    assert own.keys() == edit.keys()
    assert all(own[name].equal(edit[name]) for name in edit)


def test_second_sweep_computes_nothing(swept: Finished, chosen: Finished, here: Here) -> None:
    again = completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", "PS>=-100")
    assert again.result["computed"] == 0
    assert again.result["artifacts"] == chosen.result["artifacts"]
    assert again.result["metrics"] == chosen.result["metrics"]


def test_points_are_measured_on_pairs_that_choose_and_the_chosen_one_on_the_others(swept, chosen) -> None:
    every = pair_ids(swept.place("evaluation.original"))
    choosing, reporting = (pair_ids(chosen.place(f"evaluation.{name}")) for name in ("original.choosing", "chosen"))
    assert choosing | reporting == every
    assert choosing & reporting == set()
    assert choosing == {pair for pair in every if place_of(pair) < 0.5}
    assert reporting == pair_ids(chosen.place("evaluation.original"))
    assert all(pair_ids(swept.store / "evaluation" / point["evaluation"]) == choosing for point in points(chosen))
    found = content(chosen)
    assert found["n_pairs"] == len(choosing)
    assert found["original"] == {
        name: value for name, value in chosen.result["metrics"]["original.choosing"].items() if name != "n_pairs"
    }
    assert found["choice"]["n_reported"] == len(reporting)
    reported = {row["metric"]: row for row in found["choice"]["reported"]}
    for name, row in reported.items():
        assert row["first"] == chosen.result["metrics"]["original"][name]
        assert row["second"] == chosen.result["metrics"]["chosen"][name]


def test_the_record_says_how_the_point_was_chosen_and_that_the_figures_are_of_others(chosen: Finished) -> None:
    records = [json.loads(path.read_text()) for path in sorted((chosen.store / ".runs").glob("*.json"))]
    (told, *_) = [record["choice"] for record in records if record.get("choice", {}).get("limits") == ["PS>=-100"]]
    found = content(chosen)
    assert told["points"] == len(GRID)
    assert (told["by"], told["share"], told["chosen_on_pairs"]) == ("bound", 0.5, found["n_pairs"])
    assert told["n_reported"] == found["choice"]["n_reported"]
    assert told["chosen"] == dict(zip(("tau", "alpha"), GRID[found["chosen"]], strict=True))
    assert f"On {told['n_reported']} other pairs, which had no part in the choice" in told["verdict"][1]
    page = (chosen.place("report") / "report.html").read_text()
    assert "other pairs, which had no part in the choice" in page


def test_the_card_of_the_chosen_model_says_so_and_shows_figures_of_the_other_pairs(
    chosen: Finished, here: Here, tmp_path
) -> None:
    done = here("export", chosen.version("model"), "--store", str(chosen.store), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "out" / "README.md").read_text()
    told = content(chosen)["choice"]
    assert "## How it was chosen" in card
    assert f"On {told['n_reported']} other pairs, which had no part in the choice" in card
    assert f"picked from {len(GRID)} points on {content(chosen)['n_pairs']} pairs" in card
    assert chosen.version("evaluation.chosen")[:12] in card
    at = content(chosen)["chosen"]
    assert points(chosen)[at]["evaluation"][:12] not in card


def test_choosing_embeds_nothing_anew(swept: Finished, here: Here) -> None:
    before = artifacts(swept.store)
    completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", "PS>=-90")
    assert not COSTLY & {path.parent.name for path in artifacts(swept.store) - before}


def test_chosen_point_has_the_best_gs_and_its_model_is_the_base_with_its_edit(chosen: Finished) -> None:
    swept, found = chosen, points(chosen)
    at = content(chosen)["chosen"]
    assert len({point["values"]["GS"] for point in found}) > 1
    assert at == best(found, [*range(len(found))])
    tau, alpha = GRID[at]
    assert swept.version("edit") == found[at]["edit"]

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


def test_limits_keep_the_best_point_from_being_chosen(swept: Finished, chosen: Finished, here: Here) -> None:
    found = points(chosen)
    original = content(chosen)["original"]
    favourite = best(found, [*range(len(found))])

    def gained(metric: str) -> list[float]:
        return [point["values"][metric] - original[metric] for point in found]

    # The highest limit on a metric that some points keep and the best of all does not.
    metric = next(name for name in original if name != "GS" and gained(name)[favourite] < max(gained(name)))
    gains = gained(metric)
    limit = round(min(gain for gain in gains if gain > gains[favourite]) - 0.01, 2)
    asked = [*OPTIONS, "--choose", f"{metric}>={limit:.2f}"]
    done = completed(here, "sweep", swept.config, swept.store, *asked, "--choose-by", "estimate")
    assert content(done)["chosen"] == best(found, [i for i, gain in enumerate(gains) if gain >= limit])
    assert done.version("edit") == found[content(done)["chosen"]]["edit"]

    bound = completed(here, "sweep", swept.config, swept.store, *asked)
    lows = [point["differences"][metric][0] for point in points(bound)]
    assert all(low <= gain for low, gain in zip(lows, gains, strict=True))
    keeping = [i for i, low in enumerate(lows) if low >= limit]
    assert content(bound)["chosen"] == (best(found, keeping) if keeping else None)

    none = completed(here, "sweep", swept.config, swept.store, *OPTIONS, "--choose", "Vs-Ts>=100")
    assert content(none)["chosen"] is None
    assert {"edit", "model", "evaluation.chosen"} & none.result["artifacts"].keys() == set()


def test_with_choose_on_null_all_pairs_choose_and_are_reported(swept: Finished, here: Here) -> None:
    options = [*OPTIONS, "--choose", "", "--set", "evaluation.choose_on=null"]
    done = completed(here, "sweep", swept.config, swept.store, *options)
    found = points(done)
    assert [point["values"] for point in found] == [point["values"] for point in points(swept)]
    assert done.version("evaluation.chosen") == found[content(done)["chosen"]]["evaluation"]
    assert content(done)["choice"]["reported"] == []
    assert done.version("evaluation.original") == swept.version("evaluation.original")


def test_shards_of_their_own_choose_and_all_evaluation_pairs_are_reported(swept: Finished, here: Here) -> None:
    config = change_run(swept.config, "own", selection={"shards": ["calibration-000000.tar"]})
    done = completed(here, "sweep", config, swept.store, *OPTIONS, "--choose", "")
    assert done.result["metrics"]["original"] == swept.result["metrics"]["original"]
    assert done.version("evaluation.original") == swept.version("evaluation.original")
    assert content(done)["n_pairs"] == 8
    assert content(done)["choice"]["own_shards"]
    assert not pair_ids(done.place("evaluation.original.choosing")) & pair_ids(done.place("evaluation.chosen"))
    same = change_run(swept.config, "same", selection={"shards": ["test-000000.tar"]})
    refused = here("sweep", str(same), "--store", str(swept.store), *OPTIONS, "--choose", "")
    assert refused.returncode == 2, refused.stderr
    assert "would be reported on pairs that chose it" in refused.stderr


def test_taus_of_both_encoders_are_crossed(swept: Finished, here: Here) -> None:
    before = kinds(swept.store)
    options = ["--text-tau", "0.8,0.9", "--vision-tau", "0.8,0.85,0.9"]
    done = completed(here, "sweep", swept.config, swept.store, *options, "--choose", "")
    grid = [(point["text_tau"], point["vision_tau"]) for point in points(done)]
    assert grid == [(text, vision) for vision in (0.8, 0.85, 0.9) for text in (0.8, 0.9)]
    new = kinds(swept.store) - before
    # The text encoder's two edits are there, and of the vision encoder's the one with tau 0.9.
    assert (new["embeddings.text"], new["embeddings.vision"]) == (0, 2)
    rows = list(csv.DictReader((done.place("sweep") / "sweep.csv").read_text().splitlines()))
    assert [(float(row["text_tau"]), float(row["vision_tau"])) for row in rows] == grid
    for wrong in (["--tau", "0.9", "--text-tau", "0.9"], [], ["--text-tau", "0.9", "--encoder", "vision"]):
        refused = here("sweep", str(swept.config), "--store", str(swept.store), *wrong)
        assert refused.returncode == 2, refused.stderr


def test_both_encoders_are_swept_together_and_shown_to_a_person(swept: Finished, here: Here) -> None:
    before = artifacts(swept.store)
    options = ["--tau", "0.9", "--alpha", "-1", "--encoder", "both"]
    done = here("sweep", str(swept.config), "--store", str(swept.store), *options)
    assert done.returncode == 0, done.stderr
    assert "sweep of text and vision, 24 pairs, percent" in done.stdout
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
        sweep_of(session, [{"tau": 0.8, "alpha": -1.0}], ["text", "vision"], None)
        after = session.original().model.state_dict()
        assert all(before[name].equal(after[name]) for name in before)
        # In a store of its own nothing is found, so the model in memory is measured anew.
        session.store = Store(tmp_path / "b")
        measure_original(session, sets, "after")
        assert session.metrics["after"] == session.metrics["before"] == swept.result["metrics"]["original"]
        assert session.metrics["tau=0.8,alpha=-1"] != session.metrics["after"]
