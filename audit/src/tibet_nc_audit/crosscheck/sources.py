# SPDX-License-Identifier: MIT
"""Where a journal comes from: a file, standard input, or this host's journalctl.

What isn't a file (journalctl, a pipe, be it named or the shell's) is taken in whole before the
chain is read, and a file as long as it was then, so that no entry is newer than the chain it is
compared with.
"""

import errno
import io
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Buffer, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, override

from tibet_nc_audit.crosscheck.journal import DROPPED
from tibet_nc_audit.errors import AuditError

EXECUTOR: Final = "tibet-nc-executor"
"""The executor's user, whose uid is taken unless another is given."""

_LARGEST: Final = 2**32 - 2
STANDARD_INPUT: Final = Path("-")
"""What names standard input among files."""


def uid_of(text: str | None) -> int:
    """Return the uid that is meant: a number, a user's name, the executor's; raises AuditError."""
    if text is not None and text.isascii() and text.isdigit():
        if len(text) > len(str(_LARGEST)) or int(text) > _LARGEST:
            raise AuditError(f"{text}: no uid")
        return int(text)
    name = EXECUTOR if text is None else text
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        raise AuditError(
            f"{name}: there is no such user here; --uid gives the executor's as a number"
        ) from None


@contextmanager
def journal(path: Path | None, uid: int) -> Generator[IO[bytes]]:
    """Open a journal file, standard input for ``-``, or this host's for None.

    Raises AuditError.
    """
    with ExitStack() as files:
        try:
            file = None if path is None else files.enter_context(_opened(path))
            if file is None or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                spool = files.enter_context(tempfile.TemporaryFile(prefix="tibet-nc-audit-"))
                if file is None:
                    _ask_journalctl(spool, uid)
                else:
                    shutil.copyfileobj(file, spool)
                spool.seek(0)
                file = spool
            elif (size := os.fstat(file.fileno()).st_size) > 0:  # 0 is what those of /proc say
                file = files.enter_context(io.BufferedReader(_Beginning(file, size)))
        except OSError as error:
            name = "journalctl" if path is None else path
            why = error.strerror
            if error.errno == errno.ENOSPC:  # which no reading fails with
                why = f"its copy in {tempfile.gettempdir()}: {why}; TMPDIR names another place"
            raise AuditError(f"{name}: {why}") from None
        yield file


class _Beginning(io.RawIOBase):
    """So many bytes of a file, from where it is."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer) -> int:
        """Read what is there and fits; raises OSError."""
        with memoryview(buffer).cast("B") as room:
            data = self._file.read(min(len(room), self._left))
            self._left -= len(data)
            room[: len(data)] = data
            return len(data)


def _opened(path: Path) -> IO[bytes]:
    if path != STANDARD_INPUT:
        return path.open("rb")
    if sys.stdin is None:  # the program was started without one
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdin.buffer


def _ask_journalctl(spool: IO[bytes], uid: int) -> None:
    """Write what the journal has of the executor, and what it says that it dropped.

    Raises AuditError, OSError.
    """
    command = [
        *("journalctl", "--output=export", "--no-pager", "--quiet", f"_UID={uid}"),
        *("+", f"MESSAGE_ID={DROPPED}"),
    ]
    # Nothing of it is from elsewhere but a number.
    done = subprocess.run(  # noqa: S603
        command, stdout=spool, stderr=subprocess.PIPE, check=False
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="backslashreplace").strip()
        raise AuditError(f"journalctl: {said or f'status {done.returncode}'}")
