# SPDX-License-Identifier: MIT
"""Running a program whose standard output takes nothing."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FULL: Final = (">/dev/full", "No space left on device")
"""A disk without room, as a shell writes it, and the fault of it."""
CLOSED: Final = (">&-", "Bad file descriptor")
"""No standard output at all, and the fault of it."""


def redirected(
    where: str, argv: Sequence[str | Path], *, cwd: str | Path = "/"
) -> subprocess.CompletedProcess[str]:
    """Run a program with its output redirected as a shell would, and return how it ended."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {where}', "sh", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=cwd,
    )
