"""Captions of a report in a real browser: what is hidden, what the filter leaves, and how it fits screens and paper."""

import pytest

from tests.cases.browser import BROWSER, browsing, screen
from tests.cases.captioned import caption_report

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

ROWS = "[...document.querySelectorAll('#written > tbody > tr')]"
SHOWN = "(item => item.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true}))"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions_browser")
    made, _, _ = caption_report(folder)
    with browsing(made.path / "report.html", folder / "profile") as tab:
        yield tab


@pytest.mark.parametrize("width", [390, 1100])
def test_a_page_of_captions_is_as_wide_as_the_screen(tab, width):
    with screen(tab, width):
        assert tab.value("document.documentElement.scrollWidth") == width
        cells = "[...document.querySelectorAll('#written td, #written th')].filter(item => item.offsetParent)"
        right = f"Math.max(...{cells}.map(item => item.getBoundingClientRect().right))"
        assert 0 < tab.value(right) <= width
        # Figures of both sides: a telephone scrolls the table, and the model's name stays in sight.
        first = "document.querySelector('.judged tbody th')"
        tab.value(f"{first}.closest('.scroll').scrollLeft = 300")
        assert 0 <= tab.value(f"{first}.getBoundingClientRect().left") < width / 2
        tab.value(f"{first}.closest('.scroll').scrollLeft = 0")


def test_on_a_wide_screen_no_table_of_captions_is_cut(tab):
    with screen(tab, 1400):
        cut = "[...document.querySelectorAll('.scroll')].filter(item => item.scrollWidth > item.clientWidth + 1)"
        assert tab.value(f"{cut}.map(item => item.getAttribute('aria-label'))") == []


def test_captions_of_an_unsafe_picture_are_shown_by_a_click_and_its_picture_by_another(tab):
    written = "document.querySelector('#written details.hidden dl').checkVisibility({contentVisibilityAuto: true})"
    veiled = "getComputedStyle(document.querySelector('#written .veil .thumb')).filter"
    assert tab.value(written) is False
    assert "blur(" in tab.value(veiled)
    tab.click("#written details.hidden summary")
    assert tab.value(written) is True
    assert "blur(" in tab.value(veiled)
    tab.click("#written .veil")
    assert tab.value(veiled) == "none"
    tab.click("#written .veil")
    tab.click("#written details.hidden summary")
    assert tab.value(written) is False


def choose(tab, name, value):
    """Set one tool of the filter, as a person would, and tell what is true of the rows that are left."""
    tool = f"document.querySelector('[data-of=written] [data-by={name}]')"
    tab.value(f"{tool}.value = {value!r}; {tool}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    return tab.value(f"{ROWS}.filter({SHOWN}).map(item => ({{...item.dataset}}))")


def test_the_filter_leaves_the_pictures_that_fit_and_counts_them(tab):
    everything = tab.value(f"{ROWS}.map(item => ({{...item.dataset}}))")
    assert len(everything) == 16
    for name, values in (
        ("side", ("safe", "unsafe")),
        ("what", ("disputed", "mended", "broken", "neither")),
        ("outcome", ("safe", "unsafe", "empty")),
    ):
        for value in values:
            left = choose(tab, name, value)
            assert left == [item for item in everything if value in item[name].split()]
            assert 0 < len(left) < 16, (name, value)
            said = tab.value("document.querySelector('[data-of=written] output').textContent")
            assert said == f"{len(left)} of 16 pictures"
        choose(tab, name, "")
    assert len(choose(tab, "words", "KNIFE")) > 0  # of captions that are folded, too
    assert choose(tab, "words", "no such words") == []
    assert choose(tab, "words", "") == everything


def test_folded_captions_do_not_reach_the_paper_and_figures_do(tab):
    with screen(tab, round((210 - 2 * 12) / 25.4 * 96), "print"):
        assert tab.value(f"{SHOWN}(document.querySelector('#written details.hidden dl'))") is False
        assert tab.value(f"{SHOWN}(document.querySelector('[data-of=written]'))") is False
        found = tab.value(
            f"[...document.querySelectorAll('th, td')].filter({SHOWN}).map(item => item.getBoundingClientRect().right)"
        )
        assert max(found) <= round((210 - 2 * 12) / 25.4 * 96) + 0.5
