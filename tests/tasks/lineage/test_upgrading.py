"""Manifests of older releases are rewritten in today's format; versions, files and what was made of them stay."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_specs.errors import ArtifactError
from flows.commands.store import group
from tasks.lineage.checking.recorded import MANIFESTS, digests_to_record
from tasks.lineage.checking.verification import whole_store
from tasks.lineage.circumstances import RunContext
from tasks.lineage.dropping.pruning import prune
from tasks.lineage.store import Store
from tasks.lineage.trust.log_check import check_log
from tasks.lineage.upgrading import Upgraded, upgrade_manifests
from tests.cases.manifests import forge, to_format_1
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext()


@pytest.fixture
def store(tmp_path):
    """In format 1: scores <- edit; in format 2 above them: model, of the edit, and report, of the model."""
    opened = Store(tmp_path / "store")
    scores = opened.materialise(recipe_of(), write_two, CONTEXT).ref
    edit = opened.materialise(recipe_of(kind="edit", inputs={"scores": scores}), write_two, CONTEXT).ref
    for ref in (scores, edit):
        to_format_1(opened.path(ref) / "manifest.json")
    model = opened.materialise(recipe_of(kind="model", inputs={"edit": edit}), write_two, CONTEXT).ref
    opened.materialise(recipe_of(kind="report", inputs={"model": model}), write_two, CONTEXT)
    return opened


def by_kind(store):
    return {item.ref.kind: item.manifest for item in store.survey().found}


def faults_of(store):
    items, faults = whole_store(store)
    return [*faults, *(fault for item in items for fault in item.faults)]


def test_older_manifests_and_those_above_are_rewritten_and_say_so(store):
    before = by_kind(store)
    assert upgrade_manifests(store) == Upgraded(n_artifacts=4, n_older=2, n_above=2)
    after = by_kind(store)
    assert {kind: item.ref for kind, item in after.items()} == {kind: item.ref for kind, item in before.items()}
    for kind, item in after.items():
        assert item.format == 2
        assert (item.files, item.counts, item.circumstances) == (
            before[kind].files, before[kind].counts, before[kind].circumstances
        )  # fmt: skip
        assert item.upgrade.manifest == before[kind].digest
        assert item.upgrade.format == before[kind].format
    for kind, role, below in (("edit", "scores", "scores"), ("model", "edit", "edit"), ("report", "model", "model")):
        assert after[kind].inputs[role][0].manifest == after[below].digest
    assert faults_of(store) == []
    assert upgrade_manifests(store) == Upgraded(4, 0, 0)
    assert by_kind(store) == after


def test_nothing_is_rewritten_where_something_was_changed(store):
    model = by_kind(store)["model"].ref
    forge(store.path(model) / "manifest.json", lambda content: content["counts"].update(n=1))
    before = by_kind(store)
    with pytest.raises(ArtifactError, match=r"1 faults, the first: model \w+ is not what report \w+ was made of"):
        upgrade_manifests(store)
    (store.path(model) / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match="is not a manifest"):
        upgrade_manifests(store)
    assert by_kind(store)["edit"] == before["edit"]


def test_an_upgrade_that_was_cut_off_is_gone_on_with(store, monkeypatch):
    replace, left = os.replace, [2]

    def cut(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "cut", str(target))
        replace(source, target)

    monkeypatch.setattr("tasks.lineage.upgrading.os.replace", cut)
    with pytest.raises(OSError, match="cut"):
        upgrade_manifests(store)
    monkeypatch.undo()
    assert sorted(item.format for item in by_kind(store).values()) == [2, 2, 2, 2]
    assert upgrade_manifests(store) == Upgraded(4, 0, 2)
    assert faults_of(store) == []
    assert [path for path in store.root.rglob("*.manifest.json") if path.name.startswith(".")] == []


def test_what_was_pruned_stays_so_under_its_new_manifest(store):
    edit = by_kind(store)["edit"].ref
    prune(store, edit, "not needed")
    upgrade_manifests(store)
    assert faults_of(store) == []
    recipe = recipe_of(kind="edit", inputs=store.manifest(edit).recipe.inputs)
    assert store.materialise(recipe, write_two, CONTEXT).manifest == by_kind(store)["edit"]


def test_records_and_the_log_know_what_was_upgraded(store):
    (store.root / ".runs").mkdir()
    record = {MANIFESTS: digests_to_record(by_kind(store).values())}
    (store.root / ".runs" / "20260101T000000-a.json").write_text(json.dumps(record))
    # What is older than the log, as of older releases, is told as found when it begins.
    (store.root / ".log" / "log.jsonl").unlink()
    upgrade_manifests(store)
    assert faults_of(store) == []
    assert check_log(store.root).faults == []
    forge(store.path(by_kind(store)["report"].ref) / "manifest.json", lambda content: content["counts"].update(n=1))
    assert len(faults_of(store)) == 1


def test_the_command_says_how_many(store):
    def upgrade(*options):
        return CliRunner().invoke(group.app, ["upgrade", "--store", str(store.root), *options]).output.splitlines()

    assert upgrade() == [
        "4 artifacts: 2 manifests of an older format rewritten",
        "2 made of these name them by their new digests; sign again what was signed",
    ]
    assert json.loads(upgrade("--json")[0]) == {"n_artifacts": 4, "n_older": 0, "n_above": 0}
    assert Path(store.root / ".log").is_dir()
