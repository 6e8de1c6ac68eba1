"""What is not as it was the time before."""

import pytest

from flows.nightly.looking_back.changes import changes_between, shards_changed
from tests.cases.nights import measured

SAME = {"precision": "fp32"}


def test_nothing_changed_between_two_equal_nights():
    assert changes_between(measured(), measured(50.0), SAME, SAME) == []
    found = shards_changed(measured(), measured())
    assert (found.added, found.removed) == ([], [])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"what": "9" * 64}, "model aaaaaaaaaaaa -> 999999999999"),
        ({"baseline": "8" * 64}, "baseline bbbbbbbbbbbb -> 888888888888"),
        ({"code": "7" * 64}, "other code measured it"),
        ({"libraries": {"torch": "2.10.0", "numpy": "2.1.0"}}, "torch 2.9.0 -> 2.10.0"),
        ({"libraries": {"torch": "2.9.0"}}, "numpy 2.1.0 -> none"),
        ({"environments": ["6" * 64]}, "another environment (machine, kind of device or installed files)"),
        ({"shards": ["2" * 64, "1" * 64]}, "shards in another order"),
    ],
)
def test_each_change_is_a_clause(changed, told):
    assert changes_between(measured(), measured(**changed), SAME, SAME) == [told]


def test_a_setting_that_acts_is_told_and_one_that_only_names_somebody_is_not():
    after = {"precision": "bf16", "notify": [{"webhook": "http://x"}]}
    assert changes_between(measured(), measured(), SAME, after) == ["precision 'fp32' -> 'bf16'"]


def test_many_libraries_are_counted():
    libraries = {f"lib{i:02}": "1" for i in range(20)}
    told = changes_between(measured(libraries=libraries), measured(libraries=dict.fromkeys(libraries, "2")), {}, {})
    assert told[-1] == "14 more libraries"
    assert len(told) == 7


def test_what_is_not_on_record_is_no_change():
    unknown = measured(libraries={}, code=None, environments=[], what=None, baseline=None, shards=[])
    assert changes_between(unknown, measured(), SAME, SAME) == []
    assert shards_changed(unknown, measured()).added == []


def test_shards_are_named_by_place_where_the_night_knows_them_and_by_digest_else():
    more = measured(shards=["2" * 64, "3" * 64], shards_added=["s3://drop/new.tar"])
    found = shards_changed(measured(), more)
    assert (found.added, found.removed) == (["s3://drop/new.tar"], ["1" * 64])
    # Two nights' shards at once, because the night between them left no result.
    later = measured(shards=["1" * 64, "2" * 64, "3" * 64, "4" * 64], shards_added=["s3://drop/last.tar"])
    assert shards_changed(measured(), later).added == ["3" * 64, "4" * 64]
