# SPDX-License-Identifier: MIT
"""Room on the disk that is kept for the time when there is no other.

When the disk is full it is given up: there is room then to record how what already runs has ended,
and that further commands are refused. It is made again before the next command.

A disk can also be full of files, and a segment of the chain, which a record may begin, is two.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tibet_nc_executor.durable import open_append

RESERVE_BYTES: Final = 1024 * 1024
"""Room for about a thousand records after the disk is full."""


class Reserve:
    """Two files, of which the first holds the room."""

    def __init__(self, path: Path) -> None:
        """Nothing is made yet."""
        self._path = path
        self._second = path.with_name(f"{path.name}.2")

    def make(self) -> None:
        """Keep the room, if it isn't kept yet or only in part; raises OSError."""
        with suppress(FileNotFoundError):
            if self._path.stat().st_size >= RESERVE_BYTES and self._second.exists():
                return
        os.close(open_append(self._second))
        descriptor = open_append(self._path)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        finally:
            os.close(descriptor)

    def spend[T](self, write: Callable[[], T]) -> T:
        """Return what ``write`` does; on a full disk it is called again, with the room given up.

        So what it did must be undone when it raises OSError, which it may do the second time, too.
        """
        try:
            return write()
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            for path in (self._path, self._second):
                path.unlink(missing_ok=True)
            return write()
