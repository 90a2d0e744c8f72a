# SPDX-License-Identifier: MIT
"""Daemons that are stopped while there is something to answer."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.harness.proxy import Proxy

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


async def test_an_answer_on_its_way_is_not_sent_again_after_a_stop(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> None:
    """A stop waits for it, so that the next agent knows that it was sent (I4)."""
    async with Proxy(synapse.url) as proxy:
        with Host(
            directory / "host",
            homeserver=proxy.url,
            bot=bot,
            operators={operator.user_id: operator.master_key},
            rooms=[room],
        ) as host:
            await asyncio.to_thread(host.start)
            await operator.wait_member(room, bot.user_id)
            stopped = asyncio.Event()

            async def slow(body: dict[str, Any]) -> dict[str, Any]:
                await stopped.wait()
                return {**body, "late": True}

            proxy.rewrite("/send/m.room.encrypted/", slow)
            sent = await operator.send_text(room, "$ echo once")
            answer = await operator.answer_to(sent)
            stopping = asyncio.create_task(asyncio.to_thread(host.agent.stop))
            await asyncio.to_thread(host.wait_log, "stopping")
            stopped.set()
            assert await stopping == 0
            await asyncio.to_thread(host.start_agent)
            await operator.answer_to(await operator.send_text(room, "$ true"))
        told = [path for method, path in proxy.seen if method == "PUT" and "/send/m.room" in path]
    assert answer.body.startswith("once\n")
    assert len(told) == len(set(told))
    assert len(operator.answers_to(sent)) == 1


async def test_what_ended_with_the_executor_is_answered_before_the_agent_stops(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> None:
    """Both stopped for good, executor first: each command has its answer, and what waited (I4)."""
    async with Proxy(synapse.url) as proxy:
        with Host(
            directory / "host",
            homeserver=proxy.url,
            bot=bot,
            operators={operator.user_id: operator.master_key},
            rooms=[room],
        ) as host:
            await asyncio.to_thread(host.start)
            await operator.wait_member(room, bot.user_id)
            running, waiting = [
                await operator.send_text(room, text) for text in ("$ sleep 1000", "$ true")
            ]
            await operator.wait(lambda seen: seen.body.startswith("waits until #"))
            stopped = asyncio.Event()

            async def slow(body: dict[str, Any]) -> dict[str, Any]:
                await stopped.wait()
                return {**body, "late": True}

            proxy.rewrite("/send/m.room.encrypted/", slow)
            assert await asyncio.to_thread(host.executor.stop) == 0
            killed = await operator.answer_to(running)
            stopping = asyncio.create_task(asyncio.to_thread(host.agent.stop))
            await asyncio.to_thread(host.wait_log, "stopping")
            stopped.set()
            assert await stopping == 0
        denied = await operator.answer_to(waiting)
    assert "the executor was stopped" in killed.body
    assert "nothing was run: the executor was stopped" in denied.body
    assert [len(operator.answers_to(event)) for event in (running, waiting)] == [1, 1]
