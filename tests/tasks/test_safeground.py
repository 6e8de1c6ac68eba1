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
from data_specs.schemas import SIMILARITIES, embeddings_schema
from tasks.embeddings.observer import FOLDER, EmbeddingObserver
from tasks.embeddings.pairs import EmbeddedPairs, read_pairs
from tasks.evaluation.similarities import similarities
from tasks.extraction.columns import vector_column
from tasks.extraction.shard_pass import NotFinite
from tests.support import write_statistics
from tests.tasks.evaluations import safeground

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


def test_an_embedding_that_is_not_finite_is_refused_by_its_row():
    values = torch.ones(3, 4)
    values[2, 1] = float("inf")
    with pytest.raises(NotFinite, match="the embedding") as caught:
        EmbeddingObserver(4).rows({}, values)
    assert caught.value.row == 2


def embedding_rows(ids, contents, values):
    columns = [pa.array(ids), pa.array(contents), pa.array(["hate"] * len(ids)), vector_column(values)]
    return pa.RecordBatch.from_arrays(columns, schema=embeddings_schema(values.shape[1]))


def write_embeddings(folder, ids, seed):
    """Two files; returns each embedding by id and side."""
    values = torch.randn(2 * len(ids), 6, generator=torch.Generator().manual_seed(seed))
    rows = embedding_rows([i for i in ids for _ in range(2)], ["safe", "unsafe"] * len(ids), values)
    half = len(ids) // 2 * 2
    write_statistics(folder / FOLDER / "000000.parquet", [rows.slice(0, half)])
    write_statistics(folder / FOLDER / "000001.parquet", [rows.slice(half)])
    return {(i, side): values[2 * n + k] for n, i in enumerate(ids) for k, side in enumerate(("safe", "unsafe"))}


def test_pairs_are_joined_by_identity_in_shard_order_and_only_where_all_four_members_are(tmp_path):
    texts = write_embeddings(tmp_path / "text", [f"a/{i}" for i in (5, 3, 9, 1, 7)], 0)
    images = write_embeddings(tmp_path / "vision", [f"a/{i}" for i in (1, 2, 3, 5, 7, 8)], 1)
    pairs = read_pairs(tmp_path / "text", tmp_path / "vision")
    assert pairs.pair_ids == ["a/5", "a/3", "a/1", "a/7"]
    assert pairs.tags == ["hate"] * 4
    for name, side, source in (
        ("text_safe", "safe", texts),
        ("text_unsafe", "unsafe", texts),
        ("vision_safe", "safe", images),
        ("vision_unsafe", "unsafe", images),
    ):
        assert torch.equal(getattr(pairs, name), torch.stack([source[i, side] for i in pairs.pair_ids]))


def test_embeddings_without_a_common_pair_are_refused(tmp_path):
    write_embeddings(tmp_path / "text", ["a/1", "a/2"], 0)
    write_embeddings(tmp_path / "vision", ["b/1", "b/2"], 1)
    with pytest.raises(DataError, match="no pair has all four members"):
        read_pairs(tmp_path / "text", tmp_path / "vision")


def test_sql_would_take_nan_for_a_preference():
    # Why similarities refuses it.
    assert duckdb.sql("SELECT 'nan'::FLOAT > 1").fetchall() == [(True,)]
