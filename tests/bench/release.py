# SPDX-License-Identifier: MIT
"""tibet-nc 0.1.2 as it was released, in an environment of its own, as a process."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench.debian import MissingError
from tests.harness.host import ROOT
from tests.harness.synapse import Account

VERSION: Final = "0.1.2"
NAME: Final = f"tibet-nc {VERSION}"
ENVIRONMENT: Final = ROOT / f".cache/bench-{VERSION}"
HOME: Final = Path("/tmp/tibet-nc")  # what 0.1.2 makes, and leaves
SECONDS: Final = 20.0


def install() -> Path:
    """Return the program, making its environment the first time; raises MissingError."""
    program = ENVIRONMENT / "bin/tibet-nc"
    if program.exists():
        return program
    print(f"  installing {NAME} in {ENVIRONMENT.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    done = subprocess.run(
        [ENVIRONMENT / "bin/python", "-m", "pip", "install", "-q", f"tibet-nc=={VERSION}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        raise MissingError(f"{NAME} can't be installed: {done.stderr.strip().splitlines()[-1]}")
    return program


class Release:
    """The released daemon, serving one unencrypted room; use as a context manager.

    Raises MissingError when it can't be installed.
    """

    def __init__(self, log: Path, *, homeserver: str, bot: Account, room: str, user: str) -> None:
        self._program = install()
        self._log = log
        self._had_home = HOME.exists()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "MATRIX_HOMESERVER": homeserver,
            "TIBET_NC_USER_ID": bot.user_id,
            "TIBET_NC_ACCESS_TOKEN": bot.access_token,
            "TIBET_NC_ROOM": room,
            "TIBET_NC_ALLOWED_USERS": user,
            "TIBET_NC_HOSTNAME": "bench",
            "BRAIN_API_BASE": "http://127.0.0.1:9",  # nobody listens there: it is refused at once
        }

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd="/",
            )
        begin = time.monotonic()
        while not self._log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > begin + SECONDS:
                raise MissingError(f"{NAME} does not start: {self._log.read_text()[-300:]}")
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if not self._had_home:
            shutil.rmtree(HOME, ignore_errors=True)
