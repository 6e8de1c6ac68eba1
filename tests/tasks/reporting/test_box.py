"""What the box on top says where artifacts differ, are gone, or tell what nobody should read."""

from dataclasses import replace

import pytest

from data_specs.manifest import Recipe
from data_specs.wording import last_part
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tasks.reporting.box import describe_subject
from tasks.reporting.settings import settings_lines
from tasks.reporting.sources import ModelName, Reported
from tasks.scoring.folded.task import score_by_sums
from tests.cases.extracting import Extracting
from tests.cases.manifests import forge
from tests.cases.report_cases import inputs
from tests.cases.report_files import put_scores


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def told(reported, store):
    return {row.name: row.lines for row in describe_subject(reported, store)}


def rewrite(store, ref, **changes):
    """Change what the manifest of an artifact says of how it was made."""
    path = store.path(ref) / "manifest.json"
    forge(path, lambda content: content["circumstances"].update(changes))


def test_where_artifacts_were_made_differently_each_way_is_counted(store):
    _, evaluations = inputs(store, ("original", "edited", "control"))
    for name, device, version in (("original", "cpu", "1.0"), ("edited", "cuda:0", "2.0"), ("control", "cpu", "1.0")):
        rewrite(store, evaluations[name], device=device, libraries={"python": "3.11.2", "torch": version})
    rows = told(Reported(evaluations), store)
    assert rows["Device"] == ["cpu (2 of 3 artifacts), cuda:0 (1 of 3 artifacts)"]
    assert rows["Libraries"] == ["python 3.11.2, torch 1.0 and 2.0"]
    assert rows["Precision"] == ["fp32; seed none"]
    newest = rows["Environments"][0].partition(" instead of ")[2].partition(",")[0]
    expected = {
        "1.0": ["1 artifact made with torch 2.0 instead of 1.0, device cuda instead of cpu"],
        "2.0": ["2 artifacts made with torch 1.0 instead of 2.0, device cpu instead of cuda"],
    }
    assert rows["Environments"] == expected[newest]


def test_date_commit_and_command_are_the_newest_artifacts(store):
    _, evaluations = inputs(store, ("original", "edited"))
    old = {
        "ended": "2026-01-01T10:00:00.000+00:00",
        "git_commit": "a" * 40,
        "git_dirty": False,
        "command": ["x", "old"],
    }
    new = {
        "ended": "2026-01-02T09:00:00.500+00:00",
        "git_commit": "b" * 40,
        "git_dirty": True,
        "command": ["/usr/bin/uwm", "run", "a b.yaml"],
    }
    rewrite(store, evaluations["original"], **new)
    rewrite(store, evaluations["edited"], **old)
    rows = told(Reported(evaluations), store)
    assert rows["Date"] == ["2026-01-02 09:00:00 UTC"]
    assert rows["Commit"] == [f"{'b' * 40}, with changes that were not committed"]
    assert rows["Command"] == ["uwm run 'a b.yaml'"]


def test_what_was_not_recorded_is_said_to_be_unknown(store):
    _, evaluations = inputs(store, ("original",))
    for ref in evaluations.values():
        rewrite(store, ref, command=None, git_commit=None)
    rows = told(Reported(evaluations), store)
    assert rows["Command"] == rows["Model"] == ["not recorded"]
    assert rows["Commit"] == ["not run from a git checkout"]
    assert "Edit" not in rows


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("https://me:secret@host/x.tar?sig=secret", "https://…@host/x.tar?…"),
        ("calibration.shards=['s3://key:secret@bucket/a-{0..3}.tar']", "s3://…@bucket/a-{0..3}.tar"),
        ("https://host/a.tar?token=secret", "https://host/a.tar?…"),
        ("data/a?.tar", "data/a?.tar"),
        ("\u202esecre", "\\u202e"),
    ],
)
def test_a_command_tells_no_secret_of_an_address_and_turns_no_text(store, word, shown):
    _, evaluations = inputs(store, ("original",))
    rewrite(store, evaluations["original"], command=["uwm", "run", "--set", word])
    (line,) = told(Reported(evaluations), store)["Command"]
    assert shown in line
    assert "secret" not in line
    assert line.isprintable()


def test_a_model_is_named_without_the_machines_folders(store):
    _, evaluations = inputs(store, ("original",))
    model = ModelName("/home/me/model.json", "https://host/w.safetensors?sig=1", "a" * 64, "b" * 64)
    assert told(Reported(evaluations, model=model), store)["Model"] == [
        "model.json, weights w.safetensors",
        f"SHA-256 of the weights' file {'b' * 64}",
        f"SHA-256 over all tensors {'a' * 64}",
    ]
    hub = replace(model, architecture="hf-hub:laion/CLIP-ViT-B-32", weights=None, file=None)
    assert told(Reported(evaluations, model=hub), store)["Model"][0] == "hf-hub:laion/CLIP-ViT-B-32"
    assert last_part("C:\\models\\a.pt") == "a.pt"
    assert last_part("openai") == "openai"


def test_artifacts_that_are_gone_say_nothing_and_stop_nothing(store):
    _, evaluations = inputs(store, ("original",))
    scores = put_scores(store)
    recipe = Recipe(kind="edit", settings={"text": {"tau": 0.9, "alpha": -1.0}}, inputs={"scores": scores}, code="c")
    edit = store.materialise(recipe, lambda build: None, RunContext()).ref
    (store.path(scores) / "layer_summary.parquet").unlink()
    (store.path(scores) / "manifest.json").unlink()
    store.path(scores).rmdir()
    rows = told(Reported(evaluations, scores, edit=edit), store)
    assert rows["Edit"] == ["text encoder: tau 0.9, alpha -1, sign none; layers not recorded"]
    assert "Calibration data" not in rows


@pytest.mark.slow
@pytest.mark.parametrize("how", ["folded", "by_tag"])
def test_calibration_data_of_folded_statistics_are_told_with_their_tags(how, store, tmp_path):
    case = Extracting(tmp_path / "case", [4, 3])
    calibration = {"shards": ["/nowhere.tar"], "tags": ["hate"]}
    folded = getattr(case, how)(store, calibration=calibration)
    vision = {"layers": "mlp_output", "statistics": "folded", "sums_by_tag": how == "by_tag"}
    config = case.config(text=None, vision=vision, calibration=calibration)
    chosen = config.encoder("vision")
    made = score_by_sums.fn("vision", chosen, folded.ref, case.loaded, config, store, RunContext())
    _, evaluations = inputs(store, ("original",))
    lines = told(Reported(evaluations, scores=made.ref), store)["Calibration data"]
    assert lines == ["vision encoder: 7 pairs of 2 shards, none skipped", "only pairs tagged hate"]


def test_layers_that_differ_in_a_number_are_told_as_one_pattern(store):
    layers = [f"visual.blocks.{i}.mlp.c_proj" for i in (0, 1, 2)] + ["visual.blocks.5.attn.out_proj", "visual.head"]
    scored = Recipe(kind="layer_scores.vision", settings={"scorer": "uwm", "layers": layers}, code="c")
    scores = store.materialise(scored, lambda build: None, RunContext()).ref
    recipe = Recipe(kind="edit", settings={"vision": {"tau": 0.5}}, inputs={"scores": scores}, code="c")
    edit = store.materialise(recipe, lambda build: None, RunContext()).manifest
    (line,) = settings_lines(edit, {}, store)
    assert line.endswith("5 layers: visual.blocks.{0..2}.mlp.c_proj, visual.blocks.5.attn.out_proj, visual.head")
