import csv
import io
import re
from itertools import product

import numpy as np
import pytest

from data_specs.ablation import AXES
from data_specs.errors import SpecError
from data_specs.experiment import PAPER_COLUMNS, Experiment, Row
from data_specs.metrics import ordered_metrics
from data_specs.run_config import RunConfig
from tasks.experiments.ablation_points import ablation_points
from tasks.tables.columns import experiment_csv, experiment_parquet
from tasks.tables.documents import experiment_markdown


def run(**changes):
    settings = {
        "name": "base",
        "seed": 4,
        "model": {"architecture": "ViT-B-32", "weights": "openai"},
        "calibration": {"shards": ["c.tar"], "limit": 512},
        "evaluation": {"shards": ["e.tar"]},
        "text": {"tau": 0.9},
    }
    return RunConfig.model_validate(settings | changes)


UNPAIRED = {"safe": ["s.tar"], "unsafe": ["u.tar"], "limit": 512}
EVERYTHING = {
    "scorer": ["uwm", "unsafe_only", "gradient_unsafe", "magnitude", "random"],
    "aggregation": ["mean_of_ratios", "ratio_of_means"],
    "rule": ["score_mass", "top_share"],
    "weight_by_magnitude": [True, False],
    "layers": ["attention_output", "mlp_output", "*.c_fc"],
    "limit": [256, None],
    "seed": [0, 1, 2],
}


def naive_points(axes):
    """What has to be computed, as a set: an axis that a scorer does not read is dropped."""
    found = set()
    for values in product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        if settings["scorer"] != "uwm":
            settings["aggregation"] = None
        if settings["scorer"] != "random":
            settings["seed"] = None
        if settings["scorer"] in ("magnitude", "random"):
            settings["limit"] = "none"
        found.add(tuple(settings.values()))
    return found


def test_every_combination_that_differs_is_a_point_once():
    points = ablation_points(run(), EVERYTHING).points
    assert len(points) == len(naive_points(EVERYTHING)) == 2 * 2 * 3 * (2 * 2 + 2 + 2 + 1 + 3)
    assert len({point.label for point in points}) == len(points)
    assert len({point.run_config(run()).model_dump_json() for point in points}) == len(points)


def test_points_come_in_the_order_of_the_axes_and_hold_their_values():
    axes = {"layers": ["mlp_output", "attention_output"], "scorer": ["random", "uwm"], "seed": [1, 0], "limit": [9, 8]}
    points = ablation_points(run(), axes).points
    assert [point.label for point in points] == [
        "random, mlp_output, seed 1",
        "random, mlp_output, seed 0",
        "random, attention_output, seed 1",
        "random, attention_output, seed 0",
        "uwm, mlp_output, 9 samples",
        "uwm, mlp_output, 8 samples",
        "uwm, attention_output, 9 samples",
        "uwm, attention_output, 8 samples",
    ]
    first, last = points[0].run_config(run()), points[-1].run_config(run())
    assert (first.seed, first.calibration.limit, first.text.scorer, first.vision.layers) == (
        1,
        512,
        "random",
        "mlp_output",
    )
    assert (last.seed, last.calibration.limit, last.text.scorer, last.text.tau) == (4, 8, "uwm", 0.9)
    assert "seed" not in points[-1].axes
    assert "limit" not in points[0].axes


def test_without_axes_the_run_itself_is_the_point():
    (only,) = ablation_points(run(), {}).points
    assert only.run_config(run()) == run()
    assert only.label == "settings of the run"
    assert only.axes["weight_by_magnitude"] == "text true, vision false"


def test_another_scorer_weights_by_magnitude_by_its_own_habit_unless_the_axis_says():
    base = run(text={"weight_by_magnitude": False})
    axes = {"scorer": ["uwm", "unsafe_only", "magnitude"]}
    weighted = [
        (point.method.text.weight_by_magnitude, point.method.vision.weight_by_magnitude)
        for point in ablation_points(base, axes).points
    ]
    assert weighted == [(False, False), (True, False), (False, False)]
    forced = ablation_points(base, axes | {"weight_by_magnitude": [True]}).points
    assert all(point.method.text.weight_by_magnitude and point.method.vision.weight_by_magnitude for point in forced)


def test_an_encoder_that_the_run_leaves_alone_stays_so():
    points = ablation_points(run(text=None), {"scorer": ["uwm", "magnitude"]}).points
    assert [point.method.text for point in points] == [None, None]
    assert [point.method.vision.scorer for point in points] == ["uwm", "magnitude"]


def test_in_a_run_of_two_scorers_an_axis_goes_to_the_encoder_that_reads_it():
    base = run(vision={"scorer": "magnitude"})
    points = ablation_points(
        base, {"aggregation": ["mean_of_ratios", "ratio_of_means"], "limit": [7], "seed": [1, 2]}
    ).points
    assert [point.method.text.aggregation for point in points] == ["mean_of_ratios", "ratio_of_means"]
    assert {point.method.vision.aggregation for point in points} == {"mean_of_ratios"}
    assert {point.seed for point in points} == {4}
    assert {point.limit for point in points} == {7}


def test_combinations_that_cannot_run_are_left_out_with_their_reason():
    base = run(calibration=UNPAIRED, text={"aggregation": "ratio_of_means"}, vision={"aggregation": "ratio_of_means"})
    axes = {
        "scorer": ["uwm", "difference", "gradient_unsafe"],
        "aggregation": ["mean_of_ratios", "ratio_of_means"],
        "rule": ["score_mass"],
    }
    plan = ablation_points(base, axes)
    assert [point.label for point in plan.points] == ["uwm, ratio_of_means", "difference"]
    assert [item.label for item in plan.left_out] == ["uwm, mean_of_ratios", "gradient_unsafe"]
    assert "text.aggregation is mean_of_ratios, which needs paired shards" in plan.left_out[0].reason
    assert "text.scorer is gradient_unsafe, which needs paired shards" in plan.left_out[1].reason
    with pytest.raises(SpecError, match=r"none of the ablation's 1 combinations can run: .*needs paired shards"):
        ablation_points(base, {"scorer": ["gradient_unsafe"]})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"tau": [0.9]}, "there is no axis 'tau', only scorer, aggregation"),
        ({"rule": []}, "axis rule has no values"),
        ({"scorer": ["uwm", "best"]}, r"ablation: text\.scorer: .*got 'best'"),
        ({"limit": [0]}, r"ablation: calibration\.limit: .*got 0"),
        ({"limit": [True]}, r"ablation: calibration\.limit: expected a number"),
        ({"seed": [-1]}, r"ablation: seed: .*got -1"),
        ({"layers": [""]}, r"ablation: text\.layers: "),
    ],
)
def test_an_axis_or_value_that_makes_no_sense_is_refused_by_name(axes, message):
    with pytest.raises(SpecError, match=message):
        ablation_points(run(), axes)


def ablation(seed=0, base=None):
    rng = np.random.default_rng(seed)
    base = base or run(calibration=UNPAIRED, text={"aggregation": "ratio_of_means"}, vision=None)
    axes = {"scorer": ["uwm", "random"], "aggregation": ["mean_of_ratios", "ratio_of_means"]}
    plan = ablation_points(base, axes | {"limit": [None, 99], "seed": [3], "layers": ["a|b_*"]})

    def figures():
        return {metric: float(rng.uniform(0, 100)) for metric in PAPER_COLUMNS}

    rows = [
        Row(
            name=point.label,
            role="method",
            axes=dict(point.axes),
            values=figures(),
            intervals={"GS": (1.5, 2.5)},
            n_selected=10 + number,
            settings=point.settings,
        )
        for number, point in enumerate(plan.points)
    ]
    original = Row(name="original", role="original", values=figures() | {"n_pairs": 77.0})
    return Experiment(
        kind="ablation",
        name="a_b",
        n_pairs=77,
        columns=ordered_metrics(original.values),
        rows=[original, *rows],
        left_out=plan.left_out,
    )


def test_the_csv_holds_a_column_an_axis_and_every_figure_to_the_last_digit():
    measured = ablation()
    rows = list(csv.DictReader(io.StringIO(experiment_csv(measured))))
    assert len(rows) == 5
    assert [row["limit"] for row in rows] == ["all", "99", "", "all", "99"]
    assert [row["seed"] for row in rows] == ["", "", "3", "", ""]
    assert [row["aggregation"] for row in rows[:3]] == ["ratio_of_means", "ratio_of_means", ""]
    for read, row in zip(rows[:3], measured.points, strict=True):
        assert read["left_out"] == ""
        assert {axis: read[axis] for axis in AXES if read.get(axis)} == row.axes
        assert int(read["n_selected"]) == row.n_selected
        assert (read["GS_low"], read["GS_high"], read["PS_low"]) == ("1.5", "2.5", "")
        for metric in PAPER_COLUMNS:
            assert float(read[metric]) == row.values[metric]
            assert float(read[f"{metric}_difference"]) == row.values[metric] - measured.original[metric]
    for read, item in zip(rows[3:], measured.left_out, strict=True):
        assert (read["label"], read["left_out"], read["GS"]) == (item.label, item.reason, "")


def test_the_parquet_table_says_the_same_as_the_csv():
    measured = ablation(1)
    table = experiment_parquet(measured)
    for row, read in zip(table.to_pylist(), csv.DictReader(io.StringIO(experiment_csv(measured))), strict=True):
        assert list(row) == list(read)
        assert {name: value for name, value in row.items() if value is not None} == {
            name: type(row[name])(value) for name, value in read.items() if value not in ("", "all")
        }
    assert str(table.schema.field("limit").type) == str(table.schema.field("seed").type) == "int64"


def test_the_markdown_table_has_a_cell_a_column_and_names_what_was_left_out():
    measured = ablation(2)
    text = experiment_markdown(measured)
    lines = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line[:1] == "|"
    ]
    shown_axes = [axis for axis in AXES if axis != "sign"]  # on which no row stands
    assert {len(cells) for cells in lines} == {len(shown_axes) + len(PAPER_COLUMNS)}
    assert len(lines) == 2 + 1 + 3
    assert lines[3][AXES.index("layers")] == r"a\|b\_\*"
    for column, metric in enumerate(PAPER_COLUMNS, start=len(shown_axes)):
        shown = [f"{row.values[metric]:.1f}" for row in measured.points]
        best = max(shown, key=float)
        assert [cells[column] for cells in lines[3:]] == [
            f"**{figure}**" if figure == best else figure for figure in shown
        ]
    assert text.count("Left out: uwm, mean\\_of\\_ratios") == 2


def test_a_sign_filter_is_an_axis_that_reads_calibration_pairs_and_has_a_column_only_where_it_is_one():
    axes = {"scorer": ["random", "uwm"], "sign": ["none", "loss"], "limit": [8, 9]}
    plan = ablation_points(run(vision=None), axes)
    assert [point.label for point in plan.points] == [
        "random, sign none",
        "random, 8 samples, sign loss",
        "random, 9 samples, sign loss",
        *(f"uwm, {limit} samples, sign {sign}" for limit in (8, 9) for sign in ("none", "loss")),
    ]
    assert [point.settings["method"]["text"].get("sign") for point in plan.points[:2]] == [None, "loss"]
    assert {point.axes["sign"] for point in plan.points} == {"none", "loss"}
    refused = ablation_points(
        run(calibration=UNPAIRED, text={"tau": 0.9, "aggregation": "ratio_of_means"}, vision=None),
        {"scorer": ["magnitude"], "sign": ["none", "loss"]},
    )
    assert "text.sign is loss, which needs paired shards" in refused.left_out[0].reason
    measured = ablation()
    row = measured.rows[1]
    filtered = row.model_copy(update={"axes": row.axes | {"sign": "loss"}, "settings": {"sign": {"text": "loss"}}})
    crossed = measured.model_copy(update={"rows": [measured.rows[0], filtered, *measured.rows[2:]]})
    assert "sign" not in experiment_parquet(measured).column_names
    assert experiment_parquet(crossed).column("sign").to_pylist()[0] == "loss"
    assert "| sign |" in experiment_markdown(crossed)
    assert "supervised one-step editing" in experiment_markdown(crossed)
    assert "supervised" not in experiment_markdown(measured)
