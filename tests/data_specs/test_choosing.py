"""Which part of a set an id lies in."""

import hashlib

import pytest

from data_specs.choosing import place_of, within


def test_an_id_lies_at_its_hash():
    for name in ("abc/1", "ü/2", ""):
        expected = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64
        assert place_of(name) == expected
    assert 0 <= min(place_of(str(i)) for i in range(1000)) < 0.01
    assert 0.99 < max(place_of(str(i)) for i in range(1000)) < 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.77])
def test_two_spans_part_a_set(share):
    ids = [f"abc/{i}" for i in range(500)]
    first, second = within(ids, (0.0, share)), within(ids, (share, 1.0))
    assert [a != b for a, b in zip(first, second, strict=True)] == [True] * 500
    assert abs(sum(first) / 500 - share) < 0.07
    assert within(ids, (0.0, 1.0)) == [True] * 500
