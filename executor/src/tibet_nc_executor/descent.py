# SPDX-License-Identifier: MIT
"""The processes of a run told apart by descent, where the executor has no uid to separate.

This is for trying things out: commands have the executor's own uid and can do whatever it can.
Orphans become children of the executor and belong to the run whose session or mark they carry.
One that has given up both is left alone while other runs are active, and killed with the last.
"""

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import Final

from tibet_nc_executor.children import Children
from tibet_nc_executor.enclosure import Entry, MemoryKills, Pauses, Remains
from tibet_nc_executor.process import all_processes, children_of, read_status

MARK: Final = "TIBET_NC_RUN"


class DescentRun:
    """The processes that descend from one shell."""

    frozen = False

    def __init__(self, *, mark: str, children: Children, active: set[str]) -> None:
        self.mark: Final = mark
        """The value that processes of this run have in their environment."""
        self._children = children
        self._active = active
        self._leader = 0
        active.add(mark)

    @property
    def entry(self) -> Entry:
        """The mark stays in the environment, also if the session remembers another."""
        return Entry(prologue=f"readonly {MARK}\n")

    def entered(self, leader: int) -> None:
        """Note the shell."""
        self._leader = leader
        self._children.register(leader)

    def members(self) -> list[int]:
        """Return the shell, inherited children of this run, and all that descend from them."""
        parents = {
            pid: status.parent
            for pid in all_processes()
            if (status := read_status(pid)) is not None and not status.ended
        }
        return sorted(_descendants({self._leader, *self._inherited()}, parents))

    def holds(self, pid: int) -> bool:
        """Say whether a process is of this run."""
        return pid in self.members()

    def _inherited(self) -> list[int]:
        strangers = self._children.strangers()
        if self._active <= {self.mark}:
            return list(strangers)
        return [pid for pid in strangers if self._is_marked(pid)]

    def _is_marked(self, pid: int) -> bool:
        # Gone, or hidden from us; for reasons of our own nothing can be said, and that is raised.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.getsid(pid) == self._leader:
                return True
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            return f"{MARK}={self.mark}".encode() in environment
        return False

    def others(self) -> list[int]:
        """Return the shell's children and orphans of this run; raises OSError."""
        # In this order: what loses its parent in between is an orphan when those are asked for.
        candidates = [*children_of(self._leader), *self._inherited()]
        return [
            pid
            for pid in candidates
            if (status := read_status(pid)) is not None and not status.ended
        ]

    def tend(self) -> None:
        """Wait for inherited children that have ended."""
        self._children.strangers()

    def memory_kills(self) -> MemoryKills:
        """Return none: without a control group nobody counts them for the run."""
        return MemoryKills()

    def still(self) -> AbstractAsyncContextManager[None]:
        """Hold nothing: SIGSTOP would be noticed, and SIGCONT wake what was stopped before."""
        return nullcontext()

    async def end(self) -> Remains:
        """Kill the inherited children; theirs are inherited in turn, until there are none."""
        # From here on this run keeps nobody: of two that end together, one has to be the last.
        self._active.discard(self.mark)
        killed: set[int] = set()
        pauses = Pauses(now=time.monotonic())
        while (pause := pauses.next(time.monotonic())) is not None:
            with suppress(OSError):  # out of descriptors, for one: try again
                inherited = self._inherited()
                if not inherited:
                    return Remains(killed=len(killed), surviving=0)
                for pid in inherited:
                    self._children.kill(pid)
                killed.update(inherited)
            await asyncio.sleep(pause)
        return Remains(killed=len(killed), surviving=1)

    def close(self) -> None:
        """Forget the shell, which was waited for."""
        self._children.forget(self._leader)
        self._active.discard(self.mark)


def _descendants(roots: Iterable[int], parents: dict[int, int]) -> set[int]:
    """Return the roots that run, and everything that descends from them."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [root for root in roots if root in parents]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, ()))
    return found
