import pytest

from data_specs.errors import ArtifactError, DataError
from tasks.lineage.circumstances import RunContext
from tasks.lineage.digest import recipe_ref
from tasks.lineage.dropping.discarding import discard
from tasks.lineage.listeners import Listener
from tasks.lineage.store import Store
from tests.cases.recipes import recipe_of, write_two

CONTEXT = RunContext(flow_run_id="run")


class Written(Listener):
    """Writes down what it hears, and whether the artifact was there then."""

    def __init__(self):
        self.lines = []

    def started(self, recipe, context):
        self.lines.append(("started", recipe.kind, context.flow_run_id))

    def publishing(self, manifest, folder):
        self.lines.append(("publishing", manifest.recipe.kind, folder.parent.name))
        assert (folder / "manifest.json").is_file()

    def made(self, manifest, folder):
        assert (folder / "manifest.json").is_file()
        self.lines.append(("made", manifest.recipe.kind, folder.parent.name))

    def used(self, manifest, folder):
        self.lines.append(("used", manifest.recipe.kind, folder.parent.name))

    def failed(self, recipe, error):
        self.lines.append(("failed", recipe.kind, f"{type(error).__name__}: {error}"))

    def discarding(self, ref):
        self.lines.append(("discarding", ref.kind, ref.version[:4]))


def heard(root, **options):
    listener = Written()
    return Store(root, listeners=[listener], **options), listener.lines


def test_a_listener_hears_what_is_made_before_and_after_it_is_there(tmp_path):
    store, lines = heard(tmp_path)
    store.materialise(recipe_of(), write_two, CONTEXT)
    assert lines == [
        ("started", "scores", "run"),
        ("publishing", "scores", ".scratch"),
        ("made", "scores", "scores"),
    ]


def test_a_listener_hears_of_what_others_made_at_each_check_and_not_of_the_runs_own(tmp_path):
    store, lines = heard(tmp_path)
    store.materialise(recipe_of(), write_two, CONTEXT)
    lines.clear()
    store.materialise(recipe_of(), write_two, CONTEXT)
    assert lines == []
    other, lines = heard(tmp_path, hash_once=True)
    for _ in range(2):
        other.materialise(recipe_of(), write_two, CONTEXT)
    assert lines == [("used", "scores", "scores")]


def test_a_broken_artifact_is_not_told_as_used(tmp_path):
    made = Store(tmp_path, listeners=[]).materialise(recipe_of(), write_two, CONTEXT)
    (made.path / "a.txt").write_text("other")
    store, lines = heard(tmp_path)
    with pytest.raises(ArtifactError, match="changed"):
        store.ensure(made.ref)
    assert lines == []


def test_a_listener_hears_why_nothing_was_made(tmp_path):
    store, lines = heard(tmp_path)

    def write(_build):
        raise DataError("the shard is cut")

    with pytest.raises(DataError):
        store.materialise(recipe_of(), write, CONTEXT)
    assert lines == [("started", "scores", "run"), ("failed", "scores", "DataError: the shard is cut")]


def test_an_end_by_a_signal_is_told_too(tmp_path):
    store, lines = heard(tmp_path)

    def write(_build):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.materialise(recipe_of(), write, CONTEXT)
    assert lines[-1][:2] == ("failed", "scores")


def test_a_listener_that_refuses_keeps_an_artifact_from_being_there(tmp_path):
    class Refuses(Listener):
        def publishing(self, manifest, folder):
            raise ArtifactError("the log is full")

    store = Store(tmp_path, listeners=[Refuses()])
    with pytest.raises(ArtifactError, match="the log is full"):
        store.materialise(recipe_of(), write_two, CONTEXT)
    assert not store.holds(recipe_ref(recipe_of()))
    # Neither is it locked, nor is what was written in the way.
    assert not Store(tmp_path, listeners=[]).materialise(recipe_of(), write_two, CONTEXT).reused


def test_a_listener_hears_of_an_artifact_before_it_is_discarded(tmp_path):
    store, lines = heard(tmp_path)
    ref = store.materialise(recipe_of(), write_two, CONTEXT).ref
    discard(store, ref)
    discard(store, ref)
    assert lines[3:] == [("discarding", "scores", ref.version[:4])]


def test_all_listeners_are_told_in_order(tmp_path):
    first, second = Written(), Written()
    second.lines = first.lines
    Store(tmp_path, listeners=[first, second]).materialise(recipe_of(), write_two, CONTEXT)
    assert [line[0] for line in first.lines] == [each for each in ("started", "publishing", "made") for _ in range(2)]
