# SPDX-License-Identifier: MIT
"""A real journald, started by hand where systemd does not run, and its entries."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.mounts import mount_memory, private_mounts

JOURNALD = Path("/lib/systemd/systemd-journald")
SOCKET = Path("/run/systemd/journal/socket")
SECONDS = 10.0


@contextmanager
def private_journald() -> Generator["Journald"]:
    """Run a journald that only this thread and what it starts see; needs root."""
    with private_mounts():
        for path in ("/run/systemd/journal", "/run/log", "/var/log/journal"):
            if Path(path).is_dir():
                mount_memory(Path(path))
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        with Journald() as running:
            yield running


class Journald:
    """Use as a context manager; ends the journald only if it started it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start one unless one answers, and wait until it does."""
        if not self._answers():
            SOCKET.parent.mkdir(parents=True, exist_ok=True)
            self._process = subprocess.Popen(
                [JOURNALD],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"]},
            )
            end = time.monotonic() + SECONDS
            while not self._answers():
                if time.monotonic() > end:
                    raise TimeoutError("journald does not answer")
                time.sleep(0.02)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def stop(self) -> None:
        """End the journald that this started."""
        os.kill(self.pid, signal.SIGTERM)
        assert self._process is not None
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """Its process id, if it was started here."""
        assert self._process is not None, "not started here"
        return self._process.pid

    @staticmethod
    def _answers() -> bool:
        done = subprocess.run(["systemd-cat", "true"], capture_output=True, check=False)
        return done.returncode == 0

    @staticmethod
    def entries(*matches: str) -> list[dict[str, Any]]:
        """Return the entries that match, oldest first, as journalctl shows them."""
        subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
        done = subprocess.run(
            ["journalctl", "--output=json", "--no-pager", *matches],
            capture_output=True,
            text=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]
