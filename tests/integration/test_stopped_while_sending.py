# SPDX-License-Identifier: MIT
"""Daemons that are stopped while there is something to answer."""

import asyncio
import os
import re
import sys
from typing import Any

import pytest

from tests.harness import Operator
from tests.harness.host import Host
from tests.harness.proxy import Proxy

ALWAYS = sys.maxsize

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


async def test_an_answer_on_its_way_is_not_sent_again_after_a_stop(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """A stop waits for it, so that the next agent knows that it was sent (I4)."""
    stopped = asyncio.Event()

    async def slow(body: dict[str, Any]) -> dict[str, Any]:
        await stopped.wait()
        return {**body, "late": True}

    proxy.rewrite("/send/m.room.encrypted/", slow)
    sent = await operator.send_text(room, "$ echo once")
    answer = await operator.answer_to(sent)
    stopping = asyncio.create_task(asyncio.to_thread(behind.agent.stop))
    await asyncio.to_thread(behind.wait_log, "stopping")
    stopped.set()
    assert await stopping == 0
    await asyncio.to_thread(behind.start_agent)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    told = [path for method, path in proxy.seen if method == "PUT" and "/send/m.room" in path]
    assert answer.body.startswith("once\n")
    assert len(told) == len(set(told))
    assert len(operator.answers_to(sent)) == 1


async def test_what_ended_with_the_executor_is_answered_before_the_agent_stops(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """Both stopped for good, executor first: each command has its answer, and what waited (I4)."""
    running, waiting = [await operator.send_text(room, text) for text in ("$ sleep 1000", "$ true")]
    await operator.wait(lambda seen: seen.body.startswith("waits until #"))
    stopped = asyncio.Event()

    async def slow(body: dict[str, Any]) -> dict[str, Any]:
        await stopped.wait()
        return {**body, "late": True}

    proxy.rewrite("/send/m.room.encrypted/", slow)
    assert await asyncio.to_thread(behind.executor.stop) == 0
    killed = await operator.answer_to(running)
    stopping = asyncio.create_task(asyncio.to_thread(behind.agent.stop))
    await asyncio.to_thread(behind.wait_log, "stopping")
    stopped.set()
    assert await stopping == 0
    denied = await operator.answer_to(waiting)
    assert "the executor was stopped" in killed.body
    assert "nothing was run: the executor was stopped" in denied.body
    assert [len(operator.answers_to(event)) for event in (running, waiting)] == [1, 1]


async def test_what_was_typed_is_not_typed_again_by_the_next_agent(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """An agent that ends before it could say that it typed something leaves it at that (I3, I4)."""
    reading = await operator.send_text(room, '$ read a; read b; echo "[$a][$b]"')
    started = await operator.wait(lambda seen: seen.body.startswith("started"))
    number = re.search(r"#(\d+)", started.body)
    assert number is not None
    proxy.refuse("/send/m.room.encrypted/", status=502, times=ALWAYS)
    told = sum("/send/m.room.encrypted/" in path for _, path in proxy.seen)
    typed = await operator.send_text(room, f"!in {number[1]} first")
    await proxy.reached("/send/m.room.encrypted/", times=told + 1)
    behind.agent.kill()
    proxy.pass_all()
    await asyncio.to_thread(behind.start_agent)
    answer = await operator.answer_to(typed)
    await operator.answer_to(await operator.send_text(room, f"!in {number[1]} second"))
    assert "doesn't know whether it was done" in answer.body
    assert "[first][second]" in (await operator.answer_to(reading)).body
    assert len(operator.answers_to(typed)) == 1
