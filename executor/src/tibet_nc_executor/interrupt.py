# SPDX-License-Identifier: MIT
"""One ^C to a command, and again to a program that could not notice it.

Between its fork and its exec a program is a copy of the shell, which catches SIGINT: the copy takes
the signal and then becomes the program, which never learns of it. So processes that were copies are
looked at for a second. One that has become a program which SIGINT would end, and still runs, has
missed it, and gets it once more, by itself.

Nobody else does. A program that is tidying up after the first ^C often ends at once with a second
one, and what a shell's trap starts afterwards must not be hit by the first.
"""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tibet_nc_executor.door import Door
from tibet_nc_executor.process import ends_by, read_name, send
from tibet_nc_executor.prologue import SHELL_NAME

_PAUSES_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)  # an exec takes less than the first


class Interrupt:
    """Sends SIGINT to the foreground of a terminal; `repeated` is called if it had to be again."""

    def __init__(self, door: Door, repeated: Callable[[], None]) -> None:
        self._door: Final = door
        self._repeated: Final = repeated
        self._copies = {pid for pid in door.processes() if read_name(pid) == SHELL_NAME}
        with suppress(OSError):
            door.terminal.interrupt()
        self._pauses = iter(_PAUSES_S)
        self._timer: asyncio.TimerHandle | None = None
        self._wait()

    def cancel(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        pause = next(self._pauses, None)
        if pause is not None and self._copies:
            self._timer = asyncio.get_running_loop().call_later(pause, self._look)

    def _look(self) -> None:
        for pid in list(self._copies):
            name = read_name(pid)
            if name == SHELL_NAME:  # still a copy, or a shell of its own
                continue
            self._copies.remove(pid)
            with suppress(OSError):
                if name is not None and ends_by(pid, signal.SIGINT):
                    send(pid, signal.SIGINT, self._door.cell.enclosure.holds)
                    self._repeated()
        self._wait()
