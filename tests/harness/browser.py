# SPDX-License-Identifier: MIT
"""Chromium without a window, driven over a pipe (Chrome DevTools Protocol): no port, no library."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.harness import debian

PROGRAMS: Final = ("chromium-headless-shell", "chromium", "google-chrome")
ANSWER_SECONDS: Final = 60

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # runs as root in the tests; the pages are our own files
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Return a Chromium, installing Debian's when that can be done; None if there is none."""
    return debian.find(*PROGRAMS, package=PROGRAMS[0])


class Page:
    """One tab."""

    def __init__(self, send: int, receive: int) -> None:
        self.requests: list[str] = []
        """Addresses that were asked for."""
        self.complaints: list[str] = []
        """Errors, and what the page's policy forbade."""
        self._send = send
        self._receive = receive
        self._rest = b""
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file."""
        self.requests.clear()
        self.complaints.clear()
        self._call("Page.navigate", url="about:blank")
        self._call("Page.navigate", url=path.as_uri() + fragment)

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401  (whatever JSON can say)
        """Return the value of an expression; a promise is waited for."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = ANSWER_SECONDS) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression}: {self.complaints}")
            time.sleep(0.05)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """Be of another size, and of another colour scheme."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def medium(self, name: str) -> None:
        """Be for "print", or as before for ""."""
        self._call("Emulation.setEmulatedMedia", media=name)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen as PNG."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self._notice(answer.get("method", ""), answer.get("params", {}))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._receive, 1 << 20)
            if not data:
                raise AssertionError("Chromium has ended")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _notice(self, method: str, parameters: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(parameters["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(parameters["entry"]["text"])
            case _:
                pass


@contextmanager
def browser(chromium: str, profile: Path) -> Generator[Page]:
    """Run Chromium with a profile of its own."""
    here_receive, there_send = os.pipe()
    there_receive, here_send = os.pipe()
    # The pipe's ends have to be 3 and 4.
    script = f'exec "$@" 3<&{there_receive} 4>&{there_send}'
    program = subprocess.Popen(
        ["bash", "-c", script, "bash", chromium, *_FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(there_receive, there_send),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for descriptor in (there_receive, there_send):
        os.close(descriptor)
    try:
        yield Page(here_send, here_receive)
    finally:
        for descriptor in (here_send, here_receive):
            os.close(descriptor)
        program.terminate()
        program.wait(timeout=ANSWER_SECONDS)
