"""Drives a headless Chromium by the W3C WebDriver protocol, which is JSON over HTTP.

It needs Debian's packages `chromium` and `chromium-driver`, or the same programs on the path under
these names, and no package of Python.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = ["BROWSER", "DRIVER", "Browser", "chromium"]

BROWSER: Final = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER: Final = shutil.which("chromedriver")

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
_LIMIT_S: Final = 25.0
# Without a sandbox because CI is root in a container; the rest keeps it from calling home.
_ARGUMENTS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)


@attrs.frozen
class Browser:
    """One window of a browser."""

    _connection: HTTPConnection
    _session: str

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self._send("POST", "url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of a function in the page, and give what it returns."""
        return self._send("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def follow(self, selector: str) -> None:
        """Click the first element that a CSS selector finds, and wait for the page it loads."""
        self.run("window.isLeft = true")
        found = self._send("POST", "element", {"using": "css selector", "value": selector})
        self._send("POST", f"element/{found[_ELEMENT]}/click", {})
        until_s = time.monotonic() + _LIMIT_S
        while not self.run("return !window.isLeft && document.readyState === 'complete'"):
            assert time.monotonic() < until_s, f"{selector} loads nothing"

    def texts(self, selector: str) -> list[str]:
        """Give what a reader sees in every element that a CSS selector finds."""
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)"
        texts: list[str] = self.run(script, selector)
        return texts

    def screen(self, width: int, height: int, *, scheme: str = "light") -> None:
        """Give the window the size of a screen, and its user a liking for light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def console(self) -> list[str]:
        """Give what the browser complained about since it was asked last."""
        entries = self._send("POST", "se/log", {"type": "browser"})
        return [entry["message"] for entry in entries]

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole page."""
        shot = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._send("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def _send(self, method: str, path: str, body: dict[str, Any]) -> Any:
        return _answer(self._connection, method, f"/session/{self._session}/{path}", body)


@contextmanager
def chromium(profile: Path) -> Generator[Browser]:
    """Start a browser with an empty profile in that folder, and end it afterwards."""
    assert DRIVER is not None
    assert BROWSER is not None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        connection = HTTPConnection("127.0.0.1", _port(driver), timeout=_LIMIT_S)
        options = {"binary": BROWSER, "args": [*_ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        capabilities = {"capabilities": {"alwaysMatch": wanted}}
        session = _answer(connection, "POST", "/session", capabilities)["sessionId"]
        try:
            yield Browser(connection, session)
        finally:
            _answer(connection, "DELETE", f"/session/{session}", None)
            connection.close()
    finally:
        driver.terminate()
        driver.communicate(timeout=_LIMIT_S)


def _port(driver: subprocess.Popen[str]) -> int:
    assert driver.stdout is not None
    for line in driver.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found[1])
    message = "chromedriver ended before it had a port"
    raise RuntimeError(message)


def _answer(connection: HTTPConnection, method: str, path: str, body: object) -> Any:
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())["value"]
    if response.status != 200:
        raise RuntimeError(f"{path}: {answer['message']}")
    return answer
