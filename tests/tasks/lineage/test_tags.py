"""Tags: one artifact each, moved and removed with a history that no process loses."""

import json
import os
import subprocess
import sys

import pytest

from data_specs.errors import ArtifactError, SpecError
from tasks.lineage.circumstances import user_name
from tasks.lineage.tags import current_tags, remove_tag, set_tag, tag_history
from tests.cases.places import ROOT
from tests.cases.recipes import store_of_edit_and_model

TAGGER = """
import sys
from tasks.lineage.store import Store
from tasks.lineage.tags import set_tag
store = Store(sys.argv[1])
for ref in store.refs() * 10:
    set_tag(store, sys.argv[2], ref, ref.version[:8])
"""


@pytest.fixture
def store(tmp_path):
    return store_of_edit_and_model(tmp_path / "store")


def test_a_tag_names_one_artifact_and_is_moved_and_removed_with_a_history(store):
    edit, model = store.refs()
    set_tag(store, "prod", edit, "small:edit")
    set_tag(store, "other", model, model.version)
    set_tag(store, "prod", model, "small")
    assert current_tags(store.root) == {"other": model, "prod": model}
    remove_tag(store, "prod")
    assert current_tags(store.root) == {"other": model}
    told = [(event.before, event.artifact, event.given) for event in tag_history(store.root) if event.name == "prod"]
    assert told == [(None, edit, "small:edit"), (edit, model, "small"), (model, None, None)]
    first = tag_history(store.root)[0]
    assert (first.user, first.host, first.at[:2]) == (user_name(), os.uname().nodename, "20")


@pytest.mark.parametrize(
    "name", ["beef", "0", "CAFE", "1" * 64, "20261130T083511-12", "", "a/b", "a:b", "@a", "a b", "-a"]
)
def test_a_tag_looks_like_no_version_run_or_path(store, name):
    with pytest.raises(SpecError, match="tag"):
        set_tag(store, name, store.refs()[0], "x")
    assert tag_history(store.root) == []


def test_a_tag_is_not_called_as_a_run_and_names_nothing_that_is_not_there(store):
    (store.root / ".runs").mkdir()
    record = {"id": "x", "status": "completed", "started": "2026-01-01T00:00:00+00:00", "settings": {"name": "small"}}
    (store.root / ".runs/x.json").write_text(json.dumps(record))
    with pytest.raises(SpecError, match="'small' is the name of a run"):
        set_tag(store, "small", store.refs()[0], "x")
    with pytest.raises(ArtifactError, match="has no readable"):
        set_tag(store, "prod", store.refs()[0].model_copy(update={"version": "0" * 64}), "x")
    set_tag(store, "prod", store.refs()[0], "x")
    with pytest.raises(ArtifactError, match=r"there is no tag 'prad' .*did you mean prod"):
        remove_tag(store, "prad")


def test_what_a_killed_process_had_begun_is_passed_over_and_hides_no_later_line(store):
    edit, model = store.refs()
    set_tag(store, "prod", edit, "x")
    history = store.root / ".tags.jsonl"
    whole = history.read_bytes()
    for torn in range(1, len(whole)):
        history.write_bytes(whole + whole[:torn].rstrip(b"\n"))
        assert current_tags(store.root) == {"prod": edit}
        set_tag(store, "prod", model, "y")
        assert [event.artifact for event in tag_history(store.root)] == [edit, model]
    history.write_bytes(whole + b"no json\n" + whole)
    with pytest.raises(ArtifactError, match="line 2, is no change of a tag"):
        tag_history(store.root)


@pytest.mark.slow
def test_no_change_of_several_processes_is_lost(store):
    names = ["one", "two", "one"]
    children = [subprocess.Popen([sys.executable, "-c", TAGGER, str(store.root), name], cwd=ROOT) for name in names]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    history = tag_history(store.root)
    assert [sum(event.name == name for event in history) for name in ("one", "two")] == [40, 20]
    for name in ("one", "two"):
        own = [event for event in history if event.name == name]
        assert [event.before for event in own] == [None, *(event.artifact for event in own[:-1])]


def test_a_store_that_may_not_be_written_says_so(store):
    if os.geteuid() == 0:
        (store.root / ".locks").rename(store.root / "locks")
        (store.root / ".locks").write_text("")
    else:
        store.root.chmod(0o500)
    with pytest.raises(ArtifactError, match="cannot write to the store"):
        set_tag(store, "prod", store.refs()[0], "x")
