import pytest

from data_specs.evaluation_files import read_flips
from tasks.lineage.store import Store
from tasks.reporting.flip_gallery import pick_flips
from tests.cases.report_cases import flipped


def rows(*ways):
    return [{"pair_id": f"d/{at}", "tag": None, "GS": way} for at, way in enumerate(ways)]


def test_pairs_that_lost_and_gained_gs_come_by_turns_and_before_the_others():
    flips = rows(0, 1, -1, 0, 1, 1, -1, 0)
    picked = pick_flips(flips, 0, 100)
    assert [row["GS"] for row in picked] == [-1, 1, -1, 1, 1, 0, 0, 0]
    assert sorted(row["pair_id"] for row in picked) == sorted(row["pair_id"] for row in flips)
    assert pick_flips(flips, 0, 3) == picked[:3]
    assert pick_flips([], 0, 3) == []


def test_every_pair_is_as_likely_as_another_and_a_seed_draws_the_same_again():
    flips = rows(*[0] * 10)
    first = [pick_flips(flips, seed, 1)[0]["pair_id"] for seed in range(500)]
    assert first == [pick_flips(flips, seed, 1)[0]["pair_id"] for seed in range(500)]
    # Of 500 draws each of ten is expected 50 times, with a standard deviation of 6.7.
    assert all(20 < first.count(f"d/{at}") < 80 for at in range(10))


@pytest.mark.slow
def test_some_pairs_and_columns_are_read_alone(tmp_path):
    store = Store(tmp_path / "store")
    flips, _ = flipped(store, tmp_path)
    whole = read_flips(store.path(flips))
    assert len(whole) > 3
    wanted = [whole[2], whole[0]]
    assert read_flips(store.path(flips), pairs=[row["pair_id"] for row in wanted]) == [whole[0], whole[2]]
    assert read_flips(store.path(flips), ("GS", "tag")) == [{"GS": row["GS"], "tag": row["tag"]} for row in whole]
    assert read_flips(store.path(flips), pairs=[]) == []
