# SPDX-License-Identifier: MIT
"""What holds every process of one run, so that none outlives it (I6).

There are three kinds, by what the machine offers:

- `cgroup`: a control group per run. Exact, one write ends everything.
- `tagged`: a supplementary group per run, which a process without CAP_SETGID cannot give up.
- `descent`: where the executor has no uid to separate, the tree of processes.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from tibet_nc_protocol.counts import counted

GIVE_UP_S: Final = 10.0  # longer than the kernel takes to free the memory of a large process
_FIRST_PAUSE_S: Final = 0.0005
_LONGEST_PAUSE_S: Final = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Remains:
    """What a command left: processes that were killed, and those the kernel could not end.

    `surviving` is 0 only if certainly nothing is left.
    """

    killed: int
    surviving: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryKills:
    """How many processes of a run the kernel has killed for want of memory, and of whose.

    `own` is whether the run was at its own limit; else it was all runs together, or the host.
    """

    processes: int = 0
    own: bool = False

    def told(self, limit: int) -> str:
        """Say it of a run that may have so many bytes of memory."""
        killed = f"{counted(self.processes, 'process', 'processes')} killed"
        if self.own:
            used = f"its {limit >> 20} MiB of memory were used up"
            return f"{used}, {killed}; to raise it: shell.memory_bytes"
        return f"all commands' memory (MemoryMax=), or the host's, was used up, {killed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """How the first process of a run enters: descriptors that it inherits, what the shell does.

    Both texts are trusted lines for a shell of the shell uid: `commands` run before anything else,
    `prologue` as the first of what comes before the command, in the command's own shell.
    """

    descriptors: tuple[int, ...] = ()
    commands: str = ""
    prologue: str = ""


class Enclosure(Protocol):
    """The processes of one run."""

    @property
    def entry(self) -> Entry:
        """How the first process enters."""
        ...

    @property
    def frozen(self) -> bool:
        """Whether the executor itself has stopped the processes for a moment."""
        ...

    def entered(self, leader: int) -> None:
        """Note the first process, right after it was started."""
        ...

    def members(self) -> list[int]:
        """Return the process ids of the run that are seen now."""
        ...

    def holds(self, pid: int) -> bool:
        """Say whether a process is of this run."""
        ...

    def others(self) -> list[int]:
        """Return the first process's children and orphans of the run, as far as they run.

        None only if nothing but the first process is left; raises OSError if that can't be told.
        """
        ...

    def tend(self) -> None:
        """Do what has to be done now and then while the run lasts."""
        ...

    def memory_kills(self) -> MemoryKills:
        """Return what the kernel has killed for want of memory."""
        ...

    def still(self) -> AbstractAsyncContextManager[None]:
        """Hold every process where it is for a moment, none in the middle of a fork.

        Only where that can be done unnoticed; otherwise, and if it takes too long, they go on.
        """
        ...

    async def end(self) -> Remains:
        """Kill everything but the first process, which has ended, and wait until it is gone."""
        ...

    def close(self) -> None:
        """Give back what the run held; the first process has been waited for or never was."""
        ...


class Pauses:
    """Growing pauses, in seconds, until it is time to give up."""

    def __init__(self, *, now: float) -> None:
        self._end = now + GIVE_UP_S
        self._next = _FIRST_PAUSE_S

    def next(self, now: float) -> float | None:
        """Return how long to wait now, or None to give up."""
        if now >= self._end:
            return None
        pause, self._next = self._next, min(self._next * 2, _LONGEST_PAUSE_S)
        return pause

    def left(self, now: float) -> float:
        """Return how long it is until it is time to give up, negative if it was already."""
        return self._end - now
