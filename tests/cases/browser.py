"""A real browser, under DevTools' protocol."""

import itertools
import json
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
LISTENING = "DevTools listening on "


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

    def draw(self):
        """Wait until what is seen is what was asked for."""
        frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
        self.call("Runtime.evaluate", expression=frames, awaitPromise=True)

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


@contextmanager
def screen(tab, width, media=""):
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=1100, deviceScaleFactor=1, mobile=False)
    tab.call("Emulation.setEmulatedMedia", media=media)
    tab.draw()
    try:
        yield
    finally:
        tab.call("Emulation.setEmulatedMedia", media="")
        tab.call("Emulation.clearDeviceMetricsOverride")
        tab.draw()
