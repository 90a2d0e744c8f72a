# SPDX-License-Identifier: MIT
"""The executor's children, where orphans of commands become children too.

As a child subreaper the executor inherits what a command has left without a parent. An unknown
child after a command's end is therefore something that it left; no unknown child, nothing left.
They are waited for here, since the first process of a container often waits for nobody. So the
executor starts no other children than its shells: they would be waited for too.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from tibet_nc_executor.credentials import become_subreaper
from tibet_nc_executor.enclosure import Pauses
from tibet_nc_executor.process import own_children


class Children:
    """Knows which children were started on purpose; raises OSError where the kernel cannot tell."""

    def __init__(self) -> None:
        own_children()
        become_subreaper()
        self._known: set[int] = set()

    def register(self, pid: int) -> None:
        """Note a child that somebody waits for."""
        self._known.add(pid)

    def forget(self, pid: int) -> None:
        """Note that a child was waited for."""
        self._known.discard(pid)

    def strangers(self) -> frozenset[int]:
        """Return inherited children that still run; those that have ended are waited for.

        None is returned only if there was none to wait for either: what has just ended may have
        left us children of its own. Raises OSError if it cannot be told.
        """
        while inherited := own_children() - self._known:
            if running := frozenset(pid for pid in inherited if not self._reap(pid)):
                return running
        return frozenset()

    async def settle(self, belongs: Callable[[int], bool]) -> None:
        """Wait for inherited children that belong to a run and were killed.

        Until then the kernel counts them against the process limit of the uid.
        """
        pauses = Pauses(now=time.monotonic())
        while (pause := pauses.next(time.monotonic())) is not None:
            with suppress(OSError):  # out of descriptors, for one: try again
                if not any(belongs(pid) for pid in self.strangers()):
                    return
            await asyncio.sleep(pause)

    @staticmethod
    def _reap(pid: int) -> bool:
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is not None
        return True

    @staticmethod
    def kill(pid: int) -> None:
        """Kill an inherited child: its id is its own until it is waited for."""
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
