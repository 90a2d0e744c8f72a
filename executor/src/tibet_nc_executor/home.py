# SPDX-License-Identifier: MIT
"""A home for each session, which no other session can enter, gone with the session (I6).

All sessions share the shell uid, so the uid can't be what keeps one out of another's home. The
directory is the executor's own; it belongs to a group that only the session's processes have, and
others may not even enter it. What is inside belongs to the shell uid, so that uid empties it: the
executor could not look into a directory that a command has closed.

The executor is not root. It makes a directory of another group by acting as a member of that group
for the moment (credentials.py).
"""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tibet_nc_executor.children import Children
from tibet_nc_executor.credentials import file_group
from tibet_nc_executor.errand import run_errand

_PREFIX: Final = "session-"
_MODE_OF_GROUP: Final = 0o770
_MODE_OF_OWNER: Final = 0o700
_TRIES: Final = 3  # another command of the uid may have killed the one that empties
_LIMIT_S: Final = 20.0  # a home of very many files
# chmod is given the home and nothing that is in it: it follows the links that it is given.
_EMPTY: Final = 'chmod -R u+rwX -- "$1"; exec find "$1" -mindepth 1 -delete'
_PATH: Final = "/usr/bin:/bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Home:
    """The home of one session; `group` is None where no uid separates anything."""

    path: Path
    group: int | None


def make_home(base: Path, group: int | None) -> Home:
    """Make an empty home below a directory; raises OSError."""
    path = base / f"{_PREFIX}{secrets.token_hex(8)}"
    if group is None:
        path.mkdir(_MODE_OF_OWNER)
    else:
        with file_group(group):
            path.mkdir(_MODE_OF_OWNER)
        path.chmod(_MODE_OF_GROUP)
    return Home(path=path, group=group)


def abandoned_homes(base: Path) -> list[Home]:
    """Return the homes of sessions whose executor is gone; none if there is no such directory."""
    found: list[Home] = []
    with suppress(OSError):
        for path in sorted(base.glob(f"{_PREFIX}*")):
            status = path.lstat()
            if status.st_uid == os.geteuid():
                found.append(Home(path=path, group=status.st_gid))
    return found


async def remove_home(home: Home, become: Sequence[str], children: Children) -> bool:
    """Remove a home and all that is in it, as the session's own uid; return whether it is gone.

    `become` is the command prefix that becomes the uid, with the home's group. Nothing of the
    session may run any more.
    """
    for _ in range(_TRIES):
        with suppress(OSError):
            await run_errand(
                [*become, "/bin/sh", "-c", _EMPTY, "tibet-nc", str(home.path)],
                children=children,
                limit_s=_LIMIT_S,
                environment={"PATH": _PATH},
            )
        try:
            home.path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            continue
        return True
    return False
