"""`uwm tag` sets, shows, moves, removes and lists, and every command takes the name."""

import json

import pytest

from tasks.lineage.store import Store
from tests.cases.command_line import called
from tests.cases.recipes import store_of_edit_and_model

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    return store_of_edit_and_model(tmp_path / "store")


def test_a_tag_is_given_shown_moved_listed_and_removed(store: Store) -> None:
    edit, model = store.refs()
    place = ("--store", str(store.root))
    assert f"there is no tag in {store.root} yet" in called("tag", "--list", *place).stderr
    done = called("tag", "prod", edit.version[:10], *place)
    assert (done.returncode, done.stdout.startswith(f"prod: edit {edit.version[:16]} as {edit.version[:10]}, 20")) == (
        0,
        True,
    )
    moved = called("tag", "prod", model.version, *place, "--json")
    assert json.loads(moved.stdout)["before"] == edit.model_dump()
    assert [line.split(",")[0].split(" as")[0] for line in called("tag", "prod", *place).stdout.splitlines()] == [
        f"prod: model {model.version[:16]}",
        f"prod: edit {edit.version[:16]}",
    ]
    assert called("artifacts", "verify", "prod", *place).stdout == f"model {model.version[:16]}: 2 files as recorded\n"
    assert (
        len(called("tag", "--list", *place).stdout.splitlines()) == len(called("tag", *place).stdout.splitlines()) == 1
    )
    assert called("tag", "prod", "--delete", *place).returncode == 0
    assert called("tag", "--list", "--json", *place).stdout == ""
    assert called("tag", "prod", *place).stdout.startswith("prod: nothing, ")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("prod",), 4, "error: there is no tag 'prod'"),
        (("prod", "zzz"), 4, "error: version 'zzz' names none of the 2 artifacts"),
        (("beef", "model"), 4, "names none"),
        (("--delete",), 2, "--delete takes the name of one tag"),
        (("prod", "--list"), 2, "--list lists all tags"),
        (("prod", "--delete"), 4, "there is no tag 'prod'"),
    ],
)
def test_what_cannot_be_meant_ends_with_one_sentence(store, arguments, status, told) -> None:
    done = called("tag", *arguments, "--store", str(store.root))
    assert (done.returncode, told in done.stderr, done.stdout) == (status, True, "")
