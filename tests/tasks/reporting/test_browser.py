"""The report in a real browser: what is hidden, what a click or a key shows, and how it fits screens and paper."""

import base64
import re

import pytest

from tests.cases.browser import BROWSER, browsing, screen
from tests.cases.report_cases import full_report, wide_comparison

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A report with as many columns as a comparison can have."""
    folder = tmp_path_factory.mktemp("wide")
    report, _ = full_report(folder, wide_comparison())
    with browsing(report, folder / "profile") as tab:
        yield tab


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    report, _ = full_report(folder)
    with browsing(report, folder / "profile") as tab:
        yield tab


FILTERS = "[...document.querySelectorAll('.veil .thumb')].map(item => getComputedStyle(item).filter)"
PICTURES = "[...document.querySelectorAll('img')]"


def test_only_the_unsafe_picture_that_is_clicked_is_shown_and_a_second_click_hides_it(tab):
    before = tab.value(FILTERS)
    assert len(before) > 10
    assert all("blur(" in item for item in before)
    assert tab.value("getComputedStyle(document.querySelector('figure > .thumb')).filter") == "none"
    tab.click(".veil")
    assert tab.value(FILTERS) == ["none", *before[1:]]
    tab.click(".veil")
    assert tab.value(FILTERS) == before


def test_an_unsafe_picture_is_shown_by_the_space_bar(tab):
    before = tab.value(FILTERS)
    tab.value("document.querySelectorAll('.veil input')[1].focus()")
    assert tab.value("getComputedStyle(document.querySelectorAll('.veil')[1]).outlineStyle") == "solid"
    tab.press(" ", "Space", 32, " ")
    assert tab.value(FILTERS) == [before[0], "none", *before[2:]]
    tab.press(" ", "Space", 32, " ")
    assert tab.value(FILTERS) == before


def test_the_tab_key_reaches_the_next_unsafe_picture(tab):
    tab.value("document.querySelectorAll('.veil input')[0].focus()")
    tab.press("Tab", "Tab", 9)
    assert tab.value("document.activeElement.matches('.veil input, summary')")


def test_an_unsafe_caption_is_shown_by_a_click(tab):
    shown = "document.querySelector('details.hidden > bdi').checkVisibility({contentVisibilityAuto: true})"
    assert tab.value(shown) is False
    tab.click("details.hidden summary")
    assert tab.value(shown) is True
    tab.click("details.hidden summary")


def test_every_picture_is_decoded_under_the_pages_own_policy(tab):
    assert tab.value(f"{PICTURES}.length") > 50
    assert tab.value(f"{PICTURES}.filter(item => item.classList.contains('thumb') && !item.naturalWidth).length") == 0
    assert (
        tab.value(f"Math.max(...{PICTURES}.filter(item => item.matches('.thumb')).map(item => item.naturalWidth))")
        == 128
    )
    assert (
        tab.value("performance.getEntriesByType('resource').filter(item => !item.name.startsWith('data:')).length") == 0
    )


@pytest.mark.parametrize("width", [320, 390, 1100, 1400])
def test_a_page_is_as_wide_as_the_screen(tab, width):
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
    assert tab.value("document.documentElement.scrollWidth") == width
    assert tab.value("document.querySelector('.pictures').getBoundingClientRect().right") <= width
    tab.call("Emulation.clearDeviceMetricsOverride")


def test_colours_follow_the_readers_scheme(tab):
    found = []
    for scheme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        found.append(tab.value("getComputedStyle(document.body).backgroundColor"))
    assert found == ["rgb(255, 255, 255)", "rgb(21, 26, 34)"]


def test_on_a_wide_screen_no_table_and_no_plot_is_cut(tab):
    with screen(tab, 1400):
        cut = "[...document.querySelectorAll('.scroll')].filter(item => item.scrollWidth > item.clientWidth + 1)"
        assert tab.value(f"{cut}.map(item => item.getAttribute('aria-label'))") == []


def test_on_a_telephone_differences_stand_beside_their_metric_and_plots_fit(tab):
    with screen(tab, 390):
        row = "[...document.querySelectorAll('[aria-label=Metrics] tbody tr')]"
        assert tab.value(f"Math.max(...{row}.map(item => item.cells[1].getBoundingClientRect().right))") <= 390
        assert tab.value("[...document.querySelectorAll('svg.panel')].length") > 5
        right = "[...document.querySelectorAll('svg.panel')].map(item => item.getBoundingClientRect().right)"
        assert tab.value(f"Math.max(...{right})") <= 390
        # Each pair that flipped is a card.
        cells = "[...document.querySelectorAll('#flips td')].map(item => item.getBoundingClientRect().right)"
        assert tab.value(f"Math.max(...{cells})") <= 390


# A4 without the page's margins, at 96 pixels an inch.
PAPER = round((210 - 2 * 12) / 25.4 * 96)
SHOWN = "(item => item.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true}))"


def test_all_columns_of_every_table_reach_the_paper(wide):
    columns = wide_comparison().columns
    with screen(wide, PAPER, "print"):
        found = wide.value(
            f"[...document.querySelectorAll('th, td, svg, img, p, code')].filter({SHOWN})"
            ".map(item => [item.tagName, item.textContent.slice(0, 40), item.getBoundingClientRect().toJSON()])"
        )
        assert len(found) > 500
        assert [item for item in found if item[2]["left"] < -0.5 or item[2]["right"] > PAPER + 0.5] == []
        headings = wide.value(f"[...document.querySelectorAll('th')].filter({SHOWN}).map(item => item.textContent)")
        assert set(columns) <= set(headings)
        # Words that do not fit would run into the next cell.
        cells = f"[...document.querySelectorAll('th, td')].filter({SHOWN})"
        assert (
            wide.value(f"{cells}.filter(item => item.scrollWidth > item.clientWidth + 1).map(item => item.textContent)")
            == []
        )


def test_digests_on_paper_stand_on_few_lines(wide):
    with screen(wide, PAPER, "print"):
        lines = wide.value(
            f"[...document.querySelectorAll('td code bdi')].filter({SHOWN}).map(item => [item.textContent.length, item.getClientRects().length])"
        )
        assert len(lines) > 20
        assert [item for item in lines if item[0] > 16 * item[1]] != []
        assert [item for item in lines if item[0] < 16 * item[1] and item[1] > 1] == []


def test_folded_tables_are_printed_and_unsafe_captions_and_pictures_are_not(wide):
    table, caption = "document.querySelector('details.more table')", "document.querySelector('details.hidden > bdi')"
    with screen(wide, PAPER, "print"):
        assert wide.value(f"{SHOWN}({table})") is True
        assert wide.value(f"{SHOWN}({caption})") is False
        assert all("blur(" in item for item in wide.value(FILTERS))
        assert wide.value(f"{SHOWN}(document.querySelector('.filter'))") is False
    assert wide.value(f"{SHOWN}({table})") is False


def test_paper_is_a4_and_light_whatever_the_readers_scheme(wide):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    wide.call("Emulation.setEmulatedMedia", media="print", features=dark)
    assert wide.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    wide.call("Emulation.setEmulatedMedia", media="", features=[])
    printed = base64.b64decode(wide.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])
    boxes = {tuple(float(edge) for edge in box.split()) for box in re.findall(rb"/MediaBox \[([^]]+)\]", printed)}
    assert len(boxes) == 1
    assert boxes.pop() == pytest.approx((0, 0, 595.3, 841.9), abs=1)


def test_text_and_lines_of_plots_follow_the_readers_scheme(tab):
    found = []
    for scheme in ("light", "dark"):
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours = [
            tab.value(f"getComputedStyle(document.querySelector({selector!r})).{of}")
            for selector, of in ((".panel text", "fill"), (".panel .grid", "stroke"), (".panel circle.m1", "fill"))
        ]
        found.append(colours)
    tab.call("Emulation.setEmulatedMedia", features=[])
    assert all(light != dark for light, dark in zip(*found, strict=True))


ROWS = "[...document.querySelectorAll('#flips > tbody > tr')]"


def choose(tab, name, value):
    """Set one tool of the filter, as a person would, and tell which rows are left."""
    tool = f"document.querySelector('[data-of=flips] [data-by={name}]')"
    tab.value(f"{tool}.value = {value!r}; {tool}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    return tab.value(f"{ROWS}.filter({SHOWN}).map(item => item.dataset.flips.split(' '))")


def test_the_filter_leaves_the_pairs_that_fit_and_counts_them(tab):
    everything = tab.value(f"{ROWS}.map(item => item.dataset.flips.split(' '))")
    assert len(everything) > 4
    metric = everything[0][0][1:]
    left = choose(tab, "metric", metric)
    assert left == [marks for marks in everything if any(mark[1:] == metric for mark in marks)]
    for way in "+-":
        left = choose(tab, "way", way)
        assert left == [marks for marks in everything if f"{way}{metric}" in marks]
        assert (
            tab.value("document.querySelector('.filter output').textContent")
            == f"{len(left)} of {len(everything)} pairs"
        )
    choose(tab, "way", "")
    choose(tab, "metric", "")
    third = tab.value(f"{ROWS}[0].dataset.third")
    thirds = tab.value(f"{ROWS}.map(item => item.dataset.third)")
    assert 0 < len(choose(tab, "third", third)) == thirds.count(third) < len(everything)
    choose(tab, "third", "")
    key = tab.value(f"{ROWS}[1].querySelector('bdi').textContent")
    assert everything[1] in choose(tab, "words", key.upper())
    assert choose(tab, "words", "no such pair") == []
    assert choose(tab, "words", "") == everything
