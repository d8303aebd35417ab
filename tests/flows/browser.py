"""Chromium without a window, told what to do over a pipe by its DevTools protocol: what a page looks like when it is open."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CODES = {  # of keys without a letter, and the text that they write
    "Enter": (13, "\r"),
    "Tab": (9, ""),
    "Escape": (27, ""),
    "Delete": (46, ""),
    "ArrowUp": (38, ""),
    "ArrowDown": (40, ""),
    "Home": (36, ""),
    "End": (35, ""),
    "/": (191, "/"),
    "?": (191, "?"),
}


def installed() -> str | None:
    """The browser's command, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class Page:
    """One page; what it logs and every error in it is kept in ``problems``."""

    def __init__(self, command: str, profile: Path) -> None:
        self._to_browser, self._out = (
            os.pipe()
        )  # the browser reads one and writes the other, as file descriptors 3 and 4
        self._in, self._from_browser = os.pipe()
        for end in (self._to_browser, self._from_browser):
            os.set_inheritable(end, True)
        script = f'exec "$0" "$@" 3<&{self._to_browser} 4>&{self._from_browser}'
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, command, *flags, f"--user-data-dir={profile}", "--no-first-run"],
            pass_fds=(self._to_browser, self._from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(self._to_browser)
        os.close(self._from_browser)
        self._buffer, self._number = b"", 0
        self.problems: list[str] = []
        self.requested: list[str] = []
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session: str | None = None
        self._session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    _session: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": values or {}}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def open(
        self, place: Path | str, *, width: int, height: int = 900, is_dark: bool = False, calm: bool = True
    ) -> None:
        """Show a file or an address at a size, light or dark, and wait until it is there; ``calm`` asks for no movement."""
        self.resize(width, height)
        wanted = {"prefers-color-scheme": "dark" if is_dark else "light"}
        wanted["prefers-reduced-motion"] = "reduce" if calm else "no-preference"
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.call("Emulation.setEmulatedMedia", {"features": features})
        url = place.resolve().as_uri() if isinstance(place, Path) else place
        self.call(
            "Page.navigate", {"url": "about:blank"}
        )  # from one place in a page to another nothing would be loaded
        self.wait("location.href === 'about:blank' && document.readyState === 'complete'")
        if url != "about:blank":
            self.call("Page.navigate", {"url": url})
            self.wait("location.href !== 'about:blank' && document.readyState === 'complete'")

    def resize(self, width: int, height: int = 900) -> None:
        """Give the page another size; a narrow one is a phone's."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", size)

    def wait(self, condition: str, *, seconds: float = 20) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, (
                f"{condition} does not come true. The page says: {self.run('document.body?.innerText')}"
            )
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a CSS selector finds, as a mouse does."""
        place = self.run(
            f"""(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{block: "nearest"}});
            const box = one.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            values = {"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", values)

    def type(self, text: str) -> None:
        """Type letters into what has the focus."""
        self.call("Input.insertText", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys one after the other; "Alt+ArrowUp" holds the first while the other is pressed."""
        for key in keys:
            held, _, name = key.rpartition("+")
            code, text = CODES.get(name, (0, name if len(name) == 1 else ""))
            values: dict[str, Any] = {"key": name, "modifiers": {"": 0, "Alt": 1, "Shift": 8}[held]}
            values |= {"windowsVirtualKeyCode": code or ord(name.upper())} | (
                {"text": text} if text and not held else {}
            )
            self.call("Input.dispatchKeyEvent", {"type": "keyDown" if "text" in values else "rawKeyDown"} | values)
            self.call("Input.dispatchKeyEvent", {"type": "keyUp"} | values)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", {"expression": script, "returnByValue": True})
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """The whole page as a PNG, or what is in view of it."""
        found = self.call("Page.captureScreenshot", {"captureBeyondViewport": whole})
        path.write_bytes(base64.b64decode(found["data"]))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], 30)
            assert ready, "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has gone"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        values = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(values["exceptionDetails"]))
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.problems.append(str(values["args"]))
        elif message.get("method") == "Log.entryAdded":
            self.problems.append(values["entry"]["text"])
        elif message.get("method") == "Network.requestWillBeSent":
            self.requested.append(values["request"]["url"])
        return message
