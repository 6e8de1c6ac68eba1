import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_specs.errors import DataError
from data_specs.schemas import LAYER_SUMMARY, scores_schema
from tasks.scoring.layer_scores import write_layer
from tasks.scoring.summary import write_summary
from tasks.selection.rules import select, select_above
from tasks.selection.scores_table import layer_files, read_layer, tabulated_selections

LAYERS = {"blocks.10.out": ("text", 30), "blocks.9.out": ("text", 30), "visual.blocks.0.fc": ("vision", 20)}
ASKED = {"text": [("score_mass", 0.98), ("top_share", 0.5)], "vision": [("score_mass", 0.9)]}


def random_scores(seed, shape=(7, 12)):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) ** 3


def write_layers(folder, scores):
    for layer, values in scores.items():
        path = folder / f"encoder={LAYERS[layer][0]}/layer={layer}/scores.parquet"
        path.parent.mkdir(parents=True)
        write_layer(values, path, scores_schema)


def summary(folder, scores):
    write_layers(folder, scores)
    path = folder / "layer_summary.parquet"
    write_summary(folder, {layer: LAYERS[layer][1] for layer in scores}, ASKED, path)
    return pq.read_table(path)


def test_scores_come_back_from_parquet_bit_for_bit(tmp_path):
    values = random_scores(0, (40, 33))
    write_layer(values, tmp_path / "scores.parquet", scores_schema)
    assert np.array_equal(read_layer(tmp_path / "scores.parquet", "score"), values.numpy())


def test_scores_of_several_row_groups_come_back_whole_and_in_order(tmp_path):
    values = random_scores(1, (23, 300_000))  # more than is unpacked together, and than a row group holds
    write_layer(values, tmp_path / "scores.parquet", scores_schema)
    assert pq.ParquetFile(tmp_path / "scores.parquet").num_row_groups > 1
    assert np.array_equal(read_layer(tmp_path / "scores.parquet", "score"), values.numpy())


def test_a_summary_line_says_what_the_scores_say(tmp_path):
    scores = {layer: random_scores(seed) for seed, layer in enumerate(LAYERS)}
    table = summary(tmp_path, scores)
    assert table.schema.equals(LAYER_SUMMARY, check_metadata=True)
    rows = table.to_pylist()
    asked = [(layer, *rule) for layer, (encoder, _) in LAYERS.items() for rule in ASKED[encoder]]
    assert [(row["layer"], row["rule"], row["tau"]) for row in rows] == asked
    for row in rows:
        values = scores[row["layer"]]
        ordered = sorted(values.reshape(-1).tolist())
        assert (row["encoder"], row["n_pairs"]) == LAYERS[row["layer"]]
        assert row["n_weights"] == len(ordered) == 84
        assert math.isclose(row["sum"], math.fsum(ordered), rel_tol=1e-12)
        assert math.isclose(row["mean"], math.fsum(ordered) / 84, rel_tol=1e-12)
        assert (row["min"], row["max"]) == (ordered[0], ordered[-1])
        for name, share in (("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p99", 0.99)):
            below = sum(value < row[name] for value in ordered) / 84
            assert row[name] in ordered
            assert below <= share <= below + 1 / 84
        selection = select(values.numpy(), row["rule"], row["tau"])
        chosen = values.reshape(-1)[torch.from_numpy(selection.index)]
        assert row["n_selected"] == len(chosen)
        assert row["threshold"] == float(chosen.min())
        assert math.isclose(row["selected_share"], len(chosen) / 84, rel_tol=1e-12)


def test_what_a_summary_tabulates_selects_the_weights_that_the_scores_do(tmp_path):
    scores = {layer: (10 * random_scores(seed)).round() + 1 for seed, layer in enumerate(LAYERS)}  # many are equal
    summary(tmp_path, scores)
    known = tabulated_selections(tmp_path)
    assert len(known) == sum(len(ASKED[encoder]) for encoder, _ in LAYERS.values())
    for (layer, rule, tau), found in known.items():
        values = scores[layer].numpy()
        assert select_above(values, *found).index.tolist() == select(values, rule, tau).index.tolist()


def test_the_same_scores_give_the_same_summary_bytes(tmp_path):
    scores = {layer: random_scores(seed, (300, 200)) for seed, layer in enumerate(LAYERS)}
    for name in ("first", "second"):
        summary(tmp_path / name, scores)
    first, second = ((tmp_path / name / "layer_summary.parquet").read_bytes() for name in ("first", "second"))
    assert first == second


def test_scores_that_a_rule_cannot_use_are_refused_with_their_layer(tmp_path):
    scores = {"blocks.9.out": random_scores(0), "visual.blocks.0.fc": torch.zeros(7, 12)}
    with pytest.raises(DataError, match=r"layer visual\.blocks\.0\.fc: score_mass needs a positive sum of scores"):
        summary(tmp_path, scores)


def test_layer_files_name_encoder_and_path(tmp_path):
    write_layers(tmp_path, {layer: random_scores(0) for layer in LAYERS})
    found = layer_files(tmp_path)
    assert {layer: encoder for layer, (encoder, _) in found.items()} == {k: v[0] for k, v in LAYERS.items()}
    assert all(path.is_file() and path.parent.name == f"layer={layer}" for layer, (_, path) in found.items())


def test_outputs_out_of_order_are_refused(tmp_path):
    path = tmp_path / "scores.parquet"
    write_layer(random_scores(0), path, scores_schema)
    table = pq.read_table(path)
    pq.write_table(table.take([1, 0, 2, 3, 4, 5, 6]), path)
    with pytest.raises(DataError, match="outputs are not 0 to 6 in order"):
        read_layer(path, "score")
