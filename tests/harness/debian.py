# SPDX-License-Identifier: MIT
"""Programs of Debian's that tests drive, installed when they are missing."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path


def find(*names: str, package: str) -> str | None:
    """Return a program of one of these names, installing a package when that can be done.

    Test runs side by side take turns: apt-get gives up where another is at work.
    """
    with Path(__file__).open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        found = next((path for name in names if (path := shutil.which(name))), None)
        if found is not None or os.getuid() != 0 or shutil.which("apt-get") is None:
            return found
        for words in (["update"], ["install", "-y", "--no-install-recommends", package]):
            subprocess.run(
                ["apt-get", "-qq", *words],
                check=False,
                capture_output=True,
                env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            )
        return next((path for name in names if (path := shutil.which(name))), None)
