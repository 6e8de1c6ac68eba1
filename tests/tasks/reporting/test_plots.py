import numpy as np
import pytest

from data_specs.figures import Difference, MarginBin, PartChange
from tasks.lineage.store import Store
from tasks.reporting.edit_plots import depth_plot, flips_plot, margins_plot, tags_plot
from tasks.reporting.layers import LayerShare
from tasks.reporting.model_plots import PlottedModel, bars_plot, trade_off_plot
from tasks.reporting.plot import Panel, ticks
from tasks.reporting.sources import Reported
from tasks.reporting.task import write_report
from tests.cases.report_cases import comparison, inputs, put_experiment, sweep, text_of
from tests.cases.report_files import CONTEXT, Page, put_scores

CHANCE = {"GS": 8.25, "PS": 33.5, "zero_shot": 10.0}


def model(name, role, gs, ps, zero_shot=None):
    values = {"GS": gs, "PS": ps} | ({} if zero_shot is None else {"zero_shot": zero_shot})
    return PlottedModel(name, role, values, {"GS": (gs - 1, gs + 2)})


def shapes(panel, kind, look):
    return [shape for shape in panel.shapes if shape.kind == kind and look in shape.look.split()]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ((0, 100), [0, 20, 40, 60, 80, 100]),
        ((-3.2, 7.1), [-2.5, 0, 2.5, 5]),
        ((0.9003, 0.9897), [0.92, 0.94, 0.96, 0.98]),
        ((-0.004, 0.004), [-0.004, -0.002, 0, 0.002, 0.004]),
    ],
)
def test_ticks_are_round_numbers_within_the_span(span, expected):
    assert ticks(span) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_any_span_has_some_ticks_and_none_outside(seed):
    low, width = np.random.default_rng(seed).normal(size=2) * 10 ** np.random.default_rng(seed).uniform(-6, 6)
    found = ticks((low, low + abs(width)))
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 * abs(width) <= tick <= low + abs(width) * (1 + 1e-9) for tick in found)
    assert np.ptp(np.diff(found)) < 1e-6 * abs(width)


def test_a_panel_puts_the_ends_of_its_spans_at_its_edges():
    panel = Panel("", xs=(-5, 5), ys=(0, 50), height=200, left=40, bottom=30)
    assert (panel.x(-5), panel.y(0)) == (40, 170)
    assert panel.x(5) == panel.width - 12
    assert panel.y(50) == 12
    assert panel.x(0) == (panel.x(-5) + panel.x(5)) / 2


def test_models_stand_at_their_figures_with_intervals_and_chance_crosses_them():
    models = [model("original", "original", 5.5, 60.0, 70.0), model("edited", "edited", 19.25, 47.0, 69.0),
              model("at random", "control", 5.0, 61.0), model("point", "point", 12.0, 50.0)]  # fmt: skip
    plot = trade_off_plot(models, CHANCE)
    against_ps, against_zero_shot = plot.panels
    for item, look in zip(models, ("m0", "m1", "m2", "m3"), strict=True):
        (dot,) = shapes(against_ps, "circle", look)
        at = against_ps.x(item.values["PS"]), against_ps.y(item.values["GS"])
        assert (float(dot.at["cx"]), float(dot.at["cy"])) == pytest.approx(at, abs=0.06)
        assert dot.tip.startswith(f"{item.name}: GS {item.values['GS']:.1f}, PS {item.values['PS']:.1f}")
    (spread,) = shapes(against_ps, "line", "m1")
    ends = [against_ps.y(19.25 - 1), against_ps.y(19.25 + 2)]
    assert [float(spread.at[name]) for name in ("y1", "y2")] == pytest.approx(ends, abs=0.06)
    upright, level = shapes(against_ps, "line", "chance")
    assert float(upright.at["x1"]) == float(upright.at["x2"]) == pytest.approx(against_ps.x(33.5), abs=0.06)
    assert float(level.at["y1"]) == float(level.at["y2"]) == pytest.approx(against_ps.y(8.25), abs=0.06)
    (crossing,) = shapes(against_ps, "circle", "crossing")
    assert (crossing.at["cx"], crossing.at["cy"]) == (upright.at["x1"], level.at["y1"])
    # Only models that were measured there, and numbers as in the key.
    assert [shape.look for shape in against_zero_shot.shapes if shape.kind == "circle"] == ["crossing", "m0", "m1"]
    assert [shape.text for shape in shapes(against_zero_shot, "text", "number")] == ["1", "2"]
    assert plot.numbered == [
        "original: GS 5.5, PS 60.0, zero_shot 70.0",
        "edited: GS 19.2, PS 47.0, zero_shot 69.0",
        "at random: GS 5.0, PS 61.0",
    ]


def test_a_model_that_lacks_a_figure_keeps_the_numbers_of_the_others_right():
    models = [
        model("original", "original", 5, 60, 70),
        model("text only", "edited", 6, 61),
        model("last", "edited", 7, 62, 71),
    ]
    _, against_zero_shot = trade_off_plot(models, CHANCE).panels
    numbers = {shape.text for shape in shapes(against_zero_shot, "text", "number")}
    assert numbers == {"1", "3"}


def test_one_model_alone_is_not_compared():
    assert trade_off_plot([model("original", "original", 5, 60, 70)], CHANCE) is None


def test_bars_end_at_their_figures():
    plot = bars_plot(
        [model("original", "original", 5.5, 60.0), model("edited", "edited", 19.0, 47.0)], ["PS", "GS"], CHANCE
    )
    (panel,) = plot.panels
    for look, values in (("m0", (60.0, 5.5)), ("m1", (47.0, 19.0))):
        bars = shapes(panel, "rect", look)
        ends = [float(bar.at["x"]) + float(bar.at["width"]) for bar in bars]
        assert ends == pytest.approx([panel.x(value) for value in values], abs=0.11)
    levels = [float(line.at["x1"]) for line in shapes(panel, "line", "chance")]
    assert levels == pytest.approx([panel.x(33.5), panel.x(8.25)], abs=0.06)


def test_flips_reach_as_far_as_answers_flipped():
    rows = {
        name: Difference(metric=name, n=100, first=50, second=60, difference=10, low=1, high=19, n_gained=gained, n_lost=lost, p=0.5)
        for name, gained, lost in (("PS", 30, 20), ("GS", 7, 0))
    }  # fmt: skip
    (panel,) = flips_plot(rows).panels
    gained, lost = shapes(panel, "rect", "gained"), shapes(panel, "rect", "lost")
    unit = panel.x(1) - panel.x(0)
    assert [float(bar.at["width"]) for bar in gained] == pytest.approx([30 * unit, 7 * unit], abs=0.06)
    assert [float(bar.at["width"]) for bar in lost] == pytest.approx([20 * unit, 0], abs=0.06)
    assert panel.label == "PS: 30 gained, 20 lost; GS: 7 gained, 0 lost"
    assert flips_plot({"GS": rows["GS"].model_copy(update={"n_gained": 0})}) is None


def test_depth_shows_shares_and_what_an_even_draw_would_give():
    layers = [LayerShare("text", f"a.{i}.b", n, 1000) for i, n in enumerate((10, 30))]
    layers.append(LayerShare("vision", "visual.c", 5, 50))
    first, second = depth_plot(layers).panels
    heights = [float(bar.at["height"]) for bar in shapes(first, "rect", "m1")]
    assert heights == pytest.approx([first.y(0) - first.y(1), first.y(0) - first.y(3)], abs=0.06)
    assert float(shapes(first, "line", "chance")[0].at["y1"]) == pytest.approx(first.y(2), abs=0.06)
    assert len(shapes(second, "rect", "m1")) == 1
    assert depth_plot([]) is None


def change(tag, metric, n, difference):
    edges = {f"{of}{bound}": 50.0 for of in ("first", "second") for bound in ("", "_low", "_high")}
    edges |= {"difference": difference, "difference_low": difference - 3, "difference_high": difference + 4}
    return PartChange(tag=tag, n_pairs=n, metric=metric, n_gained=1, n_lost=0, p=1.0, **edges)


def test_tags_stand_at_their_differences_those_with_most_pairs_first():
    rows = [
        change(tag, metric, n, value)
        for tag, n, value in (("a", 5, 2.0), ("b", 9, -7.0), (None, 20, 1.0))
        for metric in ("GS", "PS")
    ]
    gs, ps = tags_plot(rows).panels
    assert [float(dot.at["cx"]) for dot in shapes(gs, "circle", "m1")] == pytest.approx(
        [gs.x(value) for value in (-7, 2, 1)], abs=0.06
    )
    assert gs.label == "GS by tag: b -7.0 [-10.0, -3.0]; a +2.0 [-1.0, +6.0]; no tag +1.0 [-2.0, +5.0]"
    assert ps.title == "PS"
    assert tags_plot([change(None, "GS", 4, 0.0)]) is None
    many = [change(f"tag {i:03d}", metric, 1000 - i, 1.0) for i in range(100) for metric in ("GS", "PS")]
    assert len(shapes(tags_plot(many).panels[0], "circle", "m1")) == 24
    assert "of 100" in tags_plot(many).caption


def test_margins_tell_the_share_right_of_zero_and_outline_the_bins():
    bins = [MarginBin(preference="P_t_s", model=model, low=low, high=low + 0.1, n=n)
            for model, counts in (("first", (3, 1)), ("second", (1, 7))) for low, n in zip((-0.1, 0.0), counts, strict=True)]  # fmt: skip
    (panel,) = margins_plot(bins, ["original", "edited"]).panels
    assert panel.title == "P_t_s: 25.0 % right of 0, then 87.5 %"
    first, second = shapes(panel, "path", "m0")[0], shapes(panel, "path", "m1")[0]
    assert first.at["d"].count("L") == second.at["d"].count("L") == 5
    assert f"{panel.y(7):.1f}" in second.at["d"]
    assert float(shapes(panel, "line", "chance")[0].at["x1"]) == pytest.approx(panel.x(0), abs=0.06)


def test_a_model_that_stands_in_report_and_experiments_is_plotted_once(tmp_path):
    store = Store(tmp_path / "store")
    _, evaluations = inputs(store, ("original", "edited"))
    compared = comparison()
    versions = [evaluations["original"].version, evaluations["edited"].version, "c" * 64]
    rows = [
        row.model_copy(update={"versions": {"evaluation": version}, "values": {"GS": 1.0, "PS": 2.0}})
        for row, version in zip(compared.rows, versions, strict=False)
    ]
    compared = compared.model_copy(update={"rows": [*rows, compared.rows[-1]]})
    points = [
        row.model_dump() | {"values": {**row.values, "PS": 50.0}, "versions": {"edit": "e", "evaluation": f"{at}"}}
        for at, row in enumerate(sweep().rows)
    ]
    swept = sweep(rows=points)
    reported = Reported(
        evaluations,
        put_scores(store),
        experiments=[put_experiment(store, compared), put_experiment(store, swept, sweep_svg=b"<svg></svg>")],
    )
    page = Page(text_of(write_report.fn("plain", reported, store, CONTEXT)))
    (panel,) = [item for item in page.all("svg", "panel") if item.attributes["aria-label"].startswith("GS against PS")]
    circles = [item.classes for item in page.all("circle") if panel in item.around]
    # The two of the report, the comparison's control, and the sweep's four points; the paper's row is of other pairs.
    assert sorted(circles) == [["m0"], ["m1"], ["m2"], *[["m3", "faint"]] * 4]
