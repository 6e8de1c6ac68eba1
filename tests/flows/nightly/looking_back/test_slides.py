"""A figure that gets worse little by little is named, although no night trips a gate."""

from data_specs.moments import moment_of
from flows.nightly.looking_back.history import HistoryFilter, history_of
from flows.nightly.looking_back.slides import with_slides
from flows.nightly.looking_back.watch_report import watch_report
from tasks.lineage.store import Store
from tests.cases.command_line import called
from tests.cases.nights import at, gate_result, keep, measured, night

NOW = moment_of(at(28))


def nights(values, **more):
    return [
        night(at(day), measured(gs, **({"gates": [gate_result()], "intervals": {"GS": (gs - 1, gs + 1)}} | more)))
        for day, gs in enumerate(values, 1)
    ]


def slides(root, metrics=("GS",)):
    return with_slides(root, history_of(root, HistoryFilter(), NOW), metrics).slides


def test_a_slow_slide_is_named_for_its_model_and_set_and_a_steady_figure_is_not(tmp_path):
    keep(tmp_path, *nights([60 - 0.7 * n for n in range(9)]))
    keep(tmp_path, *(each.model_copy(update={"watch": "steady"}) for each in nights([60, 60.4] * 4)))
    (found,) = slides(tmp_path)
    assert (found.watch, found.model, found.set, found.slide.metric) == ("production", "current", "visu", "GS")
    # By hand: the line through 60, 59.3, … falls by 0.7 points a night.
    assert abs(found.slide.slope + 0.7) < 1e-9
    assert found.slide.paired is False


def test_what_gates_look_at_is_looked_at_without_being_asked_for(tmp_path):
    keep(tmp_path, *nights([60 - 0.7 * n for n in range(9)]))
    assert [item.slide.metric for item in slides(tmp_path, ())] == ["GS"]


def test_too_few_nights_and_nights_without_a_figure_are_no_slide(tmp_path):
    keep(tmp_path, *nights([60, 57, 54]))
    keep(tmp_path, *(each.model_copy(update={"watch": "none"}) for each in nights([60, 57, 54, 51], figures={})))
    assert slides(tmp_path) == []


def test_evaluations_that_cannot_be_read_leave_each_night_its_own_interval(tmp_path):
    keep(tmp_path, *nights([60 - 0.7 * n for n in range(9)]))
    before = slides(tmp_path)
    (tmp_path / "evaluation" / ("c" * 64)).mkdir(parents=True)
    assert slides(tmp_path) == before != []


def test_a_slide_stands_below_its_nights_in_json_and_before_all_lights_on_the_page(tmp_path):
    keep(tmp_path, *nights([60 - 0.7 * n for n in range(9)]))
    shown = called("history", "--store", str(tmp_path)).stdout.splitlines()
    (sentence,) = [item.slide.sentence for item in slides(tmp_path)]
    assert shown[-1] == f"slow slide: {sentence}"
    assert '"slides": [{"watch": "production"' in called("history", "--store", str(tmp_path), "--json").stdout
    page = watch_report(Store(tmp_path), "production", tmp_path / "x.html", NOW)
    assert page.index("Slow slide") < page.index("How each stands")
