"""Shards that lie elsewhere are fetched while those before them are read: in order, few, within bounds, and given up."""

import threading
from contextlib import closing

import pytest

from data_specs.errors import DataError, SpecError
from tasks.shards.ahead import MOST_AHEAD, Ahead
from tasks.shards.census import take_census
from tasks.shards.elsewhere import shards_in_turn
from tests.cases.file_server import files_served
from tests.cases.processes import PATIENCE_SECONDS, wait_for
from tests.cases.shard_files import pairs, tar_bytes, write_tar

NAMES = "abcdef"
BODIES = {name: tar_bytes(pairs([name])) for name in NAMES}
SIZE = len(BODIES["a"])


@pytest.fixture
def server():
    with files_served(**BODIES) as served:
        yield served


def urls(server, names=NAMES):
    return [f"{server.url}/{name}.tar" for name in names]


def given(server):
    return [path for method, path, _ in server.asked if method == "GET"]


def keys(in_turn):
    return [sample.key for opened in in_turn for sample in opened().samples]


def test_the_next_two_are_fetched_while_one_is_read_and_no_more():
    begun, may_end = [], threading.Semaphore(0)

    def fetch(location):
        begun.append(location)
        may_end.acquire(timeout=PATIENCE_SECONDS)
        return location.upper()

    with Ahead(fetch, NAMES) as ahead:
        for place, name in enumerate(NAMES):
            may_end.release()
            assert ahead.take() == name.upper()
            expected = NAMES[: place + 1 + MOST_AHEAD]
            wait_for(lambda expected=expected: sorted(begun) == [*expected])


def test_shards_come_in_their_order_and_each_is_fetched_once(server, tmp_path):
    local = write_tar(tmp_path / "local.tar", pairs(["local"]))
    locations = [*urls(server, "ab"), str(local), *urls(server, "c"), "pipe:cat " + str(tmp_path / "piped.tar")]
    write_tar(tmp_path / "piped.tar", pairs(["piped"]))
    with closing(shards_in_turn(locations, tmp_path / "copies", None)) as in_turn:
        assert keys(in_turn) == ["a", "b", "local", "c", "piped"]
    assert sorted(given(server)) == ["a.tar", "b.tar", "c.tar"]


def test_an_error_is_told_of_its_own_shard_though_it_came_before_its_turn(server, tmp_path):
    del server.files["b.tar"]
    accounts = take_census(urls(server, "abc"), tmp_path)
    assert [account.error is None for account in accounts] == [True, False, True]
    assert "/b.tar cannot be fetched: the server answered 404" in accounts[1].error
    assert [account.n_samples for account in accounts] == [1, 0, 1]


@pytest.mark.parametrize("n_shards", [1, 2, 4])
def test_copies_stay_within_the_limit_whatever_it_holds(server, tmp_path, n_shards):
    limit, most = n_shards * SIZE, 0
    with closing(shards_in_turn(urls(server), tmp_path, limit)) as in_turn:
        for opened, name in zip(in_turn, NAMES, strict=True):
            assert [sample.key for sample in opened().samples] == [name]
            most = max(most, sum(path.stat().st_size for path in tmp_path.glob("*") if path.is_file()))
    assert SIZE <= most <= limit
    asked = given(server)
    assert {*asked} == {f"{name}.tar" for name in NAMES}
    # The first that finds no room is asked for again in its turn, as are all after it.
    assert len(asked) <= len(NAMES) + 1


def test_a_shard_above_the_limit_ends_the_check_with_both_sizes(server, tmp_path):
    with pytest.raises(SpecError, match=r"/a\.tar has .* or more, and --fetch-limit is"):
        take_census(urls(server), tmp_path, limit_bytes=SIZE - 1)


def test_what_was_fetched_ahead_is_given_up_where_reading_ends_early(server, tmp_path):
    never = threading.Event()
    for name in "bc":
        server.files[f"{name}.tar"].goes_on = never
    with closing(shards_in_turn(urls(server), tmp_path, None)) as in_turn:
        next(in_turn)()
        wait_for(lambda: sorted(given(server)) == ["a.tar", "b.tar", "c.tar"])
    never.set()
    assert [path for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    assert len([*tmp_path.glob("*.tar")]) == 1


def test_a_command_is_not_started_before_its_turn(tmp_path):
    marks = [tmp_path / name for name in "ab"]
    for mark in marks:
        write_tar(mark.with_suffix(".tar"), pairs([mark.name]))
    commands = [f"pipe:touch {mark}; cat {mark}.tar" for mark in marks]
    with closing(shards_in_turn(commands, tmp_path / "copies", None)) as in_turn:
        next(in_turn)()
        assert [mark.exists() for mark in marks] == [True, False]
        next(in_turn)()
        assert [mark.exists() for mark in marks] == [True, True]


def test_an_error_of_a_shard_that_is_behind_others_does_not_come_before_them(server, tmp_path):
    del server.files["b.tar"]
    with closing(shards_in_turn(urls(server, "ab"), tmp_path, None)) as in_turn:
        assert [sample.key for sample in next(in_turn)().samples] == ["a"]
        with pytest.raises(DataError, match=r"/b\.tar cannot be fetched"):
            next(in_turn)()
