# SPDX-License-Identifier: MIT
"""Running the auditor's program: within the test, or as a process of its own."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.audit.chains import EXECUTOR, Chain
from tibet_nc_audit.__main__ import run

PROGRAM: Final = (sys.executable, "-I", "-m", "tibet_nc_audit")
LISTENING: Final = ("env", "--default-signal=HUP,INT,TERM")
"""Undoes what nohup, and a shell for programs in its background, do: they ignore these signals."""

KEY: Final = EXECUTOR.public_key.hex
"""The executor's key, as it is given to the program."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a run ended and what it wrote."""

    status: int
    out: str
    err: str


def within(*arguments: str | Path) -> Done:
    """Run the program in this process; whatever it raises is raised."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="")
        for _ in range(2)
    )
    with redirect_stdout(out), redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Done(status=status, out=_written(out), err=_written(err))


def checkpoint(chain: Chain, *arguments: str | Path) -> Done:
    """Run the verb ``checkpoint`` on a chain."""
    return within("--state", chain.root, "checkpoint", *arguments)


def check(path: Path, *arguments: str | Path) -> Done:
    """Check a proof, where there is no chain."""
    return within("--state", "/nonexistent", "checkpoint", "--check", path, *arguments)


def process(*arguments: str | Path, env: dict[str, str] | None = None) -> Done:
    """Run the program as a process."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)], capture_output=True, check=False, timeout=60, env=env
    )
    return Done(status=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


def terminal(*arguments: str | Path) -> tuple[int, str]:
    """Run the program as a process on a terminal; return its status and what is shown there."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave
    ) as program:
        os.close(slave)
        shown = b""
        try:
            while piece := os.read(master, 65536):
                shown += piece
        except OSError:  # EIO: nobody has the other end any more
            pass
        finally:
            os.close(master)
        # The terminal's own driver puts a carriage return before each line end.
        return program.wait(60), shown.decode().replace("\r\n", "\n")


def safe(text: str, *, keep: Sequence[str] = ("\n",)) -> bool:
    """Tell whether a terminal shows all of a text, and nothing of it does anything else."""
    return all(character in keep or character.isprintable() for character in text)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
