# SPDX-License-Identifier: MIT
"""What sessions, commands and readers took is given back, however they ended (I6)."""

import os
from pathlib import Path

import pytest

from tests.executor.exchange import control, jobs, run
from tests.executor.rig import OPERATOR, ROOM, UNRESTRICTED, Client, Executor
from tests.executor.shell.driver import until
from tibet_nc_executor.office import READERS
from tibet_nc_protocol.limits import CHUNK_BYTES
from tibet_nc_protocol.messages import Chunk, CloseSession, Fetch, Recorded
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


def reading(executor: Executor) -> int:
    """Return how many recordings the executor has open."""
    links = Path(f"/proc/{executor.pid}/fd").iterdir()
    return sum(os.readlink(link).endswith(".cast") for link in links)


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


async def test_readers_that_nobody_asks_again_are_closed(
    executor: Executor, client: Client
) -> None:
    """Of outputs that were read in part so many are held open and no more; each is read on."""
    text = f"head -c {2 * CHUNK_BYTES} /dev/zero | tr '\\0' x"
    runs = [(await run(client, text)).run for _ in range(READERS + 4)]

    async def piece(name: str, offset: int) -> Chunk:
        await client.send(Fetch(request=client.number(), run=name, offset=offset))
        while not isinstance(chunk := await client.receive(), Chunk):
            pass
        return chunk

    for name in runs:
        chunk = await piece(name, 0)
        assert (len(chunk.data), chunk.last) == (CHUNK_BYTES, False)
    assert reading(executor) == READERS
    for name in runs:
        chunk = await piece(name, CHUNK_BYTES)
        assert (len(chunk.data), chunk.last) == (CHUNK_BYTES, True)
    assert reading(executor) == 0
