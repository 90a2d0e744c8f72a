# SPDX-License-Identifier: MIT
"""A supplementary group number for each run and each session, its own while it lasts.

A process without CAP_SETGID can neither give such a group up nor join another: it marks every
descendant of a run, and it is the only group that may open the run's terminal. Batch systems have
told the processes of a job apart in this way for decades.
"""

from pathlib import Path
from typing import Final

from tibet_nc_executor.errors import ShellError

GID_MAP: Final = Path("/proc/self/gid_map")
RUN_GROUPS: Final = 512  # above the most runs and sessions that may be open at once
_RANGES: Final = (
    (0x7000_0000, 0xFFFF),  # systemd's list of ids: unused; here a part of it for each shell uid
    (60578, 1),  # unused too, and inside the 65,536 ids that containers usually have
)


def first_group(uid: int, gid_map: str) -> int | None:
    """Return the first of `RUN_GROUPS` group numbers that exist in this user namespace.

    `gid_map` is the text of `GID_MAP`. None if there are none.
    """
    mapped = [
        (int(start), int(start) + int(count))
        for start, _, count in (line.split() for line in gid_map.splitlines())
    ]
    for base, parts in _RANGES:
        first = base + uid % parts * RUN_GROUPS
        if any(low <= first and first + RUN_GROUPS <= high for low, high in mapped):
            return first
    return None


class RunGroups:
    """The group numbers, each given to one run at a time."""

    def __init__(self, first: int) -> None:
        self.every: Final = frozenset(range(first, first + RUN_GROUPS))
        """All of them, taken or not."""
        self._free = list(range(first + RUN_GROUPS - 1, first - 1, -1))

    def take(self) -> int:
        """Return a number that no run or session has; raises ShellError when all are taken."""
        if not self._free:
            raise ShellError(f"{RUN_GROUPS} commands and sessions are open already")
        return self._free.pop()

    def withhold(self, group: int) -> None:
        """Give a number to nobody, since something of another executor's session still has it."""
        if group in self._free:
            self._free.remove(group)

    def give_back(self, group: int) -> None:
        """Take a number back from a run or session of which nothing is left."""
        self._free.append(group)
