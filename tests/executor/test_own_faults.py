# SPDX-License-Identifier: MIT
"""What becomes of the executor's own faults: they are told, and nothing waits for ever."""

import asyncio
from typing import cast

import pytest

from tests.executor.rig import OPERATOR, ROOM
from tibet_nc_executor.run import DeniedError, Execution, Tools
from tibet_nc_executor.service import _until_told
from tibet_nc_executor.session import SessionShell
from tibet_nc_protocol.messages import Run
from tibet_nc_protocol.terms import run_id


async def test_a_command_that_the_executor_fails_over_is_denied() -> None:
    """Whoever waits for a command is answered, whatever goes wrong with it (I4)."""
    request = Run(
        request=1,
        room=ROOM,
        event="$event",
        sender=OPERATOR,
        device="DEVICE",
        ciphertext="0" * 64,
        sent_ms=0,
        command="true",
    )
    execution = Execution(
        request,
        run=run_id(ROOM, "$event"),
        request_sha256="0" * 64,
        tools=cast(Tools, None),  # any fault will do
        may_leave=lambda: True,
    )
    with pytest.raises(AttributeError):
        await execution.perform("0" * 16, SessionShell())
    for waiting in (execution.started, execution.done):
        with pytest.raises(DeniedError, match="failed over this command"):
            await waiting


async def test_a_duty_that_fails_ends_the_executor() -> None:
    """Limits, checkpoints and retention are kept, or the service manager starts anew (I7)."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def end() -> None:
        pass

    async def last() -> None:
        await asyncio.sleep(3600)

    ended, lasting = asyncio.create_task(end()), asyncio.create_task(last())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_until_told([ended, lasting]), 0.2)
    failing = asyncio.create_task(fail())
    await asyncio.wait_for(_until_told([failing, ended, lasting]), 20)
    with pytest.raises(ZeroDivisionError):
        await failing
    lasting.cancel()
