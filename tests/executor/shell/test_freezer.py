# SPDX-License-Identifier: MIT
"""Stopping all of the shell uid for a moment: in turn, and never for longer than that moment."""

import asyncio
import signal
from signal import Signals

import pytest

from tibet_nc_executor.tagged import Freezer


class Uid:
    """Signals as they were sent, each with whether the freezer said that it has stopped all."""

    def __init__(self) -> None:
        self.sent: list[tuple[Signals, bool]] = []
        self.freezer = Freezer(self.send)

    async def send(self, number: Signals) -> bool:
        """Note a signal, and give others their turn."""
        self.sent.append((number, self.freezer.frozen))
        await asyncio.sleep(0)
        return True


STOP, CONT = (signal.SIGSTOP, True), (signal.SIGCONT, True)


async def test_one_silence_after_the_other() -> None:
    """Two runs that end at once don't wake what the other needs to be still."""
    uid = Uid()
    seen: list[bool] = []

    def act() -> None:
        seen.append(uid.sent[-1] == STOP and uid.freezer.frozen)

    assert await asyncio.gather(*(uid.freezer.silence(act) for _ in range(3))) == [True] * 3
    assert uid.sent == [STOP, CONT] * 3
    assert seen == [True] * 3
    assert not uid.freezer.frozen


async def test_a_failure_wakes_everybody() -> None:
    """Whatever goes wrong in the silence, what was stopped goes on, and the next one can begin."""
    uid = Uid()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await uid.freezer.silence(fail)
    assert uid.sent == [STOP, CONT]
    assert not uid.freezer.frozen
    assert await uid.freezer.silence(lambda: None)
