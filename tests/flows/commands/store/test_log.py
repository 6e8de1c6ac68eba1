"""`uwm store log`: what happened, its head, and what was done past it."""

import json
import shutil

import pytest

from tests.cases.logs import log_lines, store_of
from tests.cases.small_run import uwm

pytestmark = pytest.mark.slow


def log_of(root, *options):
    return uwm("store", "log", "--store", str(root), *options)


def test_the_log_is_shown_and_its_head_is_the_hash_of_its_last_line(tmp_path):
    store_of(tmp_path)
    shown = log_of(tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[2] for line in shown.stdout.splitlines()] == ["made"] * 3
    as_json = [json.loads(line) for line in log_of(tmp_path, "--json").stdout.splitlines()]
    assert [entry["number"] for entry in as_json] == [1, 2, 3]
    assert (
        log_of(tmp_path, "--head").stdout.strip() == as_json[-1]["hash"] == json.loads(log_lines(tmp_path)[-1])["hash"]
    )


def test_a_store_is_compared_with_a_head_that_was_noted_and_a_deletion_ends_with_the_stores_status(tmp_path):
    store = store_of(tmp_path)
    head = log_of(tmp_path, "--head").stdout.strip()
    well = log_of(tmp_path, "--expect", head)
    assert (well.returncode, well.stdout.strip()) == (0, f"3 entries as recorded; head {head}")
    for ref in store.refs()[:2]:
        shutil.rmtree(store.path(ref))
    told = log_of(tmp_path, "--verify")
    assert told.returncode == 4
    assert "2 faults found by the log" in told.stderr
    assert told.stderr.count("is gone") == 2
    as_json = log_of(tmp_path, "--expect", "0" * 64, "--json")
    assert as_json.returncode == 4
    assert len(json.loads(as_json.stdout)["faults"]) == 3
    assert log_of(tmp_path, "--acknowledge").returncode == 4
    assert log_of(tmp_path, "--verify").returncode == 0


def test_what_is_no_head_and_a_store_without_a_log_are_one_clear_line(tmp_path):
    assert log_of(tmp_path, "--expect", "abc").returncode == 2
    none = log_of(tmp_path, "--head")
    assert none.returncode == 4
    assert "there is no log" in none.stderr
    assert log_of(tmp_path, "--verify").returncode == 0
