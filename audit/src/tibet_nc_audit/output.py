# SPDX-License-Identifier: MIT
"""Writing: a file that appears under its name only when it is complete; the standard output."""

import errno
import os
import sys
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.visible import visible


@contextmanager
def replace_file(path: Path) -> Generator[IO[bytes]]:
    """Give a private file to write that replaces ``path`` at the end, on disk before that.

    If anything is raised inside, ``path`` stays as it was. A symbolic link stays one: what it
    points to is replaced. Raises AuditError when it can't be written, or is no file: to replace
    ``/dev/null`` would harm the host.
    """
    path = Path(os.path.realpath(path))
    try:
        if path.exists() and not path.is_file():
            raise AuditError(f"{path}: not a regular file")
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name[:100]}.", delete=False
        ) as file:
            try:
                yield file.file
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None


@contextmanager
def standard_output() -> Generator[None]:
    """Have all that is printed inside written out; raises AuditError if it can't be.

    Any other file is read and written where an OSError becomes an AuditError.
    """
    if sys.stdout is None:  # the program was started without one
        raise AuditError(f"standard output: {os.strerror(errno.EBADF)}")
    try:
        try:
            yield
        except SystemExit:  # of the parser, after it has printed
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except OSError as error:
        # Else the interpreter tries again when it ends, and has a status of its own for that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise AuditError(f"standard output: {error.strerror}") from None


def refuse_inside(state: Path, path: Path) -> None:
    """Raise AuditError if a file to write lies in the state directory: that is only read."""
    if path.resolve().is_relative_to(state.resolve()):
        raise AuditError(f"{path}: lies in the state directory, which is only read")


def write_out(lines: Iterable[bytes], path: Path | None, state: Path) -> None:
    """Write lines as they come: to a file that is complete or as it was, else where we print.

    Raises AuditError if the file can't be written, or lies in the state directory.
    """
    if path is None:
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    refuse_inside(state, path)
    with replace_file(path) as file:
        file.writelines(lines)


def write_text(text: str, path: Path | None, state: Path) -> None:
    """Write a text as it is, but to a terminal only what is visible of it."""
    if path is None and sys.stdout.isatty():
        text = visible(text, keep="\n")
    write_out([text.encode()], path, state)
