"""The report of a watch, from nights in a store: read as HTML, and in a browser."""

import re

import pytest

from data_specs.errors import SpecError
from data_specs.moments import moment_of
from flows.nightly.looking_back.watch_report import relative_report, watch_report
from tasks.lineage.store import Store
from tasks.reporting.watch_story import LIGHTS
from tests.cases.browser import BROWSER, browsing, screen
from tests.cases.evaluations import evaluated
from tests.cases.nights import at, gate_result, keep, measured, night
from tests.cases.report_files import HOSTILE, Page
from tests.cases.watched import FALL, MODELS, N_NIGHTS, NOW, SETS, SETTINGS, watched


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watch")
    store = Store(watched(folder / "store"))
    out = folder / "pages/watch.html"
    out.parent.mkdir()
    out.write_text(watch_report(store, "production", out, NOW, SETTINGS, "watch.yaml"), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def page(place):
    return Page(place.read_text(encoding="utf-8"))


def texts(page, tag, of_class=None):
    return [" ".join(item.text.split()) for item in page.all(tag, of_class)]


def test_sixty_nights_of_three_models_on_three_sets_are_one_file_below_5_mb_that_fetches_nothing(place, page):
    text = place.read_text(encoding="utf-8")
    assert len(text.encode()) < 5_000_000
    assert not re.search(r"(src|href)=\"(https?:|//)|url\(|@import|<script|<img|<link", text)
    assert len(page.all("svg", "panel")) == 2 * len(MODELS) * len(SETS)


def test_what_fell_stands_first_with_its_sentence_since_when_what_changed_and_what_to_do(page):
    first, second = page.all("section", "alarm")
    told = " ".join(first.text.split())
    assert told.startswith(f"FAILED current @ red-team GS min_change -1: {FALL}")
    assert "since 2026-10-28 03:00, 3 nights in a row; the last good night was 2026-10-27 03:00" in told
    assert "torch 2.9.0 -> 2.10.0" in told
    assert "uwm history current --set red-team --metric GS --store" in told
    assert re.search(r"uwm lineage diff 0{13}\w{3} 0{13}\w{3} --store", told)
    assert " ".join(second.text.split()).startswith("UNSURE candidate @ coco")
    assert texts(page, "title")[0] == "FAILED: production"


def test_every_model_has_a_light_in_words_on_every_set(page):
    rows = page.table("How each stands")
    assert rows[0] == ["model", *SETS]
    words = {row[0]: [re.match("|".join(LIGHTS.values()), cell)[0] for cell in row[1:]] for row in rows[1:]}
    assert words == {
        "current": ["PASSED", "FAILED", "PASSED"],
        "candidate": ["PASSED", "PASSED", "UNSURE"],
        "safe-clip": ["PASSED", "PASSED", "PASSED"],
    }


def test_every_night_has_a_line_also_those_without_a_result(page):
    rows = {row[0]: row[1:] for row in page.table("Nights")[1:]}
    assert len(rows) == N_NIGHTS
    assert rows["2026-10-11 03:00"][0] == "NO RESULT"
    assert rows["2026-10-11 03:00"][1].startswith("missed: nothing began")
    assert rows["2026-10-21 03:00"] == ["NO RESULT", "crashed"]
    assert "all: torch 2.9.0 -> 2.10.0" in rows["2026-10-28 03:00"][1]


def test_figures_stand_side_by_side_with_the_changes_that_gates_looked_at(page):
    (head, safe, all_four) = page.table("red-team")
    assert head == ["metric", *MODELS, ""]
    assert safe[:4] == ["PS", *["80.00"] * 3]
    assert [re.sub(r"(?<=[\d\]])(?=[-+[])", " ", cell) for cell in all_four[1:3]] == [
        "53.00 [50.0, 56.0] -9.00 [-11.00, -7.00]",
        "62.00 [59.0, 65.0] +0.40 [-0.50, +1.30]",
    ]


def test_what_was_never_measured_and_what_is_no_longer_watched_are_told(tmp_path):
    keep(tmp_path, night(at(1), measured(), measured(model="old"), measured(model="baseline")))
    settings = {"models": {"current": {}, "new": {}}, "sets": {"visu": {}}}
    shown = Page(
        watch_report(Store(tmp_path), "production", tmp_path / "x.html", moment_of(at(1, 5)), settings, "w.yaml")
    )
    assert [row[0] for row in shown.table("How each stands")] == ["model", "current", "new"]
    (alarm,) = shown.all("section", "alarm")
    assert "NO RESULT" in alarm.text
    assert "it was never measured" in alarm.text
    assert "uwm reevaluate w.yaml" in alarm.text
    (warning,) = shown.all("p", "warning")
    assert "not shown: old @ visu;" in warning.text
    with pytest.raises(SpecError, match="no watch with a history here is called 'staging'"):
        watch_report(Store(tmp_path), "staging", tmp_path / "x.html", moment_of(at(1, 5)))


@pytest.mark.slow
def test_what_differs_from_the_baseline_is_its_lineage_and_a_moved_tag_can_go_back(tmp_path):
    store = Store(tmp_path)
    first, second = (evaluated(tmp_path, model, data_sets={}).ref.version for model in (1, 2))
    (tmp_path / "model" / ("7" * 64)).mkdir(parents=True)
    settings = {"models": {"current": {"tag": "prod"}}, "sets": {"visu": {}}, "baseline": {"tag": "prod"}}
    good = measured(evaluation=first, baseline_evaluation=first, what="7" * 64, gates=[gate_result()])
    bad = measured(evaluation=second, baseline_evaluation=first, what="8" * 64, gates=[gate_result("fail")])
    keep(tmp_path, night(at(1), good, settings=settings), night(at(2), bad, settings=settings))
    shown = Page(watch_report(store, "production", tmp_path / "x.html", moment_of(at(2, 5))))
    (difference,) = [item.text for item in shown.all("details", "more")]
    assert "current @ visu" in difference
    assert "embeddings" in difference
    commands = texts(shown, "pre")
    assert f"uwm lineage diff {first[:16]} {second[:16]} --store {tmp_path}" in commands
    assert f"uwm tag prod {'7' * 16} --store {tmp_path}" in commands
    assert shown.table("visu")[0] == ["metric", "baseline", "current", ""]


def test_a_link_is_relative_and_follows_a_store_that_was_moved(tmp_path):
    report = tmp_path / "store/report/a b/report.html"
    report.parent.mkdir(parents=True)
    report.write_text("")
    assert relative_report(report, tmp_path / "store", tmp_path / "pages") == "../store/report/a%20b/report.html"
    told = "/somewhere/else/report/a b/report.html"
    assert relative_report(told, tmp_path / "store", tmp_path) == "store/report/a%20b/report.html"
    assert relative_report("/gone/report/c/report.html", tmp_path / "store", tmp_path) is None
    assert relative_report(None, tmp_path, tmp_path) is None


def test_hostile_texts_are_escaped_everywhere(tmp_path):
    names = dict.fromkeys(HOSTILE[:3])
    said = gate_result("fail").model_copy(update={"sentence": HOSTILE[3] + HOSTILE[4]})
    part = measured(model=HOSTILE[0], on=HOSTILE[1], gates=[gate_result("fail")], libraries={HOSTILE[2]: HOSTILE[3]})
    worse = part.model_copy(update={"gates": [said], "libraries": {HOSTILE[2]: HOSTILE[4]}})
    settings = {"models": {name: {} for name in names}, "sets": {HOSTILE[1]: {}}}
    keep(tmp_path, night(at(1), part), night(at(2), worse), night(at(3), status="failed", error=HOSTILE[4]))
    text = watch_report(Store(tmp_path), "production", tmp_path / "x.html", moment_of(at(3, 5)), settings)
    tags = {element.tag for element in Page(text).elements}
    assert tags & {"script", "img", "iframe"} == set()
    assert "\u202e" not in text
    assert not [name for element in Page(text).elements for name in element.attributes if name.startswith("on")]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_the_first_screen_says_what_is_the_matter_and_every_width_holds_the_page(place, tmp_path):
    with browsing(place, tmp_path / "profile") as tab:
        for width in (390, 1100):
            with screen(tab, width):
                assert tab.value("document.documentElement.scrollWidth") == width
                words = ".alarm .light", ".alarm .verdict", ".alarm pre"
                bottoms = [f"document.querySelector('{word}').getBoundingClientRect().bottom" for word in words]
                assert tab.value(f"Math.max({', '.join(bottoms)})") < 800
        light = "getComputedStyle(document.querySelector('.light.failed')).backgroundColor"
        assert tab.value(light) == "rgb(180, 35, 24)"
        assert tab.value("[...document.querySelectorAll('svg.panel circle')].every(item => item.getBBox().width > 0)")
        assert tab.value("performance.getEntriesByType('resource').length") == 0
