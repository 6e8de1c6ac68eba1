"""What a person may write for an artifact, and what is said where that names none or several."""

import json
import re

import pytest

from data_specs.errors import ArtifactError, SpecError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.references import find_artifact
from tasks.lineage.store import Store
from tasks.lineage.tags import set_tag
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()
ID = "20260102T030405-0a1b2c3d"


@pytest.fixture
def made(tmp_path):
    store = Store(tmp_path / "store")
    refs = {
        kind: store.materialise(recipe_of(kind=kind), write_two, CONTEXT).ref for kind in ("edit", "model", "scores")
    }
    write_record(store, ID, "small", {kind: ref.version for kind, ref in refs.items()})
    return store, refs


def write_record(store, id, name, artifacts, status="completed"):
    (store.root / ".runs").mkdir(exist_ok=True)
    day = f"{id[:4]}-{id[4:6]}-{id[6:8]}T{id[9:11]}:{id[11:13]}:{id[13:15]}.000+00:00"
    content = {"id": id, "status": status, "started": day, "settings": {"name": name}, "artifacts": artifacts}
    (store.root / ".runs" / f"{id}.json").write_text(json.dumps(content))


def test_versions_tags_runs_and_ids_and_their_beginnings_name_an_artifact(made):
    store, refs = made
    set_tag(store, "prod", refs["edit"], "small:edit")
    for named, kind in {
        refs["scores"].version: "scores",
        refs["scores"].version[:9]: "scores",
        "prod": "edit",
        "@prod": "edit",
        "small": "model",
        "sma": "model",
        "small:scores": "scores",
        ID: "model",
        f"{ID}:edit": "edit",
        ID[:12]: "model",
    }.items():
        assert find_artifact(store, named) == refs[kind], named
    assert find_artifact(store, "small", ("scores", "model")) == refs["scores"]


def test_an_id_names_what_that_run_made_and_a_name_what_the_newest_made(made):
    store, refs = made
    newer = store.materialise(recipe_of(kind="model", code="c0df"), write_two, CONTEXT).ref
    write_record(store, "20270101T000000-00000000", "small", {"model": newer.version})
    write_record(store, "20280101T000000-00000000", "small", {"model": refs["model"].version}, "failed")
    assert find_artifact(store, "small") == newer
    assert find_artifact(store, ID) == find_artifact(store, "20280101T000000-00000000") == refs["model"]


def test_a_tag_and_a_run_of_one_name_are_told_apart_by_how_they_are_written(made):
    store, refs = made
    set_tag(store, "prod", refs["edit"], "x")
    write_record(store, "20270101T000000-00000000", "prod", {"model": refs["model"].version})
    with pytest.raises(ArtifactError, match=r"'prod' names 2: tag prod, run prod; .*@NAME for a tag"):
        find_artifact(store, "prod")
    assert find_artifact(store, "@prod") == refs["edit"]
    assert find_artifact(store, "prod:model") == refs["model"]
    # The whole name of a tag counts for more than the beginning of a run's.
    set_tag(store, "sm", refs["scores"], "x")
    assert find_artifact(store, "sm") == refs["scores"]


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("@prad", "there is no tag 'prad' in .*did you mean prod; see `uwm tag --list`"),
        ("prad", "names neither an artifact nor a run in .*did you mean prod"),
        ("small:edits", "made no 'edits', only edit, model, scores; did you mean edit"),
        ("20", "names neither|names [2-9]"),
        ("", "names neither"),
        ("@", "there is no tag ''"),
        ("x\x1b[2J\n", r"'x\\x1b\[2J\\n' names neither"),
    ],
)
def test_what_names_nothing_says_what_was_perhaps_meant(made, named, told):
    store, refs = made
    set_tag(store, "prod", refs["edit"], "x")
    with pytest.raises(ArtifactError, match=told):
        find_artifact(store, named)


def test_a_tag_of_an_artifact_that_is_gone_says_so(made):
    store, refs = made
    set_tag(store, "prod", refs["edit"], "x")
    store.path(refs["edit"]).rename(store.root / ".gone")
    with pytest.raises(
        ArtifactError, match=re.escape(f"tag prod names edit {refs['edit'].version[:16]}, which is no longer")
    ):
        find_artifact(store, "prod")


def test_a_path_is_found_by_content_where_that_can_be_and_names_come_first(made, tmp_path, monkeypatch):
    store, refs = made
    asked = []

    def by_content(_store, path):
        asked.append(path.name)
        return [refs["edit"], refs["model"]] if path.name == "weights.safetensors" else []

    monkeypatch.chdir(tmp_path)
    for name in ("weights.safetensors", "small", "notes"):
        (tmp_path / name).write_text("")
    assert find_artifact(store, "small", by_content=by_content) == refs["model"]
    assert asked == []
    assert find_artifact(store, "./weights.safetensors", by_content=by_content) == refs["model"]
    assert find_artifact(store, "weights.safetensors", ("edit",), by_content=by_content) == refs["edit"]
    for named in ("./small", "notes"):
        with pytest.raises(ArtifactError, match=r"no artifact in .* holds the content of"):
            find_artifact(store, named, by_content=by_content)
    with pytest.raises(SpecError, match="'a/nowhere' is not there"):
        find_artifact(store, "a/nowhere", by_content=by_content)


def test_two_artifacts_of_one_kind_and_content_are_not_guessed_between(made, tmp_path):
    store, refs = made
    other = store.materialise(recipe_of(kind="model", code="c0df"), write_two, CONTEXT).ref
    (tmp_path / "a").write_text("")
    with pytest.raises(
        ArtifactError, match=f"is the content of 2 artifacts: model {refs['model'].version[:16]}, model"
    ):
        find_artifact(store, str(tmp_path / "a"), by_content=lambda *_: [refs["model"], other])
