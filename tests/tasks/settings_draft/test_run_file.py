"""Which shards calibrate and which measure, and how their names are written."""

from pathlib import Path

import pytest

from data_specs.errors import DataError
from tasks.settings_draft.division import split_sets
from tasks.settings_draft.found_sets import shard_sets
from tasks.settings_draft.run_file import patterns_of
from tasks.shards.location import expand_locations
from tests.cases.shard_files import pairs, write_tar


def sets_of(folder: Path, names: list[str]):
    for number, name in enumerate(names):
        write_tar(folder / name, pairs([f"k{number}"], seed=number))
    return shard_sets([str(folder / name) for name in sorted(names)], folder)


@pytest.mark.parametrize("n", [2, 4, 5, 11])
def test_of_one_set_no_shard_is_on_both_sides_and_none_is_lost(tmp_path, n):
    names = [f"all-{number:03d}.tar" for number in range(n)]
    calibration, evaluation = split_sets(sets_of(tmp_path, names))
    sides = [{Path(shard.location).name for shard in side} for side in (calibration, evaluation)]
    assert sides[0] & sides[1] == set()
    assert sides[0] | sides[1] == set(names)
    assert all(sides)


def test_one_shard_cannot_be_both(tmp_path):
    with pytest.raises(DataError, match="must not measure it"):
        split_sets(sets_of(tmp_path, ["all-0.tar"]))


def test_patterns_expand_to_just_these_shards(tmp_path):
    names = [f"c-{number:03d}.tar" for number in (0, 1, 2, 7, 9, 10)]
    (found,) = sets_of(tmp_path, names)
    patterns = [str(tmp_path / pattern) for pattern in patterns_of(found.shards, tmp_path)]
    assert [Path(item).name for item in expand_locations(patterns)] == names
    assert len(patterns) < len(names)
