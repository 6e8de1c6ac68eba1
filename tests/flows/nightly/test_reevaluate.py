"""A night measures what is new, judges what changed, and leaves an account of whatever became of it."""

import io
import json

import pytest
import yaml
from PIL import Image

from data_specs.run_config import CONTENTS
from flows.nightly.nights import read_nights
from tests.cases.shard_files import write_tar
from tests.cases.small_run import change_run, completed, write_run, write_shards

pytestmark = pytest.mark.slow

MODELS = {
    "current": {"tag": "production"},
    "plain": {"model": {"architecture": "model.json", "weights": "model.safetensors"}},
    "candidate": {"config": "config.yaml"},
}
WATCH = {
    "name": "production",
    "models": MODELS,
    "sets": {"main": {"shards": "test-*.tar"}, "other": {"shards": ["calibration-*.tar"], "limit": 12}},
    "baseline": {"tag": "production"},
    "gates": {"GS": {"min_change": -1}, "PS": {"min": 1, "models": ["candidate"], "sets": ["main"]}},
}


@pytest.fixture(scope="module")
def made(here, tmp_path_factory):
    """A store with an edited model that is tagged."""
    folder = tmp_path_factory.mktemp("nights")
    run = completed(here, "run", write_run(folder, calibration=24, test=16), folder / "store")
    done = here("tag", "production", run.version("model"), "--store", str(run.store))
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def night(here, made):
    def begin(*options, status=0, **changes):
        path = made.config.with_name("watch.yaml")
        path.write_text(yaml.safe_dump(WATCH | changes, sort_keys=False), encoding="utf-8")
        done = here("reevaluate", str(path), "--store", str(made.store), "--workers", "0", "--json", *options)
        assert done.returncode == status, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        assert found == read_nights(made.store, WATCH["name"])[-1].model_dump(mode="json")
        return found, done.stderr

    return begin


def test_every_model_is_measured_on_every_set_and_the_next_night_computes_nothing(night, made):
    first, _ = night(status=5)  # the plain model falls far below the edited one
    cells = {(item["model"], item["set"]): item for item in first["measured"]}
    assert {*cells} == {(model, on) for model in MODELS for on in WATCH["sets"]}
    assert cells["current", "main"]["evaluation"] == made.version("evaluation.edited")
    assert cells["plain", "main"]["evaluation"] == made.version("evaluation.original")
    assert cells["candidate", "main"]["evaluation"] == made.version("evaluation.edited")
    assert cells["current", "other"]["n_pairs"] == 12
    assert cells["current", "main"]["figures"]["GS"] == made.result["metrics"]["edited"]["GS"]
    outcomes = {key: [result["outcome"] for result in item["gates"]] for key, item in cells.items()}
    assert outcomes["current", "main"] == ["pass"]
    assert outcomes["candidate", "main"] == ["pass", "pass"]
    assert outcomes["plain", "main"] == ["fail"]
    records = {path.stem: json.loads(path.read_text()) for path in made.store.glob(".runs/*.json")}
    for (model, on), item in cells.items():
        record = records[item["run"]]
        assert record["settings"]["name"] == f"production.{model}.{on}"
        assert record["flow_run_id"] == item["flow_run_id"]
    assert (first["outcome"], first["status"], first["exit_code"]) == ("failed", "completed", 5)
    again, said = night(status=5)
    assert sum(item["computed"] for item in again["measured"]) == 0
    assert "plain on main: GS fell by" in said
    plain, current = (cells[model, "main"]["what"][:12] for model in ("plain", "current"))
    assert f"; plain is {plain}, the baseline {current}" in said


def test_a_new_shard_is_all_that_is_computed_and_the_baseline_is_measured_on_it_too(night, made):
    only = {"models": {"current": MODELS["current"]}, "sets": {"main": WATCH["sets"]["main"]}, "gates": {}}
    night(**only)
    write_shards(made.config.parent, "test-more", 8, 8)
    try:
        grown, _ = night(**only)
    finally:
        (made.config.parent / "test-more-000000.tar").unlink()
    (cell,) = grown["measured"]
    assert [place.rpartition("/")[2] for place in cell["shards_added"]] == ["test-more-000000.tar"]
    assert cell["n_pairs"] == 24
    # A part an encoder, their sets, an evaluation and its report.
    assert cell["computed"] == 6
    shrunk, _ = night(**only)
    assert len(shrunk["measured"][0]["shards_removed"]) == 1


def test_samples_that_cannot_be_read_are_counted_once_by_reason(night, made):
    lenient = change_run(made.config, "lenient", max_bad_fraction=0.5)
    model = {"config": str(lenient)}
    only = {"models": {"current": model}, "baseline": model, "sets": {"main": WATCH["sets"]["main"]}, "gates": {}}
    picture = io.BytesIO()
    Image.new("RGB", (40, 40), "teal").save(picture, "PNG")
    texts = [(f"a.{side}.txt", b"a teal square") for side in CONTENTS]
    pictures = [("a.safe.png", picture.getvalue()), ("a.unsafe.png", b"no picture")]
    shard = write_tar(made.config.parent / "test-torn.tar", [*texts, *pictures, ("b.safe.txt", b"alone")])
    try:
        found, _ = night(**only)
    finally:
        shard.unlink()
    (cell,) = found["measured"]
    assert cell["n_pairs"] == 16
    assert sum(cell["skipped"].values()) == 2
    assert any("image" in reason for reason in cell["skipped"])


def test_what_goes_wrong_with_one_model_or_set_keeps_no_other_from_being_measured(night):
    changes = {
        "models": {"gone": {"tag": "nothing"}, "current": MODELS["current"]},
        "sets": {"missing": {"shards": "none-*.tar"}, "main": WATCH["sets"]["main"]},
        "gates": {},
    }
    broken, said = night(status=4, **changes)
    status = {(item["model"], item["set"]): item["status"] for item in broken["measured"]}
    assert status == {
        ("gone", "missing"): "failed",
        ("gone", "main"): "failed",
        ("current", "missing"): "failed",
        ("current", "main"): "completed",
    }
    assert (broken["status"], broken["outcome"]) == ("failed", None)
    assert "not measured: gone on missing, gone on main: 'nothing' names neither an artifact nor a run" in said
    assert "not measured: current on missing: shard" in said


def test_a_baseline_may_be_an_evaluation_and_is_not_comparable_where_pairs_differ(night, made):
    changes = {
        "models": {"current": MODELS["current"]},
        "baseline": {"tag": made.version("evaluation.original")},
        "gates": {"GS": {"min_change": -1}},
    }
    found, _ = night(**changes)
    (main,), (other,) = (item["gates"] for item in found["measured"])
    assert main["outcome"] == "pass"
    assert other["outcome"] == "not_comparable"
    assert found["outcome"] == "not_comparable"
    strict, said = night("--strict", status=6, **changes)
    assert strict["exit_code"] == 6
    assert "current on other: " in said


def test_a_run_that_measures_by_other_settings_is_not_comparable_and_shown(night, made):
    change_run(made.config, "bf16", precision="bf16", batch_size=4)
    changes = {"models": {"candidate": {"config": "bf16.yaml"}}, "sets": {"main": WATCH["sets"]["main"]}}
    found, _ = night(**changes, gates={"GS": {"min_change": -1, "max": 100}})
    figure, change = found["measured"][-1]["gates"]
    assert change["outcome"] == "not_comparable"
    assert change["reasons"] == [
        "settings differ: batch_size is 4, of the baseline 32",
        "settings differ: precision is bf16, of the baseline fp32",
    ]
    assert change["change"] is not None
    assert figure["outcome"] == "pass"


def test_what_a_night_measured_can_be_made_again_from_its_record(night, made, tmp_path, here):
    found, _ = night(gates={})
    (cell,) = [item for item in found["measured"] if (item["model"], item["set"]) == ("candidate", "other")]
    done = here("reproduce", cell["evaluation"], "--from", str(made.store), "--store", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr


def test_wrong_watches_are_refused_in_a_line(here, made):
    path = made.config.with_name("wrong.yaml")
    for changes, words in {
        "modles: {}": "modles is not a known setting; did you mean models",
        "gates: {GSS: {min: 1}}": "there is no metric 'GSS'",
        'gates: {"zero_shot[tag=odd]": {min: 1}}': "zero_shot is not measured by tag",
        "gates: {GS: {min_change: -1}}\nbaseline: null": "gates.GS limits a change, but there is no baseline",
        "gates: {GS: {}}": "gives no limit; give one or more of min, max, min_change, max_change",
        "gates: {GS: {min: 1, sets: [man]}}": "gates.GS.sets names man, which is none; did you mean main",
        "gates: {}\nmodels: {a: {tag: x, config: y}}": "give one of tag, config and model",
        "gates: {}\nmodels: {a: {config: none.yaml}}": "none.yaml",
        "notify: [{on: [failed]}]": "give either webhook or email_block",
    }.items():
        told = yaml.safe_load(changes.replace("on:", "'on':"))
        path.write_text(yaml.safe_dump(WATCH | told), encoding="utf-8")
        done = here("reevaluate", str(path), "--store", str(made.store))
        assert (done.returncode, words in done.stderr, len(done.stderr.splitlines())) == (2, True, 1), done.stderr
