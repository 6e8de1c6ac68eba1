"""An evaluation takes the memory of its inputs, the embeddings of the pairs that it counts, and little more."""

import pytest

from tests.cases.evaluation_memory import evaluation_memory, write_pairs

WIDTH = 4096
INPUTS_MB = 4 * 2000 * WIDTH * 4 / 2**20  # of the 2,000 pairs more


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for n_pairs in (500, 2500):
        write_pairs(folder / str(n_pairs), n_pairs, WIDTH)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_memory_over_the_inputs_hardly_grows_with_the_number_of_pairs(stores, share):
    over = {}
    for n_pairs in (500, 2500):
        found = evaluation_memory(stores / str(n_pairs), WIDTH, share=share)
        assert abs(found["n_pairs"] / (n_pairs * share) - 1) < 0.2
        over[n_pairs] = found["over_inputs_mb"]
    assert over[2500] < 500
    assert over[2500] - over[500] < 0.5 * INPUTS_MB  # no copy of them
