# SPDX-License-Identifier: MIT
"""The harness itself: what the other integration tests rest on."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from functools import partial

import pytest
from yarl import URL

from tests.harness import Operator, Synapse
from tests.harness.proxy import Proxy
from tests.serving import meeting

type Served = Callable[[], AbstractAsyncContextManager[int]]


async def test_two_operators_talk_encrypted(
    new_operator: Callable[..., Awaitable[Operator]],
) -> None:
    """A message, its edit and its final answer arrive decrypted and are found."""
    first, second = await new_operator(), await new_operator()
    room_id = await first.create_room(invite=[second.user_id])
    await second.join(room_id)
    await first.wait_member(room_id, second.user_id)
    command = await first.send_text(room_id, "$ uptime")
    edit = await first.edit(room_id, command, "$ date")
    seen = await second.wait(lambda seen: seen.event_id == command)
    assert (seen.decrypted, seen.body) == (True, "$ uptime")
    assert (await second.wait(lambda seen: seen.replaces == command)).event_id == edit
    for final in (False, True):
        result = {"event_id": command, "final": final}
        content = {"msgtype": "m.notice", "body": "up", "nc.tibet.result": result}
        await second.send(room_id, content)
    assert (await first.answer_to(command)).result["final"] is True
    assert len(first.answers_to(command)) == 1
    assert [seen.body for seen in first.edits_of(command)] == ["* $ date"]


async def test_operator_survives_a_restart(synapse: Synapse, operator: Operator) -> None:
    """The operator's client goes on after the homeserver was restarted."""
    room_id = await operator.create_room()
    await asyncio.to_thread(synapse.restart)
    event_id = await operator.send_text(room_id, "hello")
    assert (await operator.wait(lambda seen: seen.event_id == event_id)).body == "hello"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, for two process ids that are the same")
def test_no_two_programs_have_a_uid_in_common() -> None:
    """Two that run side by side share none, though one may be like the other, even in its id."""
    program = (
        "import os, sys; from tests.separation import SHELL_UID\n"
        "print(os.getpid(), SHELL_UID, flush=True); sys.stdin.read()"
    )
    argv = ["unshare", "--pid", "--fork", "--", sys.executable, "-c", program]
    told: list[list[bytes]] = []
    with ExitStack() as running:
        for _ in range(2):
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            running.enter_context(process)  # whose end waits for it, and before that ends its input
            assert process.stdout is not None
            told.append(process.stdout.readline().split())
    assert [pid for pid, _ in told] == [b"1", b"1"]
    assert len({uid for _, uid in told}) == 2


@asynccontextmanager
async def proxying() -> AsyncGenerator[int]:
    """Run a proxy; gives its port."""
    async with Proxy("http://127.0.0.1:1") as proxy:
        port = URL(proxy.url).port
        assert port is not None
        yield port


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize(
    "served",
    [proxying, partial(meeting, lambda _, writer: writer.close())],
    ids=["proxying", "meeting"],
)
async def test_a_server_leaves_no_connection(served: Served, turns: int) -> None:
    """However far a connection is accepted when a test's server ends, it ends too.

    Otherwise a test long after it would fail of it, when what is left is collected.
    """
    async with served() as port:
        client = socket.create_connection(("127.0.0.1", port))
        for _ in range(turns):
            await asyncio.sleep(0)
    client.settimeout(10)
    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""
    gc.collect()
