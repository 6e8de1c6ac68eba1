"""A figure over time as a drawing."""

from xml.etree import ElementTree

import pytest

from data_specs.history import History, HistoryRow
from data_specs.metrics import METRICS
from tasks.reporting.history_plot import MOST_NIGHTS, history_panel, history_plot, history_svg, named_series
from tests.cases.nights import at, gate_result

GS = METRICS["GS"]


GATES = {"passed": "pass", "failed": "fail", "unsure": "unsure", "not_comparable": "not_comparable"}


def row(day, gs=50.0, outcome="passed", **more):
    given = {"at": at(day), "state": "measured", "watch": "production", "model": "current", "set": "visu"}
    figures = {"figures": {"GS": gs}, "intervals": {"GS": (gs - 2, gs + 4)}}
    # A gate of another figure says nothing of this one.
    gates = [gate_result("fail", "PS"), *([gate_result(GATES[outcome])] if outcome else [])]
    figures |= {"outcome": outcome, "gates": gates}
    return HistoryRow(**(given | figures | more))


def gap(day, state="missed", sentence="nobody was there"):
    return HistoryRow(at=at(day), state=state, watch="production", sentence=sentence)


def shapes(panel, look):
    return [shape for shape in panel.shapes if shape.look == look]


def test_points_and_whiskers_stand_where_the_axes_put_them():
    panel = history_panel("current @ visu", [row(1), row(3, 56.0, "failed")], GS)
    (first,), (second,) = shapes(panel, "gained"), shapes(panel, "lost")
    (one, other) = shapes(panel, "whisker")
    # An oracle of the axes: days on x, points on y, both linear between the panel's own bounds.
    per_day = (float(second.at["cx"]) - float(first.at["cx"])) / 2
    assert per_day == pytest.approx((panel.x(panel.xs[1]) - panel.x(panel.xs[0])) / 3, abs=0.1)
    per_point = (float(first.at["cy"]) - float(second.at["cy"])) / 6
    assert float(one.at["y1"]) - float(one.at["y2"]) == pytest.approx(6 * per_point, abs=0.2)
    assert float(other.at["x1"]) == float(other.at["x2"]) == float(second.at["cx"])
    assert first.tip == "2026-11-01 03:00: 50.0 [48.0, 54.0], passed"


def test_every_outcome_has_a_look_of_its_own():
    outcomes = ("passed", "failed", "unsure", "not_comparable", None)
    panel = history_panel("x", [row(day, outcome=outcome) for day, outcome in enumerate(outcomes, 1)], GS)
    assert [len(shapes(panel, look)) for look in ("gained", "lost", "m2", "m0", "m1")] == [1] * 5
    keys = [look for look, _ in history_plot("t", [("x", [row(1)])], ["GS"]).key]
    assert {"gained", "lost", "m2", "m0", "m1", "missed"} == {*keys}


def test_nights_without_a_result_and_changes_are_marked_and_say_why():
    changed = row(3, shards_added=["s3://drop/a.tar", "s3://drop/b.tar"], changes=["torch 2.9 -> 2.10"])
    panel = history_panel("x", [row(1), gap(2), changed, gap(4, "crashed", "")], GS)
    assert [shape.tip for shape in shapes(panel, "missed")] == [
        "2026-11-02 03:00: never fired: nobody was there",
        "2026-11-04 03:00: crashed",
    ]
    (mark,) = shapes(panel, "changed")
    assert mark.tip == "2026-11-03 03:00: 2 shards added (a.tar, b.tar); torch 2.9 -> 2.10"


def test_the_baseline_on_the_same_pairs_is_a_line():
    gates = [gate_result(baseline=61.0), gate_result(metric="PS", baseline=9.0)]
    panel = history_panel("x", [row(1, gates=gates), row(2, gates=gates)], GS)
    (line,) = shapes(panel, "baseline")
    heights = {part.split()[1] for part in line.at["d"].replace("L", "M").split("M") if part}
    assert heights == {f"{panel.y(61.0):.1f}"}


def test_a_figure_that_was_never_measured_or_is_none_has_no_panel():
    assert history_panel("x", [gap(1), row(2, figures={"PS": 1.0})], GS) is None
    assert history_panel("x", [row(2, float("nan"))], GS) is None
    assert history_plot("t", [("x", [row(1)])], ["GS", "PS"]).panels[0].title == "x: GS"


def test_the_newest_nights_are_drawn_of_many():
    rows = [row(1 + n % 28, month, at=at(1 + n % 28, month=month)) for month in range(1, 12) for n in range(28)]
    (panel,) = history_plot("t", [("x", rows)], ["GS"]).panels
    assert len(shapes(panel, "gained")) == MOST_NIGHTS
    assert shapes(panel, "gained")[-1].tip.startswith("2026-11-28")


def test_a_file_of_its_own_is_svg_whatever_names_say(tmp_path):
    hostile = '"/><script>alert(1)</script>\u202e'
    found = History(rows=[row(1, model=hostile, changes=[hostile]), row(2, model=hostile, changes=[hostile])])
    root = ElementTree.fromstring(history_svg(found, ["GS"]))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "style", "g", "line", "text", "path", "circle"}
    assert ElementTree.fromstring(history_svg(History(rows=[]), ["GS"])).tag.endswith("svg")


def test_a_series_is_named_by_its_watch_where_there_are_several():
    rows = [row(1), row(1, watch="staging"), row(1, watch=None, model="small edited", set="a.tar")]
    assert [*named_series(History(rows=rows))] == [
        "current @ visu (production)", "current @ visu (staging)", "small edited @ a.tar"
    ]  # fmt: skip
    assert [*named_series(History(rows=rows[:1]))] == ["current @ visu"]


@pytest.mark.parametrize(("last", "dates"), [(at(1, 4), ["2026-11-01"]), (at(9), ["2026-11-02", "2026-11-04"])])
def test_dates_stand_below_however_few_or_many_nights_there_are(last, dates):
    panel = history_panel("x", [row(1), row(1, at=last)], GS)
    told = [shape.text for shape in panel.shapes if shape.text.startswith("2026-")]
    assert told[: len(dates)] == dates
    places = [float(shape.at["x"]) for shape in panel.shapes if shape.text.startswith("2026-")]
    assert all(40 < place < panel.width - 30 for place in places)
