# SPDX-License-Identifier: MIT
"""What the service says in its log, and what the verbs print.

A fault of the standard output is an error of its own, and status 2: a disk may be full behind it,
or there may be nothing at all. For the interpreter that would be an OSError like that of any file,
and, when what was printed is written at its end, no error at all.

The agent has the same for its verbs in a module of its own: all that the two share is the protocol,
which touches nothing outside itself.
"""

import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO, cast

from tibet_nc_executor.errors import ExecutorError


def say(text: str) -> None:
    """Write a line for whoever reads the service's log, if it takes one.

    The log of a unit ends for good when journald is stopped, and nothing else is to end with that.
    It is written past the interpreter's buffer, which would keep what failed until the end.
    """
    if sys.__stderr__ is not None:
        with suppress(OSError):
            os.write(sys.__stderr__.fileno(), f"tibet-nc-executor: {text}\n".encode())


class OutputError(ExecutorError):
    """What a verb prints can't be written."""


@contextmanager
def standard_output() -> Generator[None]:
    """Have all that is printed inside written out; raises OutputError if it can't be."""
    output = _Output(sys.stdout)
    with redirect_stdout(cast("TextIO", output)):
        try:
            yield
        except SystemExit:
            output.flush()
            raise
        except BaseException:
            with suppress(OutputError):  # the first fault is the one to tell
                output.flush()
            raise
        output.flush()


class _Output(io.TextIOBase):
    """A stream whose faults are ours."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        if self._stream is None:  # the program was started without one
            raise OutputError(f"standard output: {os.strerror(errno.EBADF)}")
        try:
            return self._stream.write(text)
        except OSError as error:
            raise self._failed(self._stream, error) from None

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                raise self._failed(self._stream, error) from None

    def _failed(self, stream: TextIO, error: OSError) -> OutputError:
        # Else the interpreter tries again when it ends, and has a status of its own for that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        self._stream = None
        return OutputError(f"standard output: {error.strerror}")
