"""The part of pairs and images that an evaluation counts."""

import hashlib

import pytest
import torch

from data_specs.choosing import place_of, within
from data_specs.errors import DataError
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.evaluation.counted import pairs_within


def pairs(n):
    members = torch.randn(4, n, 3)
    return EmbeddedPairs([f"abc/{i}" for i in range(n)], [str(i) for i in range(n)], *members)


def test_an_id_lies_at_its_hash():
    for name in ("abc/1", "ü/2", ""):
        expected = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16) / 2**64
        assert place_of(name) == expected
    assert 0 <= min(place_of(str(i)) for i in range(1000)) < 0.01
    assert 0.99 < max(place_of(str(i)) for i in range(1000)) < 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.77])
def test_two_spans_part_the_pairs_in_their_order(share):
    every = pairs(500)
    first, second = pairs_within(every, (0.0, share)), pairs_within(every, (share, 1.0))
    assert abs(len(first.pair_ids) / 500 - share) < 0.07
    chosen = set(first.pair_ids)
    assert chosen & set(second.pair_ids) == set()
    assert len(chosen) + len(second.pair_ids) == 500
    for part in (first, second):
        rows = [every.pair_ids.index(pair) for pair in part.pair_ids]
        assert rows == sorted(rows)
        assert part.tags == [every.tags[row] for row in rows]
        for member in ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe"):
            assert getattr(part, member).equal(getattr(every, member)[rows])


def test_all_pairs_are_the_whole_and_an_empty_part_is_refused():
    every = pairs(3)
    assert pairs_within(every, (0.0, 1.0)) is every
    assert within(every.pair_ids, (0.0, 1.0)) == [True] * 3
    with pytest.raises(DataError, match="evaluation pairs: none of its samples lies in the part from 0 to 1e-09"):
        pairs_within(every, (0.0, 1e-9))
