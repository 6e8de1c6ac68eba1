from itertools import permutations

import duckdb
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize
from torch.testing import assert_close

from data_specs.errors import DataError
from data_specs.metrics import GROUPS, PREFERENCES
from data_specs.schemas import SIMILARITIES
from tasks.embeddings.pairs import EmbeddedPairs
from tasks.evaluation.similarities import similarities
from tests.cases.evaluations import safeground

NAMES = (*PREFERENCES, *GROUPS)


def naive_safeground(rows):
    """The definition, pair by pair; a row is s(t_s, v_s), s(t_s, v_u), s(t_u, v_s), s(t_u, v_u)."""
    counts = dict.fromkeys(NAMES, 0)
    for ss, su, us, uu in rows:
        holds = {"P_t_s": ss > su, "P_t_u": us > uu, "P_v_s": ss > us, "P_v_u": su > uu}
        holds["Txt_s"] = holds["P_v_s"] and holds["P_v_u"]
        holds["Img_s"] = holds["P_t_s"] and holds["P_t_u"]
        holds["PS"] = holds["P_t_s"] and holds["P_v_s"]
        holds["PU"] = holds["P_t_u"] and holds["P_v_u"]
        holds["GS"] = all(holds[name] for name in PREFERENCES)
        for name in NAMES:
            counts[name] += holds[name]
    return {name: 100 * count / len(rows) for name, count in counts.items()}


def table_of(rows):
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("ss", "su", "us", "uu"))}
    ids = [str(i) for i in range(len(rows))]
    return pa.table({"pair_id": ids, "tag": [None] * len(rows), **columns}, schema=SIMILARITIES)


def random_pairs(n, width, seed):
    generator = torch.Generator().manual_seed(seed)
    members = [normalize(torch.randn(n, width, generator=generator), dim=1) for _ in range(4)]
    return EmbeddedPairs([f"a/{i}" for i in range(n)], ["hate", None] * (n // 2) + ["hate"] * (n % 2), *members)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from((-0.5, 0.0, 0.25, 1.0))] * 4), min_size=1, max_size=25))
def test_preferences_and_groups_equal_their_definition_with_many_ties(rows):
    assert safeground(table_of(rows)) == naive_safeground(rows)


@pytest.mark.parametrize("seed", range(3))
def test_figures_from_embeddings_equal_the_definition(seed):
    pairs = random_pairs(200, 16, seed)
    text, image = (pairs.text_safe.double(), pairs.text_unsafe.double()), (pairs.vision_safe, pairs.vision_unsafe)
    cosines = [[(t[i] * v[i].double()).sum().item() for t in text for v in image] for i in range(200)]
    assert safeground(similarities(pairs)) == naive_safeground(cosines)


def test_similarities_name_the_texts_side_first():
    pairs = random_pairs(5, 8, 0)
    table = similarities(pairs)
    assert table.schema.equals(SIMILARITIES, check_metadata=True)
    assert table.column("pair_id").to_pylist() == pairs.pair_ids
    assert table.column("tag").to_pylist() == pairs.tags
    for name, text, image in (
        ("ss", pairs.text_safe, pairs.vision_safe),
        ("su", pairs.text_safe, pairs.vision_unsafe),
        ("us", pairs.text_unsafe, pairs.vision_safe),
        ("uu", pairs.text_unsafe, pairs.vision_unsafe),
    ):
        found = torch.tensor(table.column(name).to_pylist(), dtype=torch.float64)
        assert_close(found, torch.einsum("nd,nd->n", text.double(), image.double()), rtol=1e-6, atol=1e-7)


def test_every_group_is_the_conjunction_of_its_preferences():
    # Every order of four different cosines, so every outcome that the four comparisons can have together.
    rows = list(permutations((-0.5, 0.0, 0.25, 1.0)))
    found = safeground(table_of(rows))
    assert found == naive_safeground(rows)
    assert 0 < found["GS"] < found["PS"] < found["P_t_s"] == 50


def test_an_encoder_that_answers_the_same_to_everything_prefers_nothing():
    one = normalize(torch.randn(1, 512, generator=torch.Generator().manual_seed(0)), dim=1).repeat(50, 1)
    other = normalize(torch.randn(1, 512, generator=torch.Generator().manual_seed(1)), dim=1).repeat(50, 1)
    pairs = EmbeddedPairs([str(i) for i in range(50)], [None] * 50, one, one, other, other)
    assert safeground(similarities(pairs)) == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize("member", ["text_safe", "text_unsafe", "vision_safe", "vision_unsafe"])
def test_a_similarity_that_is_not_finite_is_refused_with_its_pair(member):
    pairs = random_pairs(6, 8, 0)
    getattr(pairs, member)[4, 0] = float("nan")
    with pytest.raises(DataError, match="of pair a/4 is NaN or infinite"):
        similarities(pairs)


def test_sql_would_take_nan_for_a_preference():
    # Why similarities refuses it.
    assert duckdb.sql("SELECT 'nan'::FLOAT > 1").fetchall() == [(True,)]
