# SPDX-License-Identifier: MIT
"""Who may miss a signal, being a copy of the shell when it came, and gets it once more then.

Between its fork and its exec a program is a copy of the shell, which may catch the signal: the copy
takes it and then becomes the program, which never learns of it. So processes that were copies are
looked at for some seconds. One that has become a program which the signal would end, and still
runs, has missed it, and gets it once more, by itself.

Nobody else does. A program that is tidying up after the first signal often ends at once with a
second one, and what a shell's trap starts afterwards must not be hit by the first. So it has to be
known who was a copy when the signal came. A process that is being forked just then gets it too
(Linux, copy_process: a signal to several processes appears to come after the fork) before anybody
can see it: that is why everything is held still for it where there is a control group. Without one
such a copy isn't seen, and the operator asks again, as on any terminal.
"""

from collections.abc import Iterable
from contextlib import suppress
from signal import Signals
from typing import Final

from tibet_nc_executor.door import Door
from tibet_nc_executor.process import ends_by, read_name, send
from tibet_nc_executor.prologue import SHELL_NAME

# An exec takes less than the first; a start on a busy machine takes a second.
PAUSES_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


class Copies:
    """The copies of the shell behind a door when a signal is about to be sent."""

    def __init__(self, door: Door, number: Signals) -> None:
        self._door: Final = door
        self._number: Final = number
        self._left = {pid for pid in door.processes() if read_name(pid) == SHELL_NAME}

    def __bool__(self) -> bool:
        """Whether any is still to be looked at."""
        return bool(self._left)

    def add(self, processes: Iterable[int]) -> None:
        """Look at these as well."""
        self._left.update(processes)

    def look(self) -> bool:
        """Send the signal to those that have missed it; say whether there were any."""
        missed = False
        for pid in list(self._left):
            with suppress(OSError):  # of our own: it is looked at again
                if (name := read_name(pid)) is None:
                    self._left.remove(pid)
                # A shell is still a copy, or one of its own. A program in the middle of its exec,
                # or that holds the signal off, may still be one that it ends.
                elif name != SHELL_NAME and ends_by(pid, self._number):
                    send(pid, self._number, self._door.cell.enclosure.holds)
                    self._left.remove(pid)
                    missed = True
        return missed
