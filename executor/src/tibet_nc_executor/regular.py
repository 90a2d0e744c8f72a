# SPDX-License-Identifier: MIT
"""Opening the files that settings and keys are in."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """Open a regular file to read it, with more flags; raises OSError, also if it is no such file.

    A named pipe in its place would be waited for until somebody writes, and a device has no end.
    """

    def opener(path: str, mode: int) -> int:
        return os.open(path, mode | flags | os.O_NONBLOCK)

    file = open(path, "rb", opener=opener)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file
