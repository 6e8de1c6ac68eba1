import pyarrow.parquet as pq
import pytest
import torch
from torch.testing import assert_close

from data_specs.errors import DataError
from data_specs.manifest import Recipe
from data_specs.schemas import scores_schema
from tasks.lineage.finished_parts import Parts
from tasks.lineage.store import Build
from tasks.scoring.aggregate import LayerStatistics
from tasks.scoring.layer_scores import aggregate_layer, write_layer_scores
from tasks.scoring.saliency import ChannelStats
from tasks.scoring.scorers.uwm import MeanOfRatios, RatioOfMeans
from tasks.selection.scores_table import read_layer
from tests.cases.statistics import Pairs, random_statistics, random_weight, statistics_rows, write_statistics

CPU = torch.device("cpu")


def joined(parts):
    def one(side):
        stats = [getattr(part, side) for part in parts]
        return ChannelStats(torch.cat([s.norm for s in stats]), torch.cat([s.std for s in stats]))

    return one("safe"), one("unsafe")


WIDE = 4096


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Two files; the first holds several windows and several row groups, the second a part of one."""
    folder = tmp_path_factory.mktemp("wide")
    parts = [Pairs(n, WIDE, seed, prefix=name).write(folder / f"{name}.parquet") for n, seed, name in _WIDE_FILES]
    return folder, parts


_WIDE_FILES = ((280, 0, "a"), (20, 2, "b"))


def test_pairs_come_in_file_order_with_both_sides_as_they_were_written(wide):
    folder, parts = wide
    metadata = pq.read_metadata(folder / "a.parquet")
    assert metadata.num_row_groups == 3
    batches = list(LayerStatistics(folder, None).pairs())
    assert len(batches) > len(parts)
    assert [pair_id for batch in batches for pair_id in batch.pair_ids] == parts[0].ids + parts[1].ids
    safe, unsafe = joined(parts)
    for side, expected in (("safe", safe), ("unsafe", unsafe)):
        found = [getattr(batch, side) for batch in batches]
        assert torch.equal(torch.cat([stats.norm for stats in found]), expected.norm)
        assert torch.equal(torch.cat([stats.std for stats in found]), expected.std)


def test_the_mean_over_windows_and_files_equals_one_big_product(wide):
    folder, parts = wide
    weight = random_weight(16, WIDE)
    scores, counts = aggregate_layer(LayerStatistics(folder, None), MeanOfRatios(weight))
    safe, unsafe = (ChannelStats(stats.norm.double(), stats.std.double()) for stats in joined(parts))
    magnitude = weight.double().abs()
    per_output = (unsafe.norm @ magnitude.T) / (safe.norm @ magnitude.T)
    per_input = unsafe.norm / (unsafe.std + 1e-8) / (safe.norm / (safe.std + 1e-8))
    assert_close(scores.double(), per_output.T @ per_input / 300, rtol=2e-6, atol=0)
    assert counts == {"n_pairs": 300, "n_unmatched_rows": 0}


def test_ratio_of_means_over_windows_and_files_equals_one_big_product(wide):
    folder, parts = wide
    weight = random_weight(16, WIDE)
    scores, counts = aggregate_layer(LayerStatistics(folder, None), RatioOfMeans(weight))
    magnitude = weight.double().abs()
    safe, unsafe = (
        (stats.norm.double() @ magnitude.T).T @ (stats.norm.double() / (stats.std.double() + 1e-8))
        for stats in joined(parts)
    )
    assert_close(scores.double(), unsafe / safe, rtol=2e-6, atol=0)
    assert counts == {"n_pairs": 300, "n_safe": 300, "n_unsafe": 300}


def test_the_same_statistics_give_the_same_bits_every_time(wide):
    folder, _ = wide
    weight = random_weight(16, WIDE)
    first, second = (aggregate_layer(LayerStatistics(folder, None), MeanOfRatios(weight))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_tags_keep_only_their_pairs(tmp_path):
    tags = ["hate", "violence", None, "it's; --", "hate"]
    pairs = Pairs(5, 6, 0, tags=tags).write(tmp_path / "a.parquet")
    for wanted, rows in ((["hate"], [0, 4]), (["hate", "it's; --"], [0, 3, 4]), (["violence"], [1])):
        batches = list(LayerStatistics(tmp_path, wanted).pairs())
        assert [pair_id for batch in batches for pair_id in batch.pair_ids] == [pairs.ids[row] for row in rows]
        statistics = LayerStatistics(tmp_path, wanted)
        (window,) = statistics.rows()
        for content in ("safe", "unsafe"):
            side = statistics.window.side(window, content)
            assert (side.content, side.pair_ids) == (content, [pairs.ids[row] for row in rows])
            assert torch.equal(side.stats.norm, getattr(pairs, content).norm[rows])


def test_tags_that_no_pair_has_leave_nothing_to_score(tmp_path):
    Pairs(3, 6, 0, tags=["hate"] * 3).write(tmp_path / "a.parquet")
    rows = LayerStatistics(tmp_path, ["' OR 1 = 1 --"])
    with pytest.raises(DataError, match="no pair with both sides is left to score; look at the tags"):
        aggregate_layer(rows, MeanOfRatios(random_weight(4, 6)))


def test_rows_without_a_partner_are_counted_and_left_out(tmp_path):
    pairs = Pairs(4, 6, 0)
    rows = pairs.rows()
    write_statistics(tmp_path / "a.parquet", [rows.slice(0, 3), rows.slice(4, 4)])
    statistics = LayerStatistics(tmp_path, None)
    scores, counts = aggregate_layer(statistics, MeanOfRatios(random_weight(4, 6)))
    assert counts == {"n_pairs": 3, "n_unmatched_rows": 1}
    kept = [0, 2, 3]
    mean = MeanOfRatios(random_weight(4, 6))
    mean.add(
        ChannelStats(pairs.safe.norm[kept], pairs.safe.std[kept]),
        ChannelStats(pairs.unsafe.norm[kept], pairs.unsafe.std[kept]),
    )
    assert torch.equal(scores, mean.scores())


def test_unpaired_sides_may_differ_in_size_and_lie_in_files_of_their_own(tmp_path):
    safe, unsafe = (ChannelStats(*random_statistics(n, 6, seed)) for n, seed in ((7, 0), (3, 1)))
    for name, content, stats in (("0", "safe", safe), ("1", "unsafe", unsafe)):
        n = len(stats.norm)
        ids = [f"{name}/{i}" for i in range(n)]
        rows = statistics_rows(ids, [content] * n, [None] * n, stats.norm, stats.std)
        write_statistics(tmp_path / f"{name}.parquet", [rows])
    scores, counts = aggregate_layer(LayerStatistics(tmp_path, None), RatioOfMeans(random_weight(4, 6)))
    ratio = RatioOfMeans(random_weight(4, 6))
    ratio.add("safe", safe)
    ratio.add("unsafe", unsafe)
    assert torch.equal(scores, ratio.scores())
    assert counts == {"n_pairs": 3, "n_safe": 7, "n_unsafe": 3}


def test_one_side_alone_cannot_be_scored(tmp_path):
    norm, std = random_statistics(3, 6, 0)
    write_statistics(tmp_path / "a.parquet", [statistics_rows(list("abc"), ["safe"] * 3, [None] * 3, norm, std)])
    with pytest.raises(DataError, match="no unsafe sample to score"):
        aggregate_layer(LayerStatistics(tmp_path, None), RatioOfMeans(random_weight(4, 6)))
    with pytest.raises(DataError, match="no pair with both sides"):
        aggregate_layer(LayerStatistics(tmp_path, None), MeanOfRatios(random_weight(4, 6)))


@pytest.mark.parametrize(
    ("side", "value", "axis"),
    [
        ("safe", 0.0, "input channel 2"),
        ("safe", float("nan"), "output channel 0"),
        ("unsafe", float("inf"), "output channel 0"),
    ],
)
def test_a_channel_without_a_ratio_is_refused_with_its_pair_named(tmp_path, side, value, axis):
    pairs = Pairs(5, 6, 0)
    getattr(pairs, side).norm[3, 2] = value
    pairs.write(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=f"pair a/0003: the unsafe/safe ratio of {axis} is NaN or infinite"):
        aggregate_layer(LayerStatistics(tmp_path, None), MeanOfRatios(random_weight(4, 6)))


def test_a_channel_silent_in_every_safe_sample_is_refused_by_its_weight(tmp_path):
    pairs = Pairs(5, 6, 0)
    pairs.safe.norm[:, 2] = 0
    pairs.write(tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"ratio of the weight at output 0, input 2 is NaN or infinite.*use fewer layers"
    ):
        aggregate_layer(LayerStatistics(tmp_path, None), RatioOfMeans(random_weight(4, 6)))


def test_a_transposed_weight_is_refused_with_both_shapes(tmp_path):
    Pairs(5, 6, 0).write(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"norm is \[5, 6\], expected \[pairs, in\] = \[5, 4\]"):
        aggregate_layer(LayerStatistics(tmp_path, None), MeanOfRatios(random_weight(4, 6).T))


def test_a_folder_without_statistics_is_refused(tmp_path):
    with pytest.raises(DataError, match="no activation statistics in"):
        LayerStatistics(tmp_path, None)


def layer_build(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return Build(Recipe(kind="layer_scores.text", code="x"), folder, Parts(folder))


def write_scores_of(build, statistics, weights, *, weight_by_magnitude=False):
    def score(layer, weight):
        rows = LayerStatistics(statistics / f"encoder=text/layer={layer}", None)
        return aggregate_layer(rows, MeanOfRatios(weight))

    settings = {"encoder": "text", "weight_by_magnitude": weight_by_magnitude}
    write_layer_scores(build, weights, score, **settings, device=CPU)


def test_scores_of_every_layer_are_written_with_what_they_were_taken_over(tmp_path):
    weights = {"block.0.out": random_weight(4, 6, 1), "block.1.out": random_weight(3, 5, 2)}
    pairs = {name: Pairs(9, weight.shape[1], seed) for seed, (name, weight) in enumerate(weights.items())}
    for name, some in pairs.items():
        some.write(tmp_path / f"statistics/encoder=text/layer={name}/000000.parquet")
    for by_magnitude in (False, True):
        build = layer_build(tmp_path / f"scores_{by_magnitude}")
        write_scores_of(build, tmp_path / "statistics", weights, weight_by_magnitude=by_magnitude)
        assert build.counts == {"layers": {name: {"n_pairs": 9, "n_unmatched_rows": 0} for name in weights}}
        for name, weight in weights.items():
            path = build.folder / f"encoder=text/layer={name}/scores.parquet"
            mean = MeanOfRatios(weight)
            mean.add(pairs[name].safe, pairs[name].unsafe)
            expected = mean.scores() * (weight.abs() if by_magnitude else 1)
            assert pq.read_schema(path).equals(scores_schema(weight.shape[1]), check_metadata=True)
            assert torch.equal(torch.from_numpy(read_layer(path, "score").copy()), expected)


def test_an_error_while_scoring_names_the_layer_too(tmp_path):
    for index, name in enumerate(("block.0.out", "block.1.out")):
        pairs = Pairs(5, 6, index)
        pairs.safe.norm[4, 5] = index
        pairs.write(tmp_path / f"encoder=text/layer={name}/000000.parquet")
    weights = {name: random_weight(4, 6) for name in ("block.1.out", "block.0.out")}
    build = layer_build(tmp_path / "scores")
    with pytest.raises(DataError, match=r"^layer block\.0\.out: pair a/0004: the unsafe/safe ratio of input channel 5"):
        write_scores_of(build, tmp_path, weights)


def test_layers_that_a_killed_run_finished_are_not_scored_again(tmp_path):
    weights = {name: random_weight(4, 6) for name in ("block.0.out", "block.1.out")}
    for index, name in enumerate(weights):
        Pairs(5, 6, index).write(tmp_path / f"statistics/encoder=text/layer={name}/000000.parquet")
    whole, cut = (layer_build(tmp_path / name) for name in ("whole", "cut"))
    write_scores_of(whole, tmp_path / "statistics", weights)
    write_scores_of(cut, tmp_path / "statistics", {"block.0.out": weights["block.0.out"]})
    finished = cut.folder / "encoder=text/layer=block.0.out/scores.parquet"
    before = finished.stat().st_mtime_ns
    write_scores_of(cut, tmp_path / "statistics", weights)
    assert finished.stat().st_mtime_ns == before
    assert cut.counts == whole.counts
    for name in weights:
        path = f"encoder=text/layer={name}/scores.parquet"
        assert (cut.folder / path).read_bytes() == (whole.folder / path).read_bytes()
