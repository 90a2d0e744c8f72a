# SPDX-License-Identifier: MIT
"""The harness itself: what the other integration tests rest on."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from yarl import URL

from tests.harness import Operator, Synapse
from tests.harness.proxy import Proxy


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


@pytest.mark.parametrize("turns", range(6))
async def test_a_proxy_leaves_no_connection(turns: int) -> None:
    """However far a connection is accepted when a proxy ends, it ends too.

    Otherwise a test long after it would fail of it, when what is left is collected.
    """
    async with Proxy("http://127.0.0.1:1") as proxy:
        url = URL(proxy.url)
        client = socket.create_connection((url.host, url.port))
        for _ in range(turns):
            await asyncio.sleep(0)
    client.settimeout(10)
    with client, suppress(ConnectionResetError):
        assert client.recv(1) == b""
    gc.collect()
