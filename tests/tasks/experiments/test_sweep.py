import csv
import io
import json
import xml.etree.ElementTree as ET

import matplotlib as mpl
import numpy as np
import pyarrow.parquet as pq
import pytest

from data_specs.errors import DataError, SpecError
from data_specs.experiment import Experiment, Row
from data_specs.metrics import metric_names, ordered_metrics
from tasks.experiments.choice import Limit, choose_point, keeping_points, parse_limits
from tasks.experiments.grid import grid_points
from tasks.tables.columns import experiment_csv, experiment_parquet
from tasks.tables.sweep_figure import draw_sweep, sweep_figure

METRICS = ("zero_shot", "Vs-Ts", "Txt_s", "Img_s", "PS", "GS")


def point(tau, alpha, intervals=True, **values):
    return Row(
        name=f"tau {tau}, alpha {alpha}",
        role="method",
        axes={"tau": tau, "alpha": alpha},
        values=values,
        intervals={name: (value - 0.5, value + 0.75) for name, value in values.items()} if intervals else {},
        n_selected=int(1e6 * (1 - tau)),
        versions={"edit": f"edit-{tau}-{alpha}", "evaluation": f"evaluation-{tau}-{alpha}"},
    )


def random_sweep(seed=0, taus=(0.9, 0.95, 0.98), alphas=(-1.0, 0.0), steps=None, **changes):
    """Figures at random; of `steps`, few values, so that many are equal."""
    rng = np.random.default_rng(seed)
    draw = (lambda: float(rng.uniform(0, 90))) if steps is None else (lambda: float(rng.choice(steps)))
    at = [(point["tau"], point["alpha"]) for point in grid_points(taus, alphas)]
    points = [point(tau, alpha, **{name: draw() for name in METRICS}) for tau, alpha in at]
    original = {name: draw() for name in METRICS} | {"n_pairs": 500.0}
    return sweep_of(changes.pop("original", original), changes.pop("points", points), **changes)


def sweep_of(original, points, **changes):
    settings = {"kind": "sweep", "name": "s", "n_pairs": 500, "encoders": ["text", "vision"]} | changes
    rows = [Row(name="original", role="original", values=original), *points]
    return Experiment(columns=ordered_metrics(original), rows=rows, **settings)


def test_limits_are_read_as_written():
    assert parse_limits("zero_shot>=-2, PS >= -1,Ts-Vs@5<=+.5") == [
        Limit("zero_shot", ">=", -2),
        Limit("PS", ">=", -1),
        Limit("Ts-Vs@5", "<=", 0.5),
    ]
    assert parse_limits(" ") == []
    assert str(parse_limits("PS>=-1.50")[0]) == "PS>=-1.5"


@pytest.mark.parametrize("text", ["PS>-1", "PS>=", "PS>=nan", "PS>=1e", "PS=1", "GS>=1,,PS>=1", ">=-1", "PS>=-1;GS>=0"])
def test_limits_of_another_form_are_refused(text):
    with pytest.raises(SpecError, match="makes no sense; write METRIC>=POINTS"):
        parse_limits(text)


def test_an_unknown_metric_is_refused_with_the_known_names():
    with pytest.raises(SpecError) as refused:
        parse_limits("zeroshot>=-2")
    assert "no metric 'zeroshot'" in str(refused.value)
    assert all(name in str(refused.value) for name in ["zero_shot", *metric_names()])


def naive_choice(sweep, limits):
    best = None
    for position, candidate in enumerate(sweep.points):
        keeps = True
        for metric, relation, allowed in limits:
            moved = round(candidate.values[metric] - sweep.original[metric], 6)
            keeps &= moved >= allowed if relation == ">=" else moved <= allowed
        if not keeps:
            continue
        if best is None:
            best = position
            continue
        mine, other = candidate, sweep.points[best]
        if mine.values["GS"] != other.values["GS"]:
            better = mine.values["GS"] > other.values["GS"]
        elif mine.at("tau") != other.at("tau"):
            better = mine.at("tau") > other.at("tau")
        else:
            better = abs(1 - mine.at("alpha")) < abs(1 - other.at("alpha"))
        if better:
            best = position
    return best


@pytest.mark.parametrize("seed", range(40))
def test_the_chosen_point_is_that_of_a_search_through_all(seed):
    sweep = random_sweep(seed, taus=(0.9, 0.93, 0.96), alphas=(-1.0, 0.0, 2.0, 3.0), steps=[10.1, 10.2, 10.3, 11.2])
    found = set()
    for limits in (
        [],
        [("PS", ">=", -0.1)],
        [("PS", ">=", 0.0), ("zero_shot", ">=", -0.9)],
        [("PS", "<=", -0.1), ("Img_s", ">=", 0.1)],
        [("PS", ">=", 50.0)],
    ):
        expected = naive_choice(sweep, limits)
        assert choose_point(sweep, [Limit(*limit) for limit in limits]) == expected
        found.add(expected)
    assert None in found
    assert len(found) > 1


@pytest.mark.parametrize("seed", range(20))
def test_a_bound_keeps_a_limit_only_where_the_whole_interval_does(seed):
    rng = np.random.default_rng(seed)
    sweep = random_sweep(seed)
    points = []
    for item in sweep.points:
        moved = {name: item.values[name] - sweep.original[name] for name in METRICS}
        ends = {name: (move - rng.uniform(0, 20), move + rng.uniform(0, 20)) for name, move in moved.items()}
        points.append(item.model_copy(update={"differences": ends}))
    sweep = sweep.model_copy(update={"rows": [sweep.rows[0], *points]})
    limits = parse_limits("PS>=-10,zero_shot<=15")
    expected = [
        position
        for position, item in enumerate(points)
        if item.differences["PS"][0] >= -10 and item.differences["zero_shot"][1] <= 15
    ]
    assert keeping_points(sweep, limits, "bound") == expected
    assert set(expected) <= set(keeping_points(sweep, limits, "estimate"))
    best = choose_point(sweep, limits, "bound")
    assert best == (max(expected, key=lambda at: points[at].values["GS"]) if expected else None)


def test_a_bound_that_is_not_there_is_asked_for():
    sweep = random_sweep(points=[point(0.9, -1, GS=5.0, PS=4.0)], original={"GS": 1.0, "PS": 1.0})
    with pytest.raises(DataError, match="no figure for the interval of PS's difference"):
        choose_point(sweep, parse_limits("PS>=-1"), "bound")


def test_of_equal_points_with_two_taus_the_one_that_edits_fewer_weights_wins():
    few, many = (point(tau, -1, GS=5.0) for tau in (0.98, 0.9))
    grid = [
        item.model_copy(update={"axes": {"text_tau": 0.9, "vision_tau": vision, "alpha": -1.0}})
        for item, vision in ((many, 0.9), (few, 0.98))
    ]
    assert choose_point(sweep_of({"GS": 1.0}, grid), []) == 1


def test_of_equal_points_the_larger_tau_then_the_alpha_nearest_to_one_wins():
    points = [point(tau, alpha, GS=5.0) for tau, alpha in [(0.9, 0.5), (0.98, -1), (0.98, 0), (0.98, 2)]]
    sweep = random_sweep(points=points, original={"GS": 1.0})
    assert choose_point(sweep, []) == 2


def test_a_difference_of_exactly_the_limit_is_kept_whatever_its_last_digits():
    # In binary, 66.3 - 67.4 is -1.1000000000000085.
    sweep = random_sweep(points=[point(0.9, -1, GS=5.0, PS=66.3)], original={"GS": 1.0, "PS": 67.4})
    assert choose_point(sweep, parse_limits("PS>=-1.1")) == 0
    assert choose_point(sweep, parse_limits("PS<=-1.1")) == 0
    assert choose_point(sweep, parse_limits("PS>=-1.0999")) is None


def test_a_limit_on_what_was_not_measured_is_refused():
    sweep = random_sweep(points=[point(0.9, -1, GS=5.0)], original={"GS": 1.0})
    with pytest.raises(
        SpecError, match=r"zero_shot>=-2: zero_shot was not measured, only GS; add evaluation\.zero_shot"
    ):
        choose_point(sweep, parse_limits("zero_shot>=-2"))


def test_a_point_without_a_needed_figure_is_refused():
    sweep = random_sweep(points=[point(0.9, -1, PS=5.0)], original={"GS": 1.0, "PS": 1.0})
    with pytest.raises(DataError, match=r"point 0 of sweep s \(tau 0\.9, alpha -1\) has no figure for GS"):
        choose_point(sweep, [])


def expected_rows(sweep):
    for position, item in enumerate(sweep.points):
        row = {
            "tau": item.at("tau"),
            "alpha": item.at("alpha"),
            "n_selected": item.n_selected,
            "chosen": position == sweep.chosen,
        }
        for metric in METRICS:
            low, high = item.intervals.get(metric, (None, None))
            row |= {metric: item.values[metric], f"{metric}_low": low, f"{metric}_high": high}
            row[f"{metric}_difference"] = item.values[metric] - sweep.original[metric]
        yield row | {**item.versions}


def test_the_parquet_table_holds_every_point(tmp_path):
    sweep = random_sweep(7, chosen=2, limits=["PS>=-1"])
    bare = sweep.points[0].model_copy(update={"intervals": {}})
    sweep = sweep.model_copy(update={"rows": [sweep.rows[0], bare, *sweep.points[1:]]})
    pq.write_table(experiment_parquet(sweep), tmp_path / "sweep.parquet")
    table = pq.read_table(tmp_path / "sweep.parquet")
    assert table.to_pylist() == list(expected_rows(sweep))
    assert json.loads(table.schema.metadata[b"original"]) == sweep.original
    assert json.loads(table.schema.metadata[b"limits"]) == ["PS>=-1"]


def test_the_csv_read_back_equals_the_numbers_to_the_last_digit():
    sweep = random_sweep(8, chosen=1)
    rows = list(csv.DictReader(io.StringIO(experiment_csv(sweep))))
    for read, expected in zip(rows, expected_rows(sweep), strict=True):
        assert read["chosen"] == str(expected.pop("chosen")).lower()
        assert read.keys() - {"chosen"} == expected.keys()
        assert all(read[name] == str(value) for name, value in expected.items())


@pytest.mark.parametrize("write", [experiment_csv, lambda sweep: experiment_parquet(sweep).to_pylist()])
def test_a_figure_that_a_point_lacks_is_empty_and_never_zero(write):
    sweep = random_sweep(points=[point(0.9, -1, GS=5.0)], original={"GS": 1.0, "PS": 1.0})
    written = write(sweep)
    row = written[0] if isinstance(written, list) else next(csv.DictReader(io.StringIO(written)))
    assert all(row[name] in (None, "") for name in ("PS", "PS_low", "PS_difference"))
    assert float(row["GS_difference"]) == 4.0


@pytest.mark.slow
def test_the_figure_is_the_same_to_the_byte_whatever_the_machine_s_style():
    sweep = random_sweep(3, chosen=4)
    first = sweep_figure(sweep)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "other", "lines.linewidth": 9}):
        assert sweep_figure(sweep) == first
    assert sweep_figure(random_sweep(4, chosen=4)) != first


@pytest.mark.slow
def test_the_figure_is_one_element_that_needs_nothing_from_elsewhere():
    text = sweep_figure(random_sweep(3, chosen=4, name='<b>&"$x$'))
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert root.attrib["aria-label"] == (
        'Sweep <b>&"$x$: 6 points over tau and alpha against the original model; chosen: tau 0.95, alpha 0'
    )
    links = [value for element in root.iter() for name, value in element.attrib.items() if name.endswith("href")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not [element for element in root.iter() if element.tag.split("}")[-1] in ("script", "image", "text", "date")]


def test_the_lines_of_the_figure_are_the_sweep_s_figures():
    sweep = random_sweep(5, chosen=1)
    panels = [cell for cell in draw_sweep(sweep).axes if cell.get_title(loc="left")]
    assert [cell.get_title(loc="left") for cell in panels] == [
        "Vs-Ts, R@1",
        "Txt_s",
        "Img_s",
        "PS",
        "GS",
        "zero-shot accuracy",
    ]
    for cell, metric in zip(panels, ("Vs-Ts", "Txt_s", "Img_s", "PS", "GS", "zero_shot"), strict=True):
        original, *alphas, star = cell.get_lines()
        assert set(original.get_ydata()) == {sweep.original[metric]}
        for alpha, line in zip((-1.0, 0.0), alphas, strict=True):
            expected = [(item.at("tau"), item.values[metric]) for item in sweep.points if item.at("alpha") == alpha]
            assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == expected
        assert (star.get_xdata()[0], star.get_ydata()[0]) == (0.95, sweep.points[1].values[metric])
        assert len(cell.collections) == 2


def test_a_grid_of_two_taus_has_a_line_for_each_of_the_second():
    rng = np.random.default_rng(3)
    points = [
        point(0.9, -1.0, GS=float(rng.uniform(0, 90)), PS=float(rng.uniform(0, 90))).model_copy(update={"axes": at})
        for at in grid_points({"text": [0.8, 0.9, 0.95], "vision": [0.7, 0.9]}, [-1.0])
    ]
    sweep = sweep_of({"GS": 1.0, "PS": 2.0}, points, chosen=4)
    figure = draw_sweep(sweep)
    for cell, metric in zip(figure.axes, ("PS", "GS"), strict=True):
        assert cell.get_xlabel() == "text tau"
        _, *lines, star = cell.get_lines()
        for vision, line in zip((0.7, 0.9), lines, strict=True):
            expected = [(at.at("text_tau"), at.values[metric]) for at in points if at.at("vision_tau") == vision]
            assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == expected
        assert star.get_xdata()[0] == points[4].at("text_tau")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["vision tau 0.7", "vision tau 0.9"]
    assert sweep_figure(sweep).count("text tau 0.9, vision tau 0.9, alpha -1") == 1
    table = experiment_parquet(sweep)
    assert table.column_names[:4] == ["text_tau", "vision_tau", "alpha", "n_selected"]
    assert table.column("vision_tau").to_pylist() == [at.at("vision_tau") for at in points]


def test_a_sweep_of_one_point_and_few_metrics_is_drawn():
    sweep = random_sweep(points=[point(0.98, -1, GS=5.0)], original={"GS": 1.0})
    (panel,) = draw_sweep(sweep).axes
    low, high = panel.get_xlim()
    assert low < 0.98 < high < 1
    with pytest.raises(DataError, match="measures PU, none of Vs-Ts"):
        sweep_figure(random_sweep(points=[point(0.98, -1, PU=5.0)], original={"PU": 1.0}))
