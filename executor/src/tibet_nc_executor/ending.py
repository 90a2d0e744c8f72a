# SPDX-License-Identifier: MIT
"""How a command ended: values, and the pure rule that names the reason."""

import os
import signal
from dataclasses import dataclass
from enum import Enum
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


class Death(Enum):
    """What has ended a shell before its line was over, and would have ended one at a prompt."""

    EXIT = "exit"
    ERREXIT = "set -e"
    EXEC = "exec"
    SIGNAL = "signal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """The end of a command.

    One of `exit` and `signal` is set; both are None only if the kernel could not end the shell (a
    process in uninterruptible sleep), which a note says. `duration_ms` is from the start to the end
    of the shell. `leftover` counts the processes that it left running and that go on. With `death`
    the session of the command is over, too.
    """

    exit: int | None
    signal: int | None
    reason: Reason
    duration_ms: int
    leftover: int
    notes: tuple[str, ...]
    death: Death | None = None


def reason_of(*, status: Status | None, order: Reason | None, interrupted: bool) -> Reason:
    """Return why a command is over: what was ordered, then what it did when interrupted."""
    if order is not None:
        return order
    if status is None:
        return Reason.KILLED
    if interrupted and (status.signal == signal.SIGINT or status.exit == INTERRUPTED_STATUS):
        return Reason.CANCELLED
    return Reason.EXITED


def death_of(
    *, status: Status | None, reason: Reason, word: Death | None, replaced: bool
) -> Death | None:
    """Return what has ended the session's shell; None if the session goes on.

    `word` is what the shell itself told of its end, `replaced` whether another program had taken
    its place. What the executor or an operator ends is the command alone, as is what ^C ends.
    """
    if replaced:
        return Death.EXEC
    if status is None or reason is not Reason.EXITED or status.signal == signal.SIGINT:
        return None
    return word if status.signal is None else Death.SIGNAL


def described(death: Death, status: Status) -> str:
    """Return in a few words how a shell ended."""
    words = f"exit {status.exit}" if status.signal is None else f"signal {status.signal}"
    return words if death in {Death.EXIT, Death.SIGNAL} else f"{death.value}, {words}"
