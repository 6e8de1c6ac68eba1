import numpy as np
import pyarrow.parquet as pq
import pytest

from data_specs.errors import DataError
from data_specs.evaluation_files import read_changes_by_certainty, read_changes_by_tag, read_flips, read_margins
from data_specs.metrics import FLIPPING, GROUPS, RETRIEVALS
from data_specs.schemas import CHANGES_BY_CERTAINTY, CHANGES_BY_TAG, FLIPS, MARGINS
from tasks.evaluation.flips import pair_changes
from tasks.evaluation.intervals import Groups, difference_interval, generator, mcnemar_p, share_interval
from tasks.evaluation.task import find_flips
from tasks.lineage.circumstances import RunContext
from tasks.lineage.store import Store
from tests.cases.evaluations import evaluated

pytestmark = pytest.mark.slow

COSINES = ("ss", "su", "us", "uu")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("flips")
    return root, evaluated(root, 0), evaluated(root, 1)


@pytest.fixture(scope="module")
def made(two):
    root, first, second = two
    return find_flips.fn(first.ref, second.ref, 3, Store(root), RunContext())


def columns(made, name):
    return {key: np.array(values) for key, values in pq.read_table(made.path / name).to_pydict().items()}


def answers(made):
    found = columns(made, "outcomes.parquet")
    return {name: found[name] < 1 if name in RETRIEVALS else found[name] for name in FLIPPING}


def margins_of(made):
    """The four margins of each pair in float64, by preference."""
    ss, su, us, uu = (columns(made, "similarities.parquet")[name].astype(np.float32).astype(float) for name in COSINES)
    return {"P_t_s": ss - su, "P_t_u": us - uu, "P_v_s": ss - us, "P_v_u": su - uu}


def test_every_pair_that_flipped_is_listed_with_what_it_was_and_became(two, made):
    _, first, second = two
    before, after = answers(first), answers(second)
    ids = columns(first, "outcomes.parquet")["pair_id"]
    assert list(ids) == list(columns(second, "outcomes.parquet")["pair_id"])
    change = {name: after[name].astype(int) - before[name].astype(int) for name in FLIPPING}
    flipped = np.any([step != 0 for step in change.values()], axis=0)
    rows = read_flips(made.path)
    assert 0 < flipped.sum() < len(ids)
    assert [row["pair_id"] for row in rows] == list(ids[flipped])
    certainty = np.abs(list(margins_of(first).values())).min(axis=0)
    similar = {name: columns(made, "similarities.parquet") for name, made in (("first", first), ("second", second))}
    for row, at in zip(rows, np.flatnonzero(flipped), strict=True):
        assert {name: row[name] for name in FLIPPING} == {name: step[at] for name, step in change.items()}
        assert row["tag"] == columns(first, "outcomes.parquet")["tag"][at]
        assert row["certainty"] == certainty[at]
        for model, found in similar.items():
            assert [row[f"{model}_{name}"] for name in COSINES] == [found[name][at] for name in COSINES]
    assert made.manifest.counts["pairs"] == {"measured": len(ids), "flipped": len(rows)}


def test_thirds_are_the_pairs_in_the_order_of_the_first_models_smallest_margin(two):
    _, first, second = two
    changes = pair_changes(first.path, second.path)
    certainty = np.abs(list(margins_of(first).values())).min(axis=0)
    order = np.argsort(certainty, kind="stable")
    expected = np.empty(len(order), int)
    for third, part in enumerate(np.array_split(order, 3), start=1):
        expected[part] = third
    assert changes.column("third").to_pylist() == expected.tolist()


def assert_row_is_counted(row, before, after):
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    n = len(before)
    groups = Groups(np.array([n]))
    assert (row.n_pairs, row.n_gained, row.n_lost, row.p) == (n, gained, lost, mcnemar_p(gained, lost))
    assert row.first == pytest.approx(100 * before.mean(), abs=1e-12)
    assert row.second == pytest.approx(100 * after.mean(), abs=1e-12)
    assert row.difference == pytest.approx(row.second - row.first, abs=1e-9)
    for low, high, right in ((row.first_low, row.first_high, before), (row.second_low, row.second_high, after)):
        assert (low, high) == share_interval(groups, np.array([int(right.sum())]), generator(3))
    bounds = difference_interval(groups, np.array([gained]), np.array([lost]), generator(3))
    assert (row.difference_low, row.difference_high) == bounds


def test_changes_of_each_third_are_counted_among_its_pairs_alone(two, made):
    _, first, second = two
    before, after = answers(first), answers(second)
    certainty = np.abs(list(margins_of(first).values())).min(axis=0)
    parts = np.array_split(np.argsort(certainty, kind="stable"), 3)
    rows = read_changes_by_certainty(made.path)
    assert [(row.third, row.metric) for row in rows] == [(third, name) for third in (1, 2, 3) for name in GROUPS]
    for row in rows:
        part = parts[row.third - 1]
        assert (row.least, row.most) == (certainty[part].min(), certainty[part].max())
        assert_row_is_counted(row, before[row.metric][part], after[row.metric][part])


def test_changes_of_each_tag_are_counted_among_its_pairs_alone(two, made):
    _, first, second = two
    before, after = answers(first), answers(second)
    tags = columns(first, "outcomes.parquet")["tag"]
    rows = read_changes_by_tag(made.path)
    assert list(dict.fromkeys(row.tag for row in rows)) == ["", "hate", "war", None]
    assert len(rows) == 4 * len(GROUPS)
    for row in rows:
        part = np.array([tag == row.tag for tag in tags])
        assert_row_is_counted(row, before[row.metric][part], after[row.metric][part])


def test_every_margin_falls_into_one_bin_and_zero_is_an_edge(two, made):
    rows = read_margins(made.path)
    for model, evaluation in zip(("first", "second"), two[1:], strict=True):
        for name, values in margins_of(evaluation).items():
            bins = [row for row in rows if (row.model, row.preference) == (model, name)]
            assert sum(row.n for row in bins) == len(values)
            assert sum(row.n for row in bins if row.low >= 0) == (values >= 0).sum()
            assert 0.0 in [row.low for row in bins]
            for row in bins[1:-1]:
                assert row.n == ((values >= row.low) & (values < row.high)).sum()


def test_files_have_their_schemas_and_the_same_bytes_again(two, made, tmp_path):
    _, first, second = two
    schemas = {"flips": FLIPS, "changes_by_tag": CHANGES_BY_TAG, "changes_by_certainty": CHANGES_BY_CERTAINTY}
    for name, schema in {**schemas, "margins": MARGINS}.items():
        assert pq.read_schema(made.path / f"{name}.parquet").equals(schema, check_metadata=True), name
    store = Store(tmp_path / "elsewhere")
    again = [evaluated(store.root, model) for model in (0, 1)]
    assert [item.ref for item in again] == [first.ref, second.ref]
    other = find_flips.fn(first.ref, second.ref, 3, store, RunContext())
    for path in made.path.glob("*.parquet"):
        assert path.read_bytes() == (other.path / path.name).read_bytes()


def test_a_model_compared_with_itself_has_no_flips(two):
    root, first, _ = two
    made = find_flips.fn(first.ref, first.ref, 0, Store(root), RunContext())
    assert read_flips(made.path) == []
    for row in (*read_changes_by_tag(made.path), *read_changes_by_certainty(made.path)):
        assert (row.n_gained, row.n_lost, row.difference, row.p) == (0, 0, 0.0, 1.0)
        assert row.difference_low < 0 < row.difference_high


def test_fewer_pairs_than_thirds_fill_the_first_ones(tmp_path):
    first, second = (evaluated(tmp_path, model, ids=range(2), data_sets={}) for model in (0, 1))
    made = find_flips.fn(first.ref, second.ref, 0, Store(tmp_path), RunContext())
    assert {(row.third, row.n_pairs) for row in read_changes_by_certainty(made.path)} == {(1, 1), (2, 1)}


@pytest.mark.parametrize(("ids", "shared"), [(range(50), 50), (range(10, 70), 50), (range(80), 60)])
def test_models_on_other_pairs_are_refused(two, ids, shared):
    root, first, _ = two
    other = evaluated(root, 2, ids=ids)
    with pytest.raises(DataError, match=rf"not on the same pairs: {shared} in both, \d+ in"):
        find_flips.fn(first.ref, other.ref, 0, Store(root), RunContext())
