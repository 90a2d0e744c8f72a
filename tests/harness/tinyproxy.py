# SPDX-License-Identifier: MIT
"""A real HTTP proxy, Debian's tinyproxy, on a free port of this machine."""

import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.harness import debian

SECONDS: Final = 10.0


def find_tinyproxy() -> str | None:
    """Return a tinyproxy, installing Debian's when that can be done; None if there is none."""
    return debian.find("tinyproxy", package="tinyproxy-bin")


class Tinyproxy:
    """A proxy that runs."""

    def __init__(self, port: int, log: Path) -> None:
        self.port: Final = port
        self.url: Final = f"http://127.0.0.1:{port}"
        self.log: Final = log
        """What it was asked for, a line each."""


@contextmanager
def tinyproxy(program: str, directory: Path) -> Generator[Tinyproxy]:
    """Run a proxy that takes connections from this machine only, and leads anywhere."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    settings, log = directory / "tinyproxy.conf", directory / "tinyproxy.log"
    settings.write_text(
        f'Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 600\nLogFile "{log}"\n'
    )
    process = subprocess.Popen([program, "-d", "-c", settings], stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        yield Tinyproxy(port, log)
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return
