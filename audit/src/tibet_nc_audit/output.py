# SPDX-License-Identifier: MIT
"""Writing: a file that appears under its name only when it is complete; the standard output."""

import errno
import os
import secrets
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.unwinding import unwinding
from tibet_nc_audit.visible import visible

_NO_NAMELESS: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR})
"""What opening a file without a name fails with where there are none (open(2), O_TMPFILE)."""


@contextmanager
def replace_file(path: Path) -> Generator[IO[bytes]]:
    """Give a private file to write that replaces ``path`` at the end, on disk before that.

    If anything is raised inside, ``path`` stays as it was; so it does if we are ended or killed.
    Nothing is left, but for a draft if we are killed where a file system has no nameless files. A
    symbolic link stays one: what it points to is replaced. Raises AuditError when it can't be
    written, or is no file: to replace ``/dev/null`` would harm the host.
    """
    path = Path(os.path.realpath(path))
    draft = path.with_name(f".tibet-nc-audit.{secrets.token_hex(8)}")
    with unwinding():
        try:
            if path.exists() and not path.is_file():
                raise AuditError(f"{path}: not a regular file")
            try:
                with open(_open_draft(draft), "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                    if not draft.exists():
                        _name(file.fileno(), draft)
                    os.replace(draft, path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise AuditError(f"{path}: {error.strerror}") from None


def _open_draft(draft: Path) -> int:
    """Open a file that has no name yet, or that name where a file system has none without."""
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(draft.parent, flags | os.O_TMPFILE, 0o600)
    except OSError as error:
        if error.errno not in _NO_NAMELESS:
            raise
    return os.open(draft, flags | os.O_CREAT | os.O_EXCL, 0o600)


def _name(descriptor: int, path: Path) -> None:
    """Give a file without a name one; raises OSError."""
    # Python follows the link in /proc only where it is given a directory, here an unused one.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


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


def say(text: str) -> None:
    """Write a line to standard error. Where that takes nothing, the exit status has to do."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")


def let_go_of_standard_error() -> None:
    """Give up what standard error didn't take, which else becomes a status of the interpreter's."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


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
