"""Lineages from an artifact or a run down to shards and weights, in text, JSON and as a diagram."""

import re
import shutil

import pytest

from data_specs.manifest import ArtifactRef, Recipe
from tasks.lineage.base_weights import ModelInUse
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import text_sha256
from tasks.lineage.runs import run_records
from tasks.lineage.store import Store
from tasks.tracing.drawing import as_json, mermaid_lines, text_lines
from tasks.tracing.edges import Edges
from tasks.tracing.graph import lineage_graph
from tasks.tracing.index import open_index
from tests.cases.large_store import LargeStore, manifests


@pytest.fixture
def filled(tmp_path):
    large = LargeStore(tmp_path / "store")
    large.shards = large.shards[:3]
    return large, large.run("small", {"batch_size": 32}, 0.9)


def graph_of(root, asked):
    return lineage_graph(Store(root), Edges(open_index(root)), asked)


def behind(root, version):
    """All inputs of inputs, from the manifests, naively."""
    told = {item["version"]: item for item in manifests(root)}
    found, pending = set(), [version]
    while pending:
        current = pending.pop()
        if current in found:
            continue
        found.add(current)
        for given in told.get(current, {"recipe": {"inputs": {}}})["recipe"]["inputs"].values():
            for item in given if isinstance(given, list) else [given]:
                pending.append(item["version"] if isinstance(item, dict) else item)
    return found


def test_a_lineage_holds_all_inputs_of_inputs_down_to_shards_and_weights(filled):
    large, made = filled
    graph = graph_of(large.root, made["evaluation.edited"])
    # The digest of the edited encoder is told as the model that it is of.
    assert graph.things.keys() == behind(large.root, made["evaluation.edited"].version) - {text_sha256("small")}
    shards = {thing.id: thing.location for thing in graph.things.values() if thing.form == "shard"}
    assert shards == {shard.sha256: shard.location for shard in large.shards}
    assert {thing.id for thing in graph.things.values() if thing.form == "weights"} == {text_sha256("base")}
    lines = [*text_lines(graph)]
    assert lines[0].startswith(f"made: evaluation {made['evaluation.edited'].version[:16]} 2026-01-01T00:00:01")
    encoders = [line.split() for line in lines if line.startswith("    encoder: ")]
    assert {(words[1], words[2]) for words in encoders} == {("model", made["model"].version[:16])}
    assert sum("(see above)" in line for line in lines) == 2
    part = re.findall(r"\(part (\w{16})\)", "\n".join(lines))
    assert len(part) == 12
    assert all(any(path.name.startswith(name) for path in large.root.glob("*.part/*")) for name in part)


def test_settings_are_told_below_each_artifact(filled):
    large, made = filled
    lines = [*text_lines(graph_of(large.root, made["edit"]), settings=True)]
    assert lines[1] == "  - text.tau = 0.9"
    assert sum(line.strip() == "- batch_size = 32" for line in lines) == 2


def test_json_and_mermaid_name_the_same_things(filled):
    large, made = filled
    graph = graph_of(large.root, made["edit"])
    told = as_json(graph)
    ids = {thing["id"] for thing in told["things"]}
    assert told["root"] == made["edit"].version
    assert {edge[end] for edge in told["made_of"] for end in ("made", "of")} == ids
    assert {thing["kind"] for thing in told["things"] if thing["form"] == "artifact"} >= {
        "edit",
        "activations.text.part",
    }
    chart = [*mermaid_lines(graph)]
    assert chart[0] == "flowchart LR"
    drawn = {name for line in chart for name in re.findall(r"^  (n\d+)[\[{]", line)}
    arrows = [re.fullmatch(r'  (n\d+) (?:-- "[^"]*" )?--> (n\d+)', line) for line in chart if "-->" in line]
    assert {name for arrow in arrows for name in arrow.groups()} == drawn
    parts = sum(thing["kind"].endswith(".part") for thing in told["things"] if thing["form"] == "artifact")
    assert len(drawn) == len(ids) - parts


def test_many_shards_are_one_box_and_names_steer_no_diagram(filled):
    large, _ = filled
    large.shards = LargeStore(large.root).shards[:20]
    large.shards[3] = large.shards[3].model_copy(update={"location": '/x/"];click\n<b>.tar'})
    made = large.run("more", {"batch_size": 64}, 0.9)
    graph = graph_of(large.root, made["layer_scores.text"])
    chart = "\n".join(mermaid_lines(graph))
    assert "20 shards, 000000.tar" in chart
    large.shards = large.shards[2:5]
    chart = "\n".join(mermaid_lines(graph_of(large.root, large.run("few", {"batch_size": 1}, 0.9)["scores"])))
    assert '"];click' not in chart
    assert "<b>" not in chart
    assert "#34;#93;#59;click" in chart


def test_of_a_run_all_that_it_made_is_told(filled):
    large, made = filled
    (record,) = run_records(large.root)
    graph = graph_of(large.root, record)
    assert (graph.root.form, graph.root.id) == ("run", record["id"])
    assert [(role, thing.id) for role, thing in graph.below(record["id"])] == [
        (role, ref.version) for role, ref in made.items()
    ]
    assert next(text_lines(graph)).startswith(f"run: small {record['id']}")


def test_what_is_missing_or_broken_is_told_in_its_place(filled):
    large, made = filled
    shutil.rmtree(large.root / "scores" / made["scores"].version)
    (large.root / "edit" / made["edit"].version / "manifest.json").write_text("{")
    graph = graph_of(large.root, made["model"])
    assert len(graph.problems) == 1
    assert "is not a manifest" in graph.problems[0]
    assert any("edit " in line and "BROKEN: " in line for line in text_lines(graph))


def test_artifacts_whose_files_were_dropped_are_told_so(filled):
    large, made = filled
    (large.root / "scores" / made["scores"].version / "pruned.json").write_text("{}")
    lines = [line for line in text_lines(graph_of(large.root, made["model"])) if "(files dropped)" in line]
    assert [line.split()[1] for line in lines] == ["scores"]
    pruned = open_index(large.root).table("pruned").to_pylist()
    assert [row["version"] for row in pruned if row["pruned"]] == [made["scores"].version]


def test_a_lineage_that_goes_round_in_a_circle_comes_to_an_end(filled):
    large, made = filled
    path = large.root / "scores" / made["scores"].version / "manifest.json"
    text = path.read_text().replace(made["layer_scores.text"].version, made["model"].version)
    path.write_text(text.replace('"kind":"layer_scores.text"', '"kind":"model"'))
    graph = graph_of(large.root, made["model"])
    assert len([*text_lines(graph)]) < 40


def test_what_comes_of_what_stands_behind_it_and_all_of_it_is_found(filled):
    large, made = filled
    large.run("other", {"batch_size": 64}, 0.8)
    edges = Edges(open_index(large.root))
    found = edges.downstream([made["layer_scores.text"]])
    told = {item["version"]: behind(large.root, item["version"]) for item in manifests(large.root)}
    expected = {version for version, inputs in told.items() if made["layer_scores.text"].version in inputs}
    # Embeddings of the edited model name it by the digest of its encoder alone.
    embeddings = {ref.version for ref in found if ref.kind.startswith("embeddings")}
    assert {ref.version for ref in found} - embeddings == expected
    assert {version for version in told if text_sha256("small") in told[version]} - expected == embeddings
    order = [ref.version for ref in found]
    for position, version in enumerate(order):
        assert not {item.version for item in edges.inputs(version)} & {*order[position + 1 :]}
    assert edges.downstream([ArtifactRef(kind="edit", version="0" * 64)])[0].version == "0" * 64


def test_what_was_observed_is_told_apart_from_what_a_recipe_makes(tmp_path):
    store = Store(tmp_path / "store")
    for kind, settings in (("judgements.llama", {"observation": {"answers": "0"}}), ("judgements.words", {})):
        recipe = Recipe(kind=kind, settings=settings, code="0" * 64)
        made = store.materialise(recipe, lambda build: (build.folder / "x").write_text("x"), RunContext())
        (line,) = text_lines(graph_of(store.root, made.ref))
        assert line.endswith("(an observation)") == (kind == "judgements.llama")


def test_weights_of_two_models_lie_each_where_its_own_artifact_says(tmp_path):
    """An artifact whose files were taken from another model's stands above that model, too."""
    store, made, above = Store(tmp_path / "store"), [], {}
    for name in ("clip", "llava"):
        weights = tmp_path / f"{name}.safetensors"
        weights.write_bytes(name.encode())
        digest = text_sha256(name)
        context = RunContext(models=(ModelInUse(frozenset({digest}), digest, (weights,)),))
        recipe = Recipe(kind="activations.vision.part", settings={}, inputs={**above, "encoder": digest}, code="c0de")
        made.append(store.materialise(recipe, lambda build: (build.folder / "rows").write_text("x"), context).ref)
        above = {"taken_from": made[-1]}
    found = {thing.location for thing in graph_of(store.root, made[-1]).things.values() if thing.form == "weights"}
    assert found == {str(tmp_path / "clip.safetensors"), str(tmp_path / "llava.safetensors")}
