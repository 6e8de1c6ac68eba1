"""What a run writes into manifests, and what it does where somebody rewrote one."""

import json
import random
import shutil
from pathlib import Path

import pytest
import yaml

from data_specs.config_file import load_config
from data_specs.errors import ArtifactError
from data_specs.manifest import ArtifactRef
from data_specs.placement import Placement
from flows.make_safe import steps_of_make_safe
from flows.session import open_session
from tasks.lineage.checking.verification import outside_of, verified, whole_store
from tasks.lineage.digest import file_sha256
from tasks.lineage.environment import library_versions
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tasks.lineage.trace import artifacts_in
from tests.cases.manifests import forge
from tests.cases.small_run import write_run

pytestmark = pytest.mark.slow


def run(config, store, device="cpu"):
    with open_session(load_config(config), store, device, 0) as session:
        steps_of_make_safe(session)
        return session.result()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_run(folder / "in", calibration=6, test=6, per_shard=3)
    return config, folder / "store", run(config, folder / "store")


@pytest.fixture
def copied(done, tmp_path):
    """The same in a store of the test's own."""
    config, store, result = done
    shutil.copytree(store, tmp_path / "store")
    return config, Store(tmp_path / "store"), result


def ref_of(result, role):
    place = result.artifacts[role]
    return ArtifactRef(kind=Path(place.path).parent.name, version=place.version)


def record_of(store):
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (store / ".runs").glob("*.json")]
    return max(records, key=lambda record: record["started"])


def test_all_manifests_name_the_weights_settings_and_inputs_that_they_are_of(done):
    config, place, result = done
    store = Store(place)
    manifests = {item.ref: store.manifest(item.ref) for item in store.survey().found}
    weights, record = config.parent / "model.safetensors", record_of(place)
    given = yaml.safe_load(config.read_text(encoding="utf-8"))
    named = [item for item in manifests.values() if item.weights]
    assert {item.recipe.kind for item in named} >= {
        *("activations.text.part", "embeddings.vision.part", "layer_scores.text", "edit", "model", "evaluation"),
    }
    for item in named:
        (source,) = item.weights
        assert (source.location, source.sha256) == (str(weights), file_sha256(weights))
        assert source.tensors == manifests[ref_of(result, "edit")].recipe.inputs["model"]
    for item in manifests.values():
        assert item.format == 2
        assert {ref for several in item.inputs.values() for ref in (one.ref for one in several)} >= {
            *artifacts_in(item.recipe.inputs).values()
        }
        for one in (one for several in item.inputs.values() for one in several):
            assert one.manifest == manifests[one.ref].digest
        assert item.circumstances.run == record["id"]
        if not item.recipe.kind.endswith(".part"):
            assert item.settings.resolved == record["settings"]
            assert {name: [*of] for name, of in item.settings.given.items() if name != "name"} == {
                name: [*of] for name, of in given.items() if name != "name"
            }
            assert item.settings.given["text"] == {"tau": 0.9}


def test_embeddings_of_an_edited_encoder_lead_back_to_the_edit(done):
    _, place, result = done
    store = Store(place)
    parts = [
        store.manifest(part)
        for role in ("embeddings.text.edited", "embeddings.text.original")
        for part in artifacts_in(store.manifest(ref_of(result, role)).recipe.inputs).values()
    ]
    edited = [item.inputs.get("encoder") for item in parts]
    assert [made and [one.ref for one in made] for made in edited] == [[ref_of(result, "edit")]] * 2 + [None] * 2


def test_a_record_holds_the_digests_of_what_the_run_used_and_made(done):
    _, place, result = done
    store = Store(place)
    recorded = record_of(place)["manifests"]
    assert {*recorded} == {item.version for item in result.artifacts.values()}
    for role in ("edit", "report", "evaluation.edited"):
        ref = ref_of(result, role)
        assert recorded[ref.version]["manifest"] == store.manifest(ref).digest


def test_the_same_run_again_makes_nothing_and_tells_nothing(copied):
    config, store, result = copied
    heard = Notices()
    with listening(heard):
        again = run(config, store.root)
    assert (again.computed, again.reused) == (0, result.computed + result.reused - n_parts(store))
    assert heard.texts == []
    assert all(not item.faults for item in whole_store(store)[0])


def n_parts(store):
    return sum(ref.kind.endswith(".part") for ref in store.refs())


def double_figure(store, ref):
    """GS of an evaluation rewritten with its hash, as somebody does who knows how."""
    file = store.path(ref) / "metrics.json"
    metrics = json.loads(file.read_text())
    file.write_text(json.dumps(metrics | {"GS": 80.0}))

    def change(content):
        for entry in content["files"]:
            if entry["path"] == "metrics.json":
                entry |= {"sha256": file_sha256(file), "size_bytes": file.stat().st_size}

    forge(store.path(ref) / "manifest.json", change)


@pytest.mark.parametrize("also_removed", [(), ("differences", "flips", "gallery", "gallery.flips", "report")])
def test_a_figure_rewritten_with_its_hash_is_refused_by_the_next_run_and_found(copied, also_removed):
    config, store, result = copied
    evaluation = ref_of(result, "evaluation.edited")
    double_figure(store, evaluation)
    for kind in also_removed:
        shutil.rmtree(store.root / kind)
    assert store.check(evaluation)
    with pytest.raises(ArtifactError, match=rf"^evaluation {evaluation.version[:12]} is not"):
        run(config, store.root)
    failed = record_of(store.root)
    assert (failed["status"], 80.0 in failed["figures"].get("edited", {}).values()) == ("failed", False)
    items, faults = whole_store(store)
    assert evaluation in {fault.artifact for fault in [*faults, *(f for item in items for f in item.faults)]}


def test_an_artifact_that_was_removed_is_made_again_and_what_was_made_of_it_stays(copied):
    config, store, result = copied
    shutil.rmtree(store.path(ref_of(result, "edit")))
    heard = Notices()
    with listening(heard):
        again = run(config, store.root)
    assert again.computed == 2  # the edit, and a report that tells when it was made
    assert len([text for text in heard.texts if "it was made again since, or somebody rewrote it" in text]) == 1


def test_300_bits_flipped_over_all_files_of_a_real_chain_are_found_and_named(copied):
    _, store, result = copied
    report, rng = ref_of(result, "report"), random.Random(0)
    behind = [item.ref for item in verified(store, [report])]
    paths = [path for ref in behind for path in sorted(store.path(ref).rglob("*")) if path.is_file()]
    # A set's rows are its parts' files, by hard links: of two names of one file one is flipped.
    paths = [*{path.stat().st_ino: path for path in paths}.values()]
    flipped = rng.sample(paths, min(300, len(paths)))
    for path in flipped:
        data = bytearray(path.read_bytes())
        place = rng.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
    found = {store.path(f.artifact) / f.place for item in verified(store, [report]) for f in item.faults}
    assert found >= {*flipped}
    assert len(flipped) > 100


def test_shards_and_weights_of_a_run_are_hashed_outside_the_store(copied):
    _, store, result = copied
    items = [*verified(store, [ref_of(result, "report")])]
    found = outside_of(item.manifest for item in items)
    assert (found.n_hashed, found.unreachable, found.faults) == (5, [], [])


def test_a_run_says_of_what_it_reuses_that_other_libraries_made_it_in_its_record_too_or_refuses_it(copied, monkeypatch):
    config, store, _ = copied
    mine = library_versions()
    monkeypatch.setattr("tasks.lineage.environment.library_versions", lambda: {**mine, "torch": "0.1"})
    heard = Notices()
    with listening(heard):
        run(config, store.root)
    (said,) = heard.texts
    assert said.startswith("reused, though made in another environment: ")
    assert said.endswith(f"torch {mine['torch']} then, 0.1 now")
    (told,) = record_of(store.root)["other_environments"]["differences"].items()
    assert told == (f"torch {mine['torch']} then, 0.1 now", len(store.refs()))
    with pytest.raises(ArtifactError, match=r"was made in another environment: torch .* give --same-environment warn"):
        run(config, store.root, Placement(devices="cpu", same_environment="refuse"))
    heard.texts.clear()
    with listening(heard):
        run(config, store.root, Placement(devices="cpu", same_environment="ignore"))
    assert (heard.texts, "other_environments" in record_of(store.root)) == ([], False)
