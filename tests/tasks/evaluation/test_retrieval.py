import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from data_specs.errors import DataError
from data_specs.metrics import RETRIEVALS, recall_name
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.evaluation.retrieval import retrieval_ranks, row_counts, target_ranks
from tasks.evaluation.similarities import similarities
from tests.cases.devices import with_cuda
from tests.cases.evaluations import pair_figures, retrieval

CPU = torch.device("cpu")
MEMBERS = ("text_safe", "text_unsafe", "vision_safe", "vision_unsafe")


def whole_numbers(n, width, seed, *, largest=2):
    """Embeddings whose similarities are exact in float32, so that equal ones are many and truly equal."""
    return torch.randint(-largest, largest + 1, (n, width), generator=torch.Generator().manual_seed(seed)).float()


def naive_ranks(queries, candidates):
    """The full matrix and a stable sort of every row."""
    similarity = queries.double().numpy() @ candidates.double().numpy().T
    order = np.argsort(-similarity, axis=1, kind="stable")
    return [int(np.flatnonzero(row == query)[0]) for query, row in enumerate(order)]


def pairs_of(*members):
    n = len(members[0])
    return EmbeddedPairs([str(i) for i in range(n)], [None] * n, *members)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 4), st.integers(0, 2**31))
def test_ranks_equal_a_stable_sort_of_the_whole_matrix_with_many_ties(n, more, width, seed):
    queries, candidates = whole_numbers(n, width, seed), whole_numbers(n + more, width, seed + 1)
    assert target_ranks(queries, candidates).tolist() == naive_ranks(queries, candidates)


@pytest.mark.parametrize(("n", "m"), [(1500, 1500), (1024, 1100), (1025, 2050), (300, 3100)])
def test_ranks_of_many_candidates_equal_a_stable_sort_of_the_whole_matrix(n, m):
    queries, candidates = whole_numbers(n, 24, n), whole_numbers(m, 24, m + 1)
    assert target_ranks(queries, candidates).tolist() == naive_ranks(queries, candidates)


def naive_metrics(pairs):
    texts, images = torch.cat([pairs.text_safe, pairs.text_unsafe]), torch.cat([pairs.vision_safe, pairs.vision_unsafe])
    found = {}
    for name, queries, candidates in (
        ("Ts-Vs", pairs.text_safe, pairs.vision_safe),
        ("Vs-Ts", pairs.vision_safe, pairs.text_safe),
        ("Tu-Vus", pairs.text_unsafe, images),
        ("Vu-Tus", pairs.vision_unsafe, texts),
    ):
        ranks = naive_ranks(queries, candidates)
        for k in (1, 5, 10, 20):
            found[recall_name(name, k)] = 100 * sum(rank < k for rank in ranks) / len(ranks)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 1024), st.booleans(), st.integers(0, 2**31))
def test_rows_are_counted_as_a_gpu_counts_them(n, m, turned, seed):
    mask = torch.rand(m, n, generator=torch.Generator().manual_seed(seed)) > 0.3
    mask = mask.T if turned else mask.T.contiguous()
    found = row_counts(mask)
    assert found.dtype == torch.int64
    assert found.equal(mask.sum(dim=1))


@with_cuda
@pytest.mark.parametrize(("n", "width"), [(60, 3), (1500, 24), (2500, 512)])
def test_a_gpu_gives_the_same_ranks_with_many_ties(n, width):
    pairs = pairs_of(*(whole_numbers(n, width, seed) for seed in range(4)))
    gpu, cpu = retrieval_ranks(pairs, torch.device("cuda")), retrieval_ranks(pairs, CPU)
    assert all(gpu[name].equal(cpu[name]) for name in RETRIEVALS)


@with_cuda
def test_a_constant_encoder_is_right_only_by_its_place_on_a_gpu():
    one = normalize(torch.randn(1, 33, generator=torch.Generator().manual_seed(0)), dim=1).repeat(1030, 1)
    found = retrieval_ranks(pairs_of(one, one, one, one), torch.device("cuda"))
    assert all(ranks.tolist() == list(range(1030)) for ranks in found.values())


@pytest.mark.parametrize("offset", [1, 3])
def test_embeddings_that_lie_anywhere_in_memory_are_ranked_as_aligned_ones(offset):
    one = normalize(torch.randn(1, 17, generator=torch.Generator().manual_seed(1)), dim=1)
    shifted = torch.empty(1030 * 17 + offset)[offset:].view(1030, 17)
    shifted[:] = one
    assert target_ranks(shifted, shifted).tolist() == list(range(1030))
    assert target_ranks(one.T.contiguous().repeat(1, 1030).T, shifted).tolist() == list(range(1030))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_recalls_of_small_sets_equal_the_definition(n, width, seed):
    pairs = pairs_of(*(whole_numbers(n, width, seed + member) for member in range(4)))
    assert retrieval(pairs) == naive_metrics(pairs)


@pytest.mark.slow
def test_recalls_of_a_large_set_equal_the_definition():
    base = whole_numbers(1100, 12, 0)
    pairs = pairs_of(*(base + whole_numbers(1100, 12, member, largest=1) for member in range(1, 5)))
    found = retrieval(pairs)
    assert found == naive_metrics(pairs)
    assert 0 < found["Vu-Tus"] < found["Ts-Vs@20"] < 100


@pytest.mark.parametrize(("n", "width"), [(1, 5), (7, 3), (7, 33), (60, 512), (1025, 16), (1030, 33)])
def test_a_constant_encoder_is_right_only_by_its_place(n, width):
    one = normalize(torch.randn(1, width, generator=torch.Generator().manual_seed(n)), dim=1)
    other = normalize(torch.randn(1, width, generator=torch.Generator().manual_seed(n + 1)), dim=1)
    constant, text = one.repeat(n, 1), other.repeat(n, 1)
    assert target_ranks(text, constant).tolist() == list(range(n))
    assert target_ranks(constant, torch.cat([constant, constant])).tolist() == list(range(n))
    expected = {
        recall_name(name, k): 100 * min(k, n) / n
        for name in ("Ts-Vs", "Vs-Ts", "Tu-Vus", "Vu-Tus")
        for k in (1, 5, 10, 20)
    }
    assert retrieval(pairs_of(text, text, constant, constant)) == expected


def test_recall_counts_ranks_below_k_in_percent():
    similar = similarities(pairs_of(*[torch.eye(4)] * 4))
    found = pair_figures(similar, dict.fromkeys(RETRIEVALS, torch.tensor([0, 4, 9, 19])))
    assert [found[recall_name("Tu-Vus", k)] for k in (1, 5, 10, 20)] == [25.0, 50.0, 75.0, 100.0]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"queries \[3, 4\] and candidates \[3, 5\] do not fit"):
        target_ranks(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(DataError, match=r"queries \[3, 4\] and candidates \[2, 4\] do not fit"):
        target_ranks(torch.ones(3, 4), torch.ones(2, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("side", "row"), [("query", 2), ("candidate", 1), ("candidate", 6)])
def test_an_embedding_that_is_not_finite_is_refused_wherever_it_stands(side, row, value):
    queries, candidates = whole_numbers(4, 3, 0), whole_numbers(8, 3, 1)
    (queries if side == "query" else candidates)[row, 0] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        target_ranks(queries, candidates)


@pytest.mark.parametrize("member", range(4))
def test_a_nan_in_any_member_of_a_pair_is_refused(member):
    members = [whole_numbers(5, 3, seed) for seed in range(4)]
    members[member][3, 1] = float("nan")
    with pytest.raises(DataError, match="NaN or infinite"):
        retrieval_ranks(pairs_of(*members), CPU)
