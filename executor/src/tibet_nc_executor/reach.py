# SPDX-License-Identifier: MIT
"""Whether somebody else gets at a file: the kernel is asked as that account, for root sees all.

So every directory above, group and access list counts, and none of it is worked out here.
"""

import os
import pwd
import stat
import subprocess
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

_TEST: Final = "/usr/bin/test"

_DIRECTORY: Final = 0o700
_FILE: Final = 0o600


class Way(StrEnum):
    """What is to be possible, as test(1) calls it."""

    READ = "-r"
    WRITE = "-w"


def reaches(uid: int, way: Way, path: Path | str) -> bool:
    """Whether an account can do that with a file; everybody can, unless root asks."""
    if os.geteuid() != 0:
        return True
    try:
        account = pwd.getpwuid(uid)
        gid, groups = account.pw_gid, os.getgrouplist(account.pw_name, account.pw_gid)
    except KeyError:
        gid, groups = uid, []
    done = subprocess.run(  # noqa: S603 - a fixed program
        [_TEST, way, path], user=uid, group=gid, extra_groups=groups, check=False, cwd="/"
    )
    return done.returncode == 0


def not_its_own(uid: int, paths: Iterable[Path]) -> Path | None:
    """Return the first of the paths that are there to which an account has not all rights."""
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        needed = _DIRECTORY if stat.S_ISDIR(status.st_mode) else _FILE
        if status.st_uid != uid or status.st_mode & needed != needed:
            return path
    return None
