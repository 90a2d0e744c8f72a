# SPDX-License-Identifier: MIT
"""The processes of a run told apart by its group, where no control group is delegated.

The end of a run, when its shell has ended:

1. No inherited child: nothing was left (children.py says why). This is the usual case.
2. Otherwise every process that is seen with the run's group is killed, again and again.
3. A process that forks and ends faster than it can be found is never caught that way. After some
   rounds everything of the shell uid is stopped at once, what has the run's group is killed in the
   silence, and the rest continues. Other runs lose a few milliseconds.

A process that is not seen in /proc is not for that reason gone: it may have handed over to its
child between the listing and the look. What is certain is a child of ours, ended or not, that has
the group; and, for what is not ours, a look in the silence.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Final

from tibet_nc_executor.children import Children
from tibet_nc_executor.enclosure import Entry, MemoryKills, Pauses, Remains
from tibet_nc_executor.process import Tag, all_processes, children_of, send

ROUNDS_BEFORE_SILENCE: Final = 8
_FEWEST_ROUNDS: Final = ROUNDS_BEFORE_SILENCE + 1  # the last sees what the silence has done

type SignalUid = Callable[[signal.Signals], Awaitable[bool]]


class Freezer:
    """Stops and continues everything of the shell uid; shared by all runs."""

    def __init__(self, signal_uid: SignalUid) -> None:
        self._signal_uid = signal_uid
        self._turn = asyncio.Lock()
        self.frozen = False
        """Whether a stopped process was stopped by us."""

    async def silence(self, act: Callable[[], None]) -> bool:
        """Do something while no process of the shell uid runs; return whether they were stopped.

        Raises OSError if they could not be told to stop, or to go on.
        """
        async with self._turn:
            self.frozen = True
            try:
                silent = await self._signal_uid(signal.SIGSTOP)
                act()
            finally:
                await self._signal_uid(signal.SIGCONT)
                self.frozen = False
        return silent


class Tagged:
    """The processes that have a tag, and run."""

    def __init__(self, tag: Tag, freezer: Freezer) -> None:
        self._tag = tag
        self._freezer = freezer

    def members(self) -> list[int]:
        """Return the process ids that are seen now."""
        return [pid for pid in all_processes() if self._tag.marks_running(pid)]

    def holds(self, pid: int) -> bool:
        """Say whether a process is one of them."""
        return self._tag.marks_running(pid)

    async def kill(self, pauses: Pauses | None = None) -> Remains:
        """Kill them until certainly none is left, or until it is hopeless.

        At pauses that have given up already it is still tried once in every way.
        """
        killed: set[int] = set()

        def act() -> None:
            for pid in self.members():
                if send(pid, signal.SIGKILL, self.holds):
                    killed.add(pid)

        pauses = pauses or Pauses(now=time.monotonic())
        rounds = 0
        while (pause := pauses.next(time.monotonic())) is not None or rounds < _FEWEST_ROUNDS:
            rounds += 1
            with suppress(OSError):  # out of descriptors, for one: try again
                if await self._gone():
                    return Remains(killed=len(killed), surviving=0)
                if rounds % ROUNDS_BEFORE_SILENCE == 0:
                    await self._freezer.silence(act)
                else:
                    act()
            await asyncio.sleep(pause or 0)
        return Remains(killed=len(killed), surviving=1)

    async def _gone(self) -> bool:
        seen = self.members()
        return (
            not seen
            and await self._freezer.silence(lambda: seen.extend(self.members()))
            and (not seen)
        )


class TaggedRun(Tagged):
    """The processes of one run: those of the shell uid that have its group."""

    entry = Entry()  # the group is given with the uid; there is nothing to do

    def __init__(self, tag: Tag, *, children: Children, freezer: Freezer) -> None:
        super().__init__(tag, freezer)
        self._children = children
        self._leader = 0

    @property
    def frozen(self) -> bool:
        """Whether everything is stopped for a moment."""
        return self._freezer.frozen

    def entered(self, leader: int) -> None:
        """Note the shell."""
        self._leader = leader
        self._children.register(leader)

    def others(self) -> list[int]:
        """Return the shell's children and orphans with the group; raises OSError."""
        # In this order: what loses its parent in between is an orphan when those are asked for.
        candidates = [*children_of(self._leader), *self._children.strangers()]
        return [pid for pid in candidates if self.holds(pid)]

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
        """Kill every process with the group."""
        return await self.kill()

    async def _gone(self) -> bool:
        # The group is asked of the ended too: one that has just ended has left us its children.
        return not any(self._tag.marks(pid) for pid in self._children.strangers())

    def close(self) -> None:
        """Forget the shell, which was waited for."""
        self._children.forget(self._leader)
