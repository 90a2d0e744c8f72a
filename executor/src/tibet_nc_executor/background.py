# SPDX-License-Identifier: MIT
"""What a command left running, from the command's end to its own.

    the command's shell holds on, or is dead → processes go on, what they print is handed on
    → the last one has ended, or an order came → the shell goes → whatever is left is killed
    → terminal put back, fence written, output read up to it → Rest

It has no limit of its own: it lives as long as its session, and belongs to it.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tibet_nc_executor.copies import PAUSES_S, Copies
from tibet_nc_executor.door import Door
from tibet_nc_executor.enclosure import Remains
from tibet_nc_executor.outlet import Outlet
from tibet_nc_protocol.terms import Reason

CUT_S: Final = 5.0  # the kernel needs microseconds; only a broken terminal gets here
_LOOK_S: Final = 0.25  # how often it is looked whether anything still runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Rest:
    """The end of what a command left running; `killed` processes had to be ended.

    `memory` says that the kernel has ended some for want of that.
    """

    reason: Reason
    duration_ms: int
    killed: int
    memory: str | None
    notes: tuple[str, ...]


class Background:
    """Processes that outlive their command.

    `exited` is done when the command's shell is, and `end_shell` ends one that is not. Together
    they may have so many bytes of `memory`.
    """

    def __init__(
        self,
        door: Door,
        outlet: Outlet,
        exited: asyncio.Future[None],
        end_shell: Callable[[], Awaitable[None]],
        *,
        memory: int,
    ) -> None:
        self._door: Final = door
        self._outlet: Final = outlet
        self._exited: Final = exited
        self._end_shell: Final = end_shell
        self._memory: Final = memory
        self._killed_before: Final = door.cell.enclosure.memory_kills().processes
        self._asking: asyncio.Task[None] | None = None
        self._is_due = False
        self._ordered = asyncio.Event()
        self._notes: list[str] = []
        self._begun: Final = time.monotonic()
        self._life: Final = asyncio.get_running_loop().create_task(self._live())

    @property
    def count(self) -> int:
        """How many processes are seen now."""
        return 0 if self._life.done() else len(self._door.processes())

    def interrupt(self) -> None:
        """Ask everything to end: with SIGTERM, since shells have background work ignore SIGINT.

        Nothing is asked once it has ended: what tells its processes apart may be another's then.
        """
        if self._life.done():
            return
        if not self._is_due:
            self._is_due = True
            if self._asking is not None:
                self._asking.cancel()
            self._asking = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        async with self._door.cell.enclosure.still():  # or a child that is being made is not seen
            copies = Copies(self._door, signal.SIGTERM)
            self._door.signal_all(signal.SIGTERM, shell=False)
            self._door.signal_all(signal.SIGCONT, shell=False)
            self._is_due = False
        for pause in PAUSES_S:
            if not copies:
                return
            await asyncio.sleep(pause)
            copies.look()

    def kill(self) -> None:
        """Kill everything."""
        self._ordered.set()

    async def wait(self) -> Rest:
        """Return how it ended, when nothing is left and all output was delivered.

        Cancelling this changes nothing. Raises whatever the consumer of the output has raised.
        """
        return await asyncio.shield(self._life)

    async def _live(self) -> Rest:
        try:
            while not self._ordered.is_set() and self._lives():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._ordered.wait()
            over = time.monotonic()
            memory = self._killed_for_memory()
            killing = self._ordered.is_set()
            seen = self.count if killing else 0
            remains = await self._end(killing)
            # Some of them end with the shell, since the kernel hangs up on them.
            killed = max(seen, remains.killed)
            if remains.surviving:
                self._notes.append("something that was left running could not be killed")
            if not await self._outlet.cut(CUT_S):
                self._outlet.rest()
                self._notes.append("the terminal broke: output may be missing at the end")
        finally:
            if self._asking is not None:
                self._asking.cancel()
            self._outlet.close()
            self._door.close()
        if self._outlet.failure is not None:
            raise self._outlet.failure
        by_itself = Reason.EXITED if self._asking is None else Reason.CANCELLED
        return Rest(
            reason=Reason.KILLED if killing else by_itself,
            duration_ms=round((over - self._begun) * 1000),
            killed=killed,
            memory=memory,
            notes=tuple(self._notes),
        )

    def _killed_for_memory(self) -> str | None:
        """Say what the kernel has killed for want of memory since the command's end."""
        kills = self._door.cell.enclosure.memory_kills()
        if kills.processes == self._killed_before:
            return None
        return replace(kills, processes=kills.processes - self._killed_before).told(self._memory)

    def _lives(self) -> bool:
        enclosure = self._door.cell.enclosure
        try:
            enclosure.tend()
            return bool(self._door.others())
        except OSError:  # not to know is not to know that it is gone; it is tried again
            return True

    async def _end(self, killing: bool) -> Remains:
        if not killing:
            self._door.go()
            with suppress(TimeoutError):  # something may have stopped it
                async with asyncio.timeout(CUT_S):
                    await asyncio.shield(self._exited)
        await self._end_shell()
        return await self._door.end()
