# SPDX-License-Identifier: MIT
"""What sessions and their commands took is given back, however they ended (I6)."""

import os

import pytest

from tests.executor.exchange import control, jobs, run
from tests.executor.rig import OPERATOR, ROOM, UNRESTRICTED, Client, Executor
from tests.executor.shell.driver import until
from tibet_nc_protocol.messages import CloseSession, Recorded
from tibet_nc_protocol.terms import Signal

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to look into the executor"),
    pytest.mark.executor(shell=UNRESTRICTED),
]


def held(executor: Executor) -> tuple[int, int]:
    """Return how many descriptors the executor has open, and how many threads it has."""
    process = f"/proc/{executor.pid}"
    return len(os.listdir(f"{process}/fd")), len(os.listdir(f"{process}/task"))


def rests(executor: Executor) -> bool:
    """Say whether nothing runs as the shell uid but the shell that waits for the next command."""
    lines = executor.commands("")
    return len(lines) == 1 and ". /dev/fd/" in lines[0]


async def session(executor: Executor, client: Client) -> None:
    """Begin a session, end commands of it in every way, and end it."""
    await run(client, "echo something")
    left = await run(client, "(sleep 0.1; echo late; exec sleep 4766) & true")
    await until(lambda: executor.commands("sleep 4766") != [])
    await control(client, left.number, Signal.KILL)
    await run(client, "kill -9 $$")
    await run(client, "exec true")
    await run(client, "sleep 4766 & true")
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    while not isinstance(await client.receive(), Recorded):
        pass


async def test_a_shell_waits_for_the_next_session_when_one_was_ended(
    executor: Executor, client: Client
) -> None:
    """What was made ready for the last session's next command is made anew without it."""
    await run(client, "true")
    await until(lambda: rests(executor))
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Recorded)
    await until(lambda: rests(executor))


async def test_sessions_leave_nothing_open(executor: Executor, client: Client) -> None:
    """After many sessions the executor has as many descriptors and threads as after one."""
    for _ in range(2):
        await session(executor, client)
    await until(lambda: rests(executor))
    before = held(executor)
    for _ in range(6):
        await session(executor, client)
    assert await jobs(client) == ()
    await until(lambda: rests(executor) and held(executor) <= before)
