import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_specs.errors import DataError
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.reporting import gallery
from tasks.reporting.gallery import PairMember, best_candidates, pick, retrieve
from tests.cases.report_files import random_unit


def naive_best(query, candidates, k):
    """Positions and cosines of the k best, by sorting all of them."""
    cosines = [math.fsum(float(a) * float(b) for a, b in zip(query, row, strict=True)) for row in candidates]
    order = sorted(range(len(cosines)), key=lambda position: (-cosines[position], position))[:k]
    return order, [cosines[position] for position in order]


def embedded(n, seed):
    members = ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe")
    tensors = {name: random_unit(n, 10 * seed + number) for number, name in enumerate(members)}
    return EmbeddedPairs([f"shard/{row}" for row in range(n)], ["hate"] * n, **tensors)


@pytest.mark.parametrize("tile", [3, 16, 4096])
@pytest.mark.parametrize("k", [1, 5])
def test_retrieved_items_equal_a_naive_full_sort(monkeypatch, tile, k):
    monkeypatch.setattr(gallery, "_TILE", tile)
    queries, candidates = random_unit(6, 1), random_unit(40, 2)
    # Copies: equal similarities, before and behind a tile's edge and in the other block.
    candidates[[7, 21, 33]] = candidates[2].clone()
    queries[0] = candidates[2]
    values, positions = best_candidates(queries, [candidates[:25], candidates[25:]], k)
    for row, query in enumerate(queries):
        order, cosines = naive_best(query, candidates, k)
        assert positions[row].tolist() == order
        assert np.allclose(values[row].numpy(), cosines, rtol=0, atol=1e-11)
    if k == 5:
        assert positions[0].tolist()[:4] == [2, 7, 21, 33]


def test_an_encoder_that_answers_the_same_to_all_retrieves_the_first_candidates():
    same = random_unit(1, 0).repeat(90, 1)
    _, positions = best_candidates(same[:7], [same[:45], same[45:]], 5)
    assert positions.tolist() == [[0, 1, 2, 3, 4]] * 7


def test_fewer_candidates_than_asked_for_are_all_given():
    values, positions = best_candidates(random_unit(2, 0), [random_unit(1, 1), random_unit(1, 2)], 5)
    assert values.shape == positions.shape == (2, 2)
    assert sorted(positions[0].tolist()) == [0, 1]


def test_an_embedding_that_is_not_finite_is_refused():
    broken = random_unit(4, 1)
    broken[2, 3] = torch.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        best_candidates(random_unit(2, 0), [broken], 5)


@pytest.mark.slow
def test_shown_answers_and_counts_of_changes_equal_the_naive_ones():
    n = 30
    models = {"original": embedded(n, 1), "edited": embedded(n, 2)}
    # An edit that changes some answers only.
    models["edited"] = replace(
        models["original"],
        text_unsafe=torch.cat([models["original"].text_unsafe[:20], models["edited"].text_unsafe[20:]]),
    )
    found = retrieve(models.items(), 4, 6)
    assert found.models == ["original", "edited"]
    assert [(kind.encoder, kind.content) for kind in found.kinds] == [
        ("text", "safe"), ("text", "unsafe"), ("vision", "safe"), ("vision", "unsafe"),
    ]  # fmt: skip
    for kind in found.kinds:
        other = "vision" if kind.encoder == "text" else "text"
        firsts = {}
        for name, pairs in models.items():
            queries = getattr(pairs, f"{kind.encoder}_{kind.content}")
            candidates = torch.cat([getattr(pairs, f"{other}_safe"), getattr(pairs, f"{other}_unsafe")])
            firsts[name] = [naive_best(query, candidates, 1)[0][0] for query in queries]
            for query in kind.queries:
                order, cosines = naive_best(queries[query.member.pair], candidates, 5)
                expected = [PairMember(at % n, other, "safe" if at < n else "unsafe") for at in order]
                assert [member for member, _ in query.answers[name]] == expected
                assert np.allclose([value for _, value in query.answers[name]], cosines, rtol=0, atol=1e-11)
        changed = [row for row in range(n) if firsts["original"][row] != firsts["edited"][row]]
        assert (kind.n_examined, kind.n_changed) == (n, len(changed))
        shown = {query.member.pair: query.picked for query in kind.queries}
        assert len(shown) == 6
        assert all(pair in changed for pair, why in shown.items() if why == "changed")
        assert list(shown.values()).count("changed") <= (3 if kind.content == "unsafe" else 0)
        if (kind.encoder, kind.content) == ("text", "unsafe"):
            assert 0 < len(changed) <= 10
            assert list(shown.values()).count("changed") == 3


def test_the_seed_decides_which_queries_are_shown():
    def shown(seed):
        pairs = embedded(40, 1)
        return [[q.member.pair for q in kind.queries] for kind in retrieve([("original", pairs)], seed, 3).kinds]

    assert shown(1) == shown(1)
    assert shown(1) != shown(2)


def test_fewer_pairs_than_queries_are_all_shown():
    found = retrieve([("original", embedded(2, 0))], 0, 3)
    assert all(sorted(query.member.pair for query in kind.queries) == [0, 1] for kind in found.kinds)
    assert all(len(query.answers["original"]) == 4 for kind in found.kinds for query in kind.queries)


def test_models_that_were_measured_on_different_pairs_are_refused():
    with pytest.raises(DataError, match=r"'original' and 'edited' were measured on different pairs \(5 and 4"):
        retrieve([("original", embedded(5, 0)), ("edited", embedded(4, 0))], 0, 3)
    with pytest.raises(DataError, match="at least one model, got none"):
        retrieve([], 0, 3)


@given(changed=st.lists(st.booleans(), min_size=1, max_size=30), n=st.integers(1, 9), prefer=st.booleans())
def test_a_pick_is_half_random_and_half_of_what_changed(changed, n, prefer):
    picked = pick(changed, n, prefer_changed=prefer)
    rows = [row for row, _ in picked]
    assert len(rows) == len(set(rows)) == min(n, len(changed))
    because = [row for row, why in picked if why == "changed"]
    assert all(changed[row] for row in because)
    n_random = len(rows) // 2 if prefer else len(rows)
    # The random share is the head of the random order, whatever has changed.
    assert rows[:n_random] == list(range(n_random))
    later = [row for row in range(n_random, len(changed)) if changed[row]]
    assert because == (later[: len(rows) - n_random] if prefer else [])
