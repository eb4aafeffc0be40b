"""A real headless Chromium for tests: clicks and keys are the browser's own input events, not calls of handlers."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KEYS = {"Enter": ("\r", 13), "Backspace": ("", 8), "Tab": ("", 9), "ArrowRight": ("", 39), " ": (" ", 32)}
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage"),
    # a browser of its own accord asks the network for nothing
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PATIENCE = 60.0
"""Seconds; only a page that never gets there waits so long."""


def chromium() -> str:
    """The browser's path; without one, the test is skipped, which .ci/run takes for a failure."""
    found = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


class Page:
    """One tab, driven over the DevTools protocol through a pair of pipes (``--remote-debugging-pipe``)."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._buffer, self._count = to_browser, from_browser, b"", 0
        self.problems: list[str] = []
        """Exceptions, refused loads and console errors of the page."""
        self.requests: list[str] = []
        """Addresses that the page asked for."""
        tab = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session and not method.startswith("Browser."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], PATIENCE)
            assert ready, f"no answer from the browser for {PATIENCE:g} s"
            part = os.read(self._from, 1 << 20)
            assert part, "the browser is gone"
            self._buffer += part
        first, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(first)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, path: Path) -> None:
        """Load a file from disk."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def visit(self, address: str) -> None:
        """Load a page that is served."""
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})")

    def give_file(self, selector: str, path: Path) -> None:
        """Choose a file in an ``<input type=file>``, as its dialog would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def write(self, selector: str, text: str) -> None:
        """Type over what a field holds, and leave it."""
        field = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{field}.focus(); {field}.select()")
        self.call("Input.insertText", text=text)
        self.js(f"{field}.dispatchEvent(new Event('change', {{bubbles: true}})); {field}.blur()")

    def js(self, expression: str) -> Any:
        """The value of an expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, expression: str, patience: float = PATIENCE) -> None:
        """Until an expression is true."""
        end = time.monotonic() + patience
        while not self.js(expression):
            assert time.monotonic() < end, f"never true: {expression}; {self.problems}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click the middle of an element, which has to be what lies there."""
        where = f"document.querySelector({json.dumps(selector)})"
        self.js(f"{where}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y, hit = self.js(
            f"(() => {{ const b = {where}.getBoundingClientRect(), x = b.x + b.width / 2, y = b.y + b.height / 2;"
            f" const e = document.elementFromPoint(x, y);"
            f" return [x, y, Boolean(e) && ({where}.contains(e) || e.contains({where}))]; }})()"
        )
        assert hit, f"{selector} is covered or out of sight"
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release one key."""
        text, code = KEYS.get(key, (key, ord(key[0].upper())))
        name = "Space" if key == " " else f"Key{key.upper()}" if len(key) == 1 else key
        facts = {"key": key, "code": name, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **facts)
        self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def window(self, width: int, height: int, dark: bool = False) -> None:
        """Size of the page and its colours; narrow ones are phones."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """A PNG of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def unnamed(self) -> list[str]:
        """Roles of the controls and pictures that have no name for who cannot see them."""
        nodes = [n for n in self.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
        roles = ("button", "radio", "checkbox", "combobox", "spinbutton", "slider", "image", "progressbar", "form")
        told = [n for n in nodes if n["role"]["value"] in roles]
        assert told
        return [n["role"]["value"] for n in told if not n["name"]["value"]]

    def contrasts(self) -> dict[str, float]:
        """The contrast (WCAG 2.2, 1.4.3) of every visible text against the ground behind it, by the text."""
        return self.js(CONTRAST)


CONTRAST = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = {}, walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || ['SCRIPT', 'NOSCRIPT'].includes(element.tagName) || !element.checkVisibility()) continue;
    const [a, b] = [parse(getComputedStyle(element).color), ground(element)].map(light);
    found[text.slice(0, 40)] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
})()
"""


@contextmanager
def browse(profile: Path, downloads: Path) -> Iterator[Page]:
    """A browser whose storage lies in ``profile``: opened again on the same folder, it remembers."""
    command = [chromium(), *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
    pipes = [*os.pipe(), *os.pipe()]
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (pipes[0], pipes[3])]
    wrapped = ["bash", "-c", f'exec "$@" 3<&{theirs[0]} 4>&{theirs[1]}', "bash", *command]
    process = subprocess.Popen(wrapped, pass_fds=theirs, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for end in (*theirs, pipes[0], pipes[3]):
        os.close(end)
    try:
        page = Page(pipes[1], pipes[2])
        page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        yield page
        page.call("Browser.close")  # in order, so that what the page keeps is on disk
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(pipes[1])
        os.close(pipes[2])
