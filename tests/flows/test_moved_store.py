"""A store that is moved or copied, in one of the ways that there are, is found as it was, and nothing is made again."""

import os
import shutil

import pytest

from tests.cases.small_run import artifacts, completed, file_digests, write_run

pytestmark = pytest.mark.slow


def moved(store, place):
    return shutil.move(store, place)


def copied(store, place):
    return shutil.copytree(store, place)


def linked(store, place):
    return shutil.copytree(store, place, copy_function=os.link)


def visible_alone(store, place):
    """Artifacts, without records, log and locks."""
    return shutil.copytree(store, place, ignore=shutil.ignore_patterns(".*"))


@pytest.fixture(scope="module")
def finished(here, tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved")
    return completed(here, "run", write_run(folder, calibration=4, test=4, per_shard=4), folder / "store")


@pytest.mark.parametrize("way", [copied, linked, visible_alone, moved])
def test_all_is_found_in_the_other_place_and_nothing_is_made_again(here, finished, tmp_path, way):
    before = file_digests(finished.store)
    n_artifacts = len(artifacts(finished.store))
    place = way(finished.store, tmp_path / "elsewhere")
    again = completed(here, "run", finished.config, place)
    assert again.result["computed"] == 0
    assert len(artifacts(place)) == n_artifacts
    assert file_digests(place) == before
    done = here("lineage", "verify", "--all", "--store", str(place))
    assert done.returncode == 0, done.stderr
    if way is not visible_alone:  # a log begins with the first that is made
        assert here("store", "log", "--verify", "--store", str(place)).returncode == 0
