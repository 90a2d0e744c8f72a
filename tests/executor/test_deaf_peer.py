# SPDX-License-Identifier: MIT
"""An agent that reads nothing, as one that hangs: it is left, and holds nothing up."""

import asyncio
import time
from pathlib import Path

from tests.executor.rig import SECONDS, Client, Connect, Executor
from tibet_nc_executor.connection import REQUESTS_AT_ONCE
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.messages import ChainTail

_CONNECTED = "03"
LOOKS = 5
"""The kernel's table may lack a line while sockets elsewhere come and go."""


async def _be_deaf(executor: Executor, connect: Connect) -> Client:
    """Ask for more than two buffers hold, and read none of it."""
    client = await connect(executor)
    for _ in range(40):  # for the reports to be long
        await client.run("true")
    transport = client.writer.transport
    assert isinstance(transport, asyncio.Transport)  # which reads, too
    transport.pause_reading()
    for _ in range(REQUESTS_AT_ONCE // 2):
        await client.send(ChainTail(request=client.number(), limit=32))
    return client


def _connections(executor: Executor) -> int:
    return max(_listed(executor) for _ in range(LOOKS))


def _listed(executor: Executor) -> int:
    table = Path("/proc/net/unix").read_text().splitlines()
    return sum(
        line.endswith(f" {executor.socket}") and line.split()[5] == _CONNECTED for line in table
    )


async def test_it_does_not_keep_the_executor_from_ending(
    executor: Executor, connect: Connect
) -> None:
    """With answers that nobody reads the executor ends as it should when it is told to."""
    await _be_deaf(executor, connect)
    assert executor.stop() == 0


async def test_one_that_breaks_the_rules_is_left(executor: Executor, connect: Connect) -> None:
    """What it is told last may wait for ever behind what it doesn't read; the executor doesn't."""
    client = await _be_deaf(executor, connect)
    assert _connections(executor) == 1
    await client.send_raw(frame(b"no message"))
    end = time.monotonic() + SECONDS
    while _connections(executor):
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
