# SPDX-License-Identifier: MIT
"""A session ends when it was idle or lasted for too long; the room is told before."""

import asyncio
import os
from pathlib import Path
from typing import cast

import pytest

from tests.executor.exchange import run
from tests.executor.injection import injected
from tests.executor.rig import OPERATOR, ROOM, UNRESTRICTED, Client, Executor, records
from tests.executor.shell.driver import until
from tests.executor.test_own_faults import executing
from tibet_nc_executor.run import Tools
from tibet_nc_executor.sessions import OperatorSession, SessionLimits
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.messages import Finished, SessionNotice, Started
from tibet_nc_protocol.records import Remainder, Session
from tibet_nc_protocol.terms import Reason

LIMITS = "session_warning_s = 1\n"


async def notice(client: Client) -> SessionNotice:
    """Return the next notice."""
    response = await client.receive()
    assert isinstance(response, SessionNotice), response
    return response


async def test_an_idle_session_is_warned_and_ends(place: Path) -> None:
    """The room can be told before; then the session ends with all of it, and the next is new."""
    with Executor(place, shell=f"{LIMITS}session_idle_s = 2") as executor:
        client = await Client.connect(executor)
        await run(client, "a=1; sleep 4757 & true")
        warning = await notice(client)
        assert (warning.room, warning.sender, warning.seconds) == (ROOM, OPERATOR, 1)
        assert warning.reason == "no command for 2 s"
        ended = await notice(client)
        assert (ended.session, ended.seconds) == (warning.session, 0)
        assert executor.commands("sleep 4757") == []
        await until(lambda: executor.commands("") != [])  # a shell that waits for a new session
        *_, remainder, closed = records(executor)
        assert isinstance(remainder, Remainder)
        assert isinstance(closed, Session)
        assert (closed.state, closed.detail) == ("closed", "no command for 2 s")
        finished = await run(client, "echo [$a]")
        assert finished.output == b"[]\n"
        note = "this is a new session: the last one has ended (no command for 2 s)"
        assert finished.notes == (note,)
        assert (await run(client, "true")).notes == ()
        await client.close()


async def test_a_session_that_is_used_is_not_idle(place: Path) -> None:
    """A long command is no idle time, and each command begins the time anew."""
    with Executor(place, shell=f"{LIMITS}session_idle_s = 2") as executor:
        client = await Client.connect(executor)
        await run(client, "a=1; sleep 2.5")
        assert (await run(client, "echo $a")).output == b"1\n"
        assert (await notice(client)).seconds == 1
        await client.close()


async def test_a_session_is_not_idle_while_one_of_its_commands_runs(place: Path) -> None:
    """The end of a command begins no idle time where another one has waited for it."""
    with Executor(place, shell=f"{LIMITS}session_idle_s = 2") as executor:
        client = await Client.connect(executor)
        for text in ("true", "sleep 2.5; echo ran"):
            await client.send(client.request(text))
        answers = [await client.receive() for _ in range(4)]
        finished = [answer.output for answer in answers if isinstance(answer, Finished)]
        assert finished == [b"", b"ran\n"]
        assert (await notice(client)).seconds == 1
        await client.close()


@pytest.mark.parametrize("text", ["a=1; sleep 100", "exec sleep 100"])
async def test_the_hard_limit_ends_what_runs(place: Path, text: str) -> None:
    """No session lasts longer, a busy one neither: its command is killed, and that is said.

    One that has taken its shell's place ends no session that has ended already.
    """
    with Executor(place, shell=f"{LIMITS}session_total_s = 3\n{UNRESTRICTED}") as executor:
        client = await Client.connect(executor)
        await client.send(client.request(text))
        assert isinstance(await client.receive(), Started)
        assert (await notice(client)).reason == "a session lasts 3 s at most"
        finished = await client.receive()
        assert isinstance(finished, Finished)
        assert finished.reason is Reason.KILLED
        assert "the session has ended: a session lasts 3 s at most" in finished.notes
        assert (await notice(client)).seconds == 0
        await client.close()
        executor.stop()
        assert "Traceback" not in executor.log.read_text()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_an_end_that_finds_no_room_is_told(place: Path) -> None:
    """A session whose end can't be put on record ends all the same, and the room hears of it."""
    with Executor(place, shell=f"{LIMITS}session_idle_s = 4") as executor:
        client = await Client.connect(executor)
        await run(client, "true")
        (chain,) = (executor.state / CHAIN).iterdir()
        with injected(executor, "write:error=ENOSPC", [chain]):
            assert [(await notice(client)).seconds for _ in range(2)] == [1, 0]
        await client.close()


async def test_each_idle_time_is_warned_of_once() -> None:
    """Nothing is due between the warning and the end, and a command has the next one warned of."""
    limits = SessionLimits(idle_s=10, total_s=100, warning_s=3)
    session = OperatorSession(ROOM, OPERATOR, asyncio.Lock(), limits, now=0)
    for begun in (0, 8):
        assert session.due() == begun + 7
        assert session.look(begun + 6) is None
        assert session.look(begun + 7) == (3, "no command for 10 s")
        assert session.look(begun + 8) is None
        assert session.due() == begun + 10
        execution = executing("true", cast(Tools, None))
        session.begin(execution, asyncio.create_task(asyncio.sleep(0)))
        session.end(execution, begun + 8)
    assert session.look(26) == (0, "no command for 10 s")


async def test_a_warning_is_neither_too_early_nor_an_end() -> None:
    """No more than half of a limit is left when it is told, and no less than a second is said."""
    limits = SessionLimits(idle_s=10, total_s=100, warning_s=60)
    session = OperatorSession(ROOM, OPERATOR, asyncio.Lock(), limits, now=0)
    assert session.due() == 5
    assert session.look(9.9) == (1, "no command for 10 s")
