"""Tags stand in the store's log, too: one that is moved behind its back is found."""

import pytest

from tasks.lineage.tags import current_tags, remove_tag, set_tag
from tasks.lineage.trust.log_check import acknowledge, check_log, read_log
from tests.cases.recipes import store_of_edit_and_model


@pytest.fixture
def store(tmp_path):
    return store_of_edit_and_model(tmp_path / "store")


def test_every_move_of_a_tag_is_a_line_of_the_log(store):
    edit, model = store.refs()
    set_tag(store, "prod", edit, "x")
    set_tag(store, "prod", model, "y")
    remove_tag(store, "prod")
    told = [(item.event, item.kind, item.details) for item in read_log(store.root).entries][2:]
    details = {"tag": "prod"}
    assert told == [("tagged", "edit", details), ("tagged", "model", details), ("untagged", None, details)]
    assert check_log(store.root).faults == []


def test_a_tag_that_was_moved_given_or_taken_away_by_other_means_is_found_and_can_be_acknowledged(store):
    edit, model = store.refs()
    history = store.root / ".tags.jsonl"
    set_tag(store, "prod", edit, "x")
    first = history.read_text()
    set_tag(store, "prod", model, "y")
    second = history.read_text()
    history.write_text(first)  # a replay
    label = f"model {model.version[:12]}"
    assert check_log(store.root).faults == [
        f"tag prod names edit {edit.version[:12]}, but entry 4 of the log says {label}"
    ]
    history.write_text(second + first.replace('"prod"', '"forged"'))
    assert check_log(store.root).faults == ["tag forged is not in the log: it was given by other means than `uwm tag`"]
    history.unlink()
    assert check_log(store.root).faults == [f"tag prod names nothing, but entry 4 of the log says {label}"]
    acknowledge(store.root)
    assert (check_log(store.root).faults, current_tags(store.root)) == ([], {})
