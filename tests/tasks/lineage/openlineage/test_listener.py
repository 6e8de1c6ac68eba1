"""Events of OpenLineage: valid by the standard, received by a real server, and never the end of a run."""

import json
import os
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import ValidationError

from data_specs.errors import DataError, SpecError
from data_specs.manifest import Recipe, Source
from tasks.lineage.circumstances import RunContext
from tasks.lineage.openlineage import sending
from tasks.lineage.progress import Notices, listening
from tasks.lineage.store import Store
from tests.cases.collector import collecting, validated
from tests.cases.recipes import recipe_of, write_two

FLOW = "8b3f7a66-0f3a-4d0e-9b0d-3f1f0c2a9d11"
CONTEXT = RunContext(flow_run_id=FLOW)


@contextmanager
def heard():
    sink = Notices()
    with listening(sink):
        yield sink.texts


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("URL", "ENDPOINT", "API_KEY", "CONFIG", "DISABLED", "NAMESPACE"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)
    monkeypatch.delenv("UWM_OPENLINEAGE_FILE", raising=False)


@pytest.fixture
def collector(tmp_path, monkeypatch):
    (tmp_path / "collector").mkdir()
    with collecting(tmp_path / "collector") as running:
        monkeypatch.setenv("OPENLINEAGE_URL", running.url)
        yield running


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of events in the place of a collector."""
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv("UWM_OPENLINEAGE_FILE", str(path))
    return path


def events(path):
    return [validated(json.loads(line)) for line in path.read_text().splitlines()]


def write_table(build):
    table = pa.table({"pair_id": ["a", "b", "c"], "norm": pa.array([[1.0], [2.0], [3.0]], pa.list_(pa.float32()))})
    pq.write_table(table, build.folder / "part.parquet")
    pq.write_table(table, build.folder / "other.parquet")
    build.sources += [
        Source(location="s3://key:secret@bucket/data/cal-0.tar?sig=secret", sha256="1" * 64, size_bytes=3),
        Source(location="/data/cal-1.tar", sha256="2" * 64, size_bytes=3),
        Source(location="https://host:8443/cal-2.tar", sha256="3" * 64, size_bytes=3),
        Source(location="pipe:curl -H secret", sha256="4" * 64, size_bytes=3),
    ]


def chain(root):
    """Activations with Parquet, and an evaluation of them."""

    def write_metrics(build):
        (build.folder / "metrics.json").write_text('{"GS": 40.5}')

    store = Store(root)
    activations = store.materialise(recipe_of(kind="activations.text"), write_table, CONTEXT)
    part = store.materialise(recipe_of(kind="embeddings.text.part"), write_two, CONTEXT)
    inputs = {"activations": activations.ref, "parts": [part.ref], "shards": ["5" * 64]}
    recipe = Recipe(kind="evaluation", settings={"seed": 0}, inputs=inputs, code="c0de")
    return activations, store.materialise(recipe, write_metrics, CONTEXT)


def test_a_real_server_receives_valid_events_of_each_stage_that_is_made(tmp_path, collector):
    activations, evaluation = chain(tmp_path / "store")
    received = collector.events()
    assert {asked["path"] for asked in collector.asked()} == {"/api/v1/lineage"}
    assert [(event["job"]["name"], event["eventType"]) for event in received] == [
        ("activations.text", "START"),
        ("activations.text", "COMPLETE"),
        ("evaluation", "START"),
        ("evaluation", "COMPLETE"),
    ]
    ids = [event["run"]["runId"] for event in received]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in received} == {FLOW}
    assert {event["job"]["namespace"] for event in received} == {"unsafe-weights"}
    # What is there already is made by nobody.
    chain(tmp_path / "store")
    assert len(collector.events()) == 4
    del activations, evaluation


def test_a_complete_stage_tells_version_schema_size_code_and_where_its_data_came_from(tmp_path, file):
    activations, _ = chain(tmp_path / "store")
    complete = events(file)[1]
    (output,) = complete["outputs"]
    assert (output["namespace"], output["name"]) == ("file", f"{tmp_path}/store/activations.text")
    assert output["facets"]["version"]["datasetVersion"] == activations.ref.version
    assert [(item["name"], item["type"]) for item in output["facets"]["schema"]["fields"]] == [
        ("pair_id", "string"),
        ("norm", "list<element: float>"),
    ]
    statistics = output["outputFacets"]["outputStatistics"]
    size = sum(path.stat().st_size for path in activations.path.glob("*.parquet"))
    assert (statistics["rowCount"], statistics["fileCount"], statistics["size"]) == (6, 2, size)
    inputs = {(item["namespace"], item["name"]): item["facets"]["version"] for item in complete["inputs"]}
    assert inputs["s3://bucket", "data/cal-0.tar"]["datasetVersion"] == "1" * 64
    assert inputs["file", "/data/cal-1.tar"]["datasetVersion"] == "2" * 64
    assert ("https://host:8443", "/cal-2.tar") in inputs
    assert len(inputs) == 4
    recipe = complete["run"]["facets"]["unsafeWeights_recipe"]
    assert (recipe["kind"], recipe["settings"]["tau"], recipe["code"]) == ("activations.text", 0.98, "c0de")
    location = complete["job"]["facets"]["sourceCodeLocation"]
    assert location["version"] == Store(tmp_path / "store").manifest(activations.ref).circumstances.git_commit
    assert "secret" not in file.read_text()


def test_an_evaluation_tells_its_figures_and_the_versions_that_it_was_made_of(tmp_path, file):
    activations, _ = chain(tmp_path / "store")
    complete = events(file)[-1]
    assert complete["outputs"][0]["outputFacets"]["unsafeWeights_metrics"]["metrics"] == {"GS": 40.5}
    # Shares of single shards are not told.
    (used,) = complete["inputs"]
    assert used["name"].endswith("/store/activations.text")
    assert used["facets"]["version"]["datasetVersion"] == activations.ref.version


@pytest.mark.parametrize(("kind", "n_events"), [("scores", 2), ("activations.text.part", 1)])
def test_a_stage_that_fails_says_why_the_share_of_a_shard_too(kind, n_events, tmp_path, file):
    def write(_build):
        raise DataError("the shard is\ncut")

    with pytest.raises(DataError):
        Store(tmp_path / "store").materialise(recipe_of(kind=kind), write, CONTEXT)
    told = events(file)
    assert [event["eventType"] for event in told][-n_events:] == ["START", "FAIL"][-n_events:]
    assert told[-1]["run"]["facets"]["errorMessage"]["message"] == "DataError: the shard is cut"


def test_a_stage_that_a_signal_ended_was_aborted(tmp_path, file):
    def write(_build):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path / "store").materialise(recipe_of(), write, CONTEXT)
    assert events(file)[-1]["eventType"] == "ABORT"


def test_a_server_that_is_down_or_refuses_is_one_notice_and_the_run_goes_on(tmp_path, monkeypatch):
    with collecting(tmp_path) as gone:
        pass
    monkeypatch.setenv("OPENLINEAGE_URL", gone.url)
    with heard() as notices:
        chain(tmp_path / "down")
    assert [text.split("(")[0] for text in notices] == ["OpenLineage: an event was not taken "]
    with collecting(tmp_path, status=500) as broken, heard() as notices:
        monkeypatch.setenv("OPENLINEAGE_URL", broken.url)
        chain(tmp_path / "broken")
    assert len(notices) == 1
    assert "500" in notices[0]
    for name in ("down", "broken"):
        assert len(Store(tmp_path / name, listeners=[]).refs()) == 3


def test_a_server_that_is_back_is_sent_events_again_and_it_is_said_how_many_were_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_FIRST_PAUSE_SECONDS", 0.0)
    with collecting(tmp_path) as gone:
        pass
    monkeypatch.setenv("OPENLINEAGE_URL", gone.url)
    store = Store(tmp_path / "store")
    with heard() as notices:
        store.materialise(recipe_of(), write_two, CONTEXT)
        with collecting(tmp_path) as back:
            # The same sender, whose address is fixed: another server in the place of the first.
            store.listeners.each[-1]._sender._client.transport.url = back.url
            store.materialise(recipe_of(settings={"tau": 0}), write_two, CONTEXT)
            assert len(back.events()) == 2
    assert notices[-1] == "OpenLineage: events are taken again; 2 were lost"


def test_key_endpoint_and_namespace_are_openlineages_own_variables(tmp_path, collector, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k3y")
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "lineage/here")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "nightly")
    Store(tmp_path / "store").materialise(recipe_of(), write_two, CONTEXT)
    asked = collector.asked()[0]
    assert (asked["path"], asked["authorization"]) == ("/lineage/here", "Bearer k3y")
    assert asked["event"]["job"]["namespace"] == "nightly"


def test_a_place_for_events_that_is_none_ends_the_run_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_URL", "nowhere")
    with pytest.raises(SpecError, match=r"OpenLineage cannot be set up: .*nowhere.*; see OPENLINEAGE_URL"):
        Store(tmp_path / "store").materialise(recipe_of(), write_two, CONTEXT)
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    Store(tmp_path / "store").materialise(recipe_of(), write_two, CONTEXT)


def test_the_schemas_refuse_what_is_no_event(tmp_path, file):
    chain(tmp_path / "store")
    good = events(file)[1]
    output = good["outputs"][0]
    version = {name: value for name, value in output["facets"]["version"].items() if name != "datasetVersion"}
    for wrong in (
        good | {"eventType": "DONE"},
        good | {"eventTime": "yesterday"},
        {key: value for key, value in good.items() if key != "job"},
        good | {"run": good["run"] | {"runId": 3}},
        good | {"outputs": [output | {"facets": {"version": version}}]},
    ):
        with pytest.raises((ValidationError, KeyError)):
            validated(wrong)


def test_the_client_leaves_the_environment_as_it_was(tmp_path, collector):
    before = dict(os.environ)
    chain(tmp_path / "store")
    assert dict(os.environ) == before
