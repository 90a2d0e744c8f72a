# SPDX-License-Identifier: MIT
"""One ^C to a command, and again to a program that could not notice it.

A shell that is alone ends by the signal, unless it has a trap for it. But bash doesn't look once
more before it forks: then it starts a program all the same, and waits for it. So what is started
by a shell that was alone, and can't have set a trap, has missed the signal, too.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tibet_nc_executor.copies import PAUSES_S, Copies
from tibet_nc_executor.door import Door


class Interrupt:
    """Sends SIGINT to the foreground of a terminal; `repeated` is called if it had to be again."""

    def __init__(self, door: Door, repeated: Callable[[], None], *, may_trap: bool) -> None:
        self._door: Final = door
        self._may_trap: Final = may_trap
        self._repeated: Final = repeated
        self.is_due = True
        """Whether the signal is still to be sent."""
        self._task: Final = asyncio.get_running_loop().create_task(self._interrupt())

    def cancel(self) -> None:
        """Look no more; a signal that isn't sent yet never is."""
        self._task.cancel()

    async def _interrupt(self) -> None:
        alone, seen = False, set[int]()
        async with self._door.cell.enclosure.still():
            copies = Copies(self._door, signal.SIGINT)
            with suppress(OSError):  # not to know is not to know that it is alone
                alone = not (self._may_trap or self._door.others())
            with suppress(OSError):
                self._door.terminal.interrupt()
            self.is_due = False
        for pause in PAUSES_S:
            if not (copies or alone):
                return
            await asyncio.sleep(pause)
            if alone:
                started = set(self._door.processes()) - seen
                copies.add(started)
                seen |= started
            if copies.look():
                self._repeated()
