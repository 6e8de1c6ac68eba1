"""A plan against the run that follows it: the same artifacts, as many samples, about as many bytes."""

import json

import pytest

from data_specs.manifest import Manifest
from tests.cases.forked import forked
from tests.cases.small_run import change_run, completed, kinds, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planned")
    config = write_run(folder, calibration=24, test=12, per_shard=8)
    return config, folder / "store"


def planned(here, config, store, *options, command="plan"):
    done = here(command, str(config), "--store", str(store), "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def by_role(plan):
    return {item["role"]: item for item in plan["artifacts"]}


def manifest_of(finished, role):
    return Manifest.model_validate_json((finished.place(role) / "manifest.json").read_bytes())


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def written(finished, role):
    """Bytes that came to be for an artifact; a set's rows are those of its parts."""
    parts = manifest_of(finished, role).recipe.inputs.get("parts", [])
    if not parts:
        size = size_of(finished.place(role))
        # The scores are those of the layers, linked.
        return size - sum(path.stat().st_size for path in finished.place(role).rglob("scores.parquet")) * (
            role == "scores"
        )
    own = (finished.place(role) / "manifest.json").stat().st_size
    return own + sum(size_of(finished.store / part.kind / part.version) for part in parts)


def test_a_plan_names_what_the_run_makes_and_makes_nothing_itself(here, place):
    config, store = place
    first = planned(here, config, store)
    assert not store.exists()
    assert {item["there"] for item in first["artifacts"]} == {False}
    assert first["last_run"] is None
    assert {item["seconds"] for item in first["artifacts"]} == {None}
    # 24 calibration pairs, and 12 test pairs before and after the edit, two sides each.
    assert first["totals"]["images"] == first["totals"]["texts"] == 2 * (24 + 2 * 12)
    finished = completed(here, "run", config, store)
    assert set(by_role(first)) == set(finished.result["artifacts"])
    for role, item in by_role(first).items():
        assert item["version"] in (None, finished.version(role)), role
        n_bytes = written(finished, role)
        assert n_bytes / 2 < item["size_bytes"] < n_bytes * 2, (role, n_bytes, item["size_bytes"])
    unknown = {role for role, item in by_role(first).items() if item["version"] is None}
    assert unknown == {
        *("embeddings.text.edited", "embeddings.vision.edited", "evaluation.edited"),
        *("differences.edited", "flips.edited", "gallery", "gallery.flips", "report"),
    }
    # Statistics as rows, which is what the run keeps, beside what they would take folded.
    compared = {role: item["rows_bytes"] for role, item in by_role(first).items() if item["folded_bytes"] is not None}
    assert compared == {
        role: pytest.approx(by_role(first)[role]["size_bytes"], rel=0.2)
        for role in ("activations.text", "activations.vision")
    }
    second = planned(here, config, store)
    assert {item["there"] for item in second["artifacts"]} == {True}
    assert {role: item["version"] for role, item in by_role(second).items()} == {
        role: finished.version(role) for role in finished.result["artifacts"]
    }
    assert {*second["totals"].values()} == {0}
    assert second["last_run"]["computed"] == finished.result["computed"]
    assert second["last_run"]["seconds"] > 0


def test_a_plan_counts_only_the_shards_that_are_new_and_tells_how_long_the_like_took(here, place):
    config, store = place
    completed(here, "run", config, store)
    shards = [f"calibration-{i:06d}.tar" for i in (0, 1)]
    fewer = change_run(config, "fewer", calibration={"shards": shards})
    before = kinds(store)
    plan = by_role(planned(here, fewer, store))
    assert kinds(store) == before
    assert plan["activations.text"]["parts"] == plan["activations.text"]["parts_there"] == 2
    assert (plan["activations.text"]["there"], plan["activations.text"]["texts"]) == (False, 0)
    cut = by_role(planned(here, change_run(config, "cut", calibration={"shards": shards, "limit": 12}), store))
    assert (cut["activations.vision"]["parts"], cut["activations.vision"]["parts_there"]) == (2, 1)
    assert cut["activations.vision"]["images"] == 2 * 4
    assert 0 < cut["activations.vision"]["seconds"] < 600
    assert 0 < cut["layer_scores.text"]["seconds"] < 600


def test_an_edit_of_one_encoder_needs_the_others_embeddings_once(here, place):
    config, store = place
    only = change_run(config, "only", text={"tau": 0.85}, vision=None)
    plan = by_role(planned(here, only, store.with_name("empty")))
    assert plan["embeddings.vision.original"]["images"] == 24
    # One artifact for both models.
    assert "embeddings.vision.edited" not in plan
    assert plan["embeddings.text.edited"]["texts"] == 24


@pytest.mark.parametrize(
    ("command", "options", "experiment"),
    [
        ("sweep", ("--tau", "0.8,0.9"), "sweep"),
        ("compare", (), "comparison"),
        ("ablate", ("--rule", "score_mass,top_share"), "ablation"),
    ],
)
def test_experiments_are_planned_by_their_own_steps(here, tmp_path, command, options, experiment):
    config, store = write_run(tmp_path, calibration=8, test=8), tmp_path / "store"
    plan = planned(here, config, store, "--plan", *options, command=command)
    assert not store.exists()
    finished = completed(here, command, config, store, *options)
    assert set(by_role(plan)) - {experiment} <= set(finished.result["artifacts"])
    counted = {}
    for role in by_role(plan):
        settings = manifest_of(finished, role).recipe.settings
        if role.startswith(("activations", "embeddings")):
            kind = "texts" if ".text." in f"{role}." else "images"
            counted[kind] = counted.get(kind, 0) + 2 * sum(settings["samples"])
    assert counted == {kind: plan["totals"][kind] for kind in counted}
    again = planned(here, config, store, "--plan", *options, command=command)
    assert {item["there"] for item in again["artifacts"]} == {True}
    assert again["last_run"]["computed"] == finished.result["computed"]


def test_gradients_count_as_samples_that_go_forward_and_backward(here, tmp_path):
    chosen = {"tau": 0.9, "scorer": "gradient_unsafe", "rule": "top_share"}
    config, store = write_run(tmp_path, calibration=8, test=8, text=chosen, vision=None), tmp_path / "store"
    assert by_role(planned(here, config, store))["layer_scores.text"]["gradients"] == 8


def test_a_person_is_told_in_a_table_and_wrong_settings_are_refused(here, place, tmp_path):
    config, store = place
    # Nothing listens there: a plan asks no server.
    nowhere = "http://127.0.0.1:9/api"
    told = forked("plan", str(config), "--store", str(store), api_url=nowhere, said=tmp_path / "said")
    assert told.wait() == 0, told.err
    for words in ("embeddings.vision.edited", "artifacts:", "through the model", "last time"):
        assert words in told.out
    wrong = change_run(config, "wrong", text={"tau": 0.9, "layers": "no_such_layer"})
    refused = here("plan", str(wrong), "--store", str(store))
    assert refused.returncode == 2
    assert "no_such_layer" in refused.stderr.splitlines()[-1]


def test_a_store_that_cannot_be_written_can_be_planned_for(here, place, tmp_path):
    config, _ = place
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    assert planned(here, config, locked)["totals"]["images"] > 0
    assert list(locked.iterdir()) == []
