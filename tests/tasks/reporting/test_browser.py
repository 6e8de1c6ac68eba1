"""The report in a real browser: what is hidden, what a click or a key shows, and how it fits a narrow screen."""

import itertools
import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from tests.cases.report_cases import full_report

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
LISTENING = "DevTools listening on "
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


class Tab:
    """A tab under DevTools' protocol."""

    def __init__(self, connection):
        self._connection, self._numbers = connection, itertools.count(1)

    def call(self, method, **parameters):
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=600))).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def value(self, expression):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def click(self, selector):
        """A mouse click in the middle of the first element that fits."""
        self.value(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        box = self.value(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **place)

    def press(self, key, code, number, text=""):
        key = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **key)
        self.call("Input.dispatchKeyEvent", type="keyUp", **key)


@contextmanager
def browsing(page, profile):
    """A tab that shows a file; the browser ends with the block."""
    from websockets.sync.client import connect

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command = [BROWSER, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", page.as_uri()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # A browser that says nothing would be waited for without end.
    patience = threading.Timer(300, process.kill)
    patience.start()
    try:
        said, address = [], None
        for line in process.stderr:
            said.append(line)
            if LISTENING in line:
                address = line.split(LISTENING)[1].strip()
                break
        patience.cancel()
        if address is None:
            pytest.skip(f"{BROWSER} does not start here: {''.join(said[-3:])}")
        with connect(address, max_size=None) as main:
            targets = Tab(main).call("Target.getTargets")["targetInfos"]
            target = next(item["targetId"] for item in targets if item["type"] == "page")
        with connect(f"{address.split('/devtools')[0]}/devtools/page/{target}", max_size=None) as connection:
            tab = Tab(connection)
            deadline = time.monotonic() + 300
            while tab.value("document.readyState + location.protocol") != "completefile:":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield tab
    finally:
        patience.cancel()
        process.terminate()
        process.wait(timeout=600)
        process.stderr.close()


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


@pytest.mark.parametrize("width", [320, 400, 1100])
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
