# SPDX-License-Identifier: MIT
"""One ^C to a command, and again to a program that could not notice it.

Between its fork and its exec a program is a copy of the shell, which catches SIGINT: the copy takes
the signal and then becomes the program, which never learns of it. So processes that were copies are
looked at for some seconds. One that has become a program which SIGINT would end, and still runs,
has missed it, and gets it once more, by itself.

Nobody else does. A program that is tidying up after the first ^C often ends at once with a second
one, and what a shell's trap starts afterwards must not be hit by the first. So it has to be known
who was a copy when the signal came. A process that is being forked just then gets it too (Linux,
copy_process: a signal to several processes appears to come after the fork) before anybody can see
it: that is why everything is held still for it where there is a control group. Without one such a
copy isn't seen, and the operator interrupts again, as on any terminal.

A shell that is alone ends by the signal, unless it has a trap for it. But bash doesn't look once
more before it forks: then it starts a program all the same, and waits for it. So what is started
by a shell that was alone, and can't have set a trap, has missed the signal, too.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tibet_nc_executor.door import Door
from tibet_nc_executor.process import ends_by, read_name, send
from tibet_nc_executor.prologue import SHELL_NAME

# An exec takes less than the first; a start on a busy machine takes a second.
_PAUSES_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


class Interrupt:
    """Sends SIGINT to the foreground of a terminal; `repeated` is called if it had to be again."""

    def __init__(self, door: Door, repeated: Callable[[], None], *, may_trap: bool) -> None:
        self._door: Final = door
        self._may_trap: Final = may_trap
        self._repeated: Final = repeated
        self._copies: set[int] = set()
        self._seen: set[int] = set()
        self._alone = False
        self.is_due = True
        """Whether the signal is still to be sent."""
        self._task: Final = asyncio.get_running_loop().create_task(self._interrupt())

    def cancel(self) -> None:
        """Look no more; a signal that isn't sent yet never is."""
        self._task.cancel()

    async def _interrupt(self) -> None:
        async with self._door.cell.enclosure.still():
            self._copies = {pid for pid in self._door.processes() if read_name(pid) == SHELL_NAME}
            with suppress(OSError):  # not to know is not to know that it is alone
                self._alone = not (self._may_trap or self._door.others())
            with suppress(OSError):
                self._door.terminal.interrupt()
            self.is_due = False
        for pause in _PAUSES_S:
            if not (self._copies or self._alone):
                return
            await asyncio.sleep(pause)
            if self._alone:
                started = set(self._door.processes()) - self._seen
                self._copies |= started
                self._seen |= started
            self._look()

    def _look(self) -> None:
        for pid in list(self._copies):
            with suppress(OSError):  # of our own: it is looked at again
                if self._is_done_with(pid):
                    self._copies.remove(pid)

    def _is_done_with(self, pid: int) -> bool:
        name = read_name(pid)
        if name is None:
            return True
        # A shell is still a copy, or one of its own. A program in the middle of its exec, or that
        # holds the signal off, may still be one that SIGINT ends.
        if name == SHELL_NAME or not ends_by(pid, signal.SIGINT):
            return False
        send(pid, signal.SIGINT, self._door.cell.enclosure.holds)
        self._repeated()
        return True
