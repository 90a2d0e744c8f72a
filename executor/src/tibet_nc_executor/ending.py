# SPDX-License-Identifier: MIT
"""How a command ended: values, and the pure rule that names the reason."""

import os
import signal
from dataclasses import dataclass
from typing import Final, Self

from tibet_nc_protocol.terms import Reason

INTERRUPTED_STATUS: Final = 128 + signal.SIGINT  # what a shell reports of an interrupted child


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What the kernel says of an ended process: its exit status, or the signal that ended it."""

    exit: int | None = None
    signal: int | None = None

    @classmethod
    def of(cls, result: os.waitid_result) -> Self:
        """Return the status in a `waitid` result of an ended process."""
        if result.si_code == os.CLD_EXITED:
            return cls(exit=result.si_status)
        return cls(signal=result.si_status)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The end of a command.

    One of `exit` and `signal` is set; both are None only if the kernel could not end the shell (a
    process in uninterruptible sleep), which a note says. `duration_ms` is from the start to the end
    of the shell. `leftover` counts the processes that it left running and that go on.
    """

    exit: int | None
    signal: int | None
    reason: Reason
    duration_ms: int
    leftover: int
    notes: tuple[str, ...]


def reason_of(*, status: Status | None, order: Reason | None, interrupted: bool) -> Reason:
    """Return why a command is over: what was ordered, then what it did when interrupted."""
    if order is not None:
        return order
    if status is None:
        return Reason.KILLED
    if interrupted and (status.signal == signal.SIGINT or status.exit == INTERRUPTED_STATUS):
        return Reason.CANCELLED
    return Reason.EXITED
