# SPDX-License-Identifier: MIT
"""Daemons that are stopped while there is something to answer."""

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.harness import Operator
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration.agent import Agent
from tests.integration.test_end_to_end import until
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.event import MemberAdded
from tibet_nc_agent.outbox import Outbox

type NewOperator = Callable[..., Awaitable[Operator]]

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


async def test_a_stop_waits_again_for_what_is_owed_when_a_room_takes_something(
    agent: Agent, operator: Operator, new_operator: NewOperator, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that couldn't be sent has a stop wait for no other; once it is sent, it does."""
    mallory, outbox = await new_operator(), Outbox(agent.matrix)
    await operator.invite(agent.room_id, mallory.user_id)
    await agent.received(MemberAdded)
    with outbox.owing(agent.room_id):
        content: JsonObject = {"msgtype": "m.notice", "body": "done"}
        delivering = asyncio.create_task(outbox.deliver(agent.room_id, content, "t1"))
        await until(lambda: "an answer" in caplog.text)
        await outbox.settle()
        await operator.kick(agent.room_id, mallory.user_id)
        await delivering
        settling = asyncio.create_task(outbox.settle())
        await asyncio.sleep(0)
        assert not settling.done()
    await settling


async def test_a_room_that_takes_nothing_changes_nothing_for_another(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """A stop waits for what is owed in one room, and not for what another room doesn't take."""
    outbox, elsewhere = Outbox(agent.matrix), "!elsewhere:example.org"
    content: JsonObject = {"msgtype": "m.notice", "body": "done"}
    delivering = asyncio.create_task(outbox.deliver(elsewhere, content, "t1"))
    await until(lambda: "an answer" in caplog.text)
    with outbox.owing(agent.room_id):
        settling = asyncio.create_task(outbox.settle())
        await asyncio.sleep(0)
        assert not settling.done()
    await settling
    with outbox.owing(elsewhere):
        await outbox.deliver(agent.room_id, content, "t2")
        await outbox.settle()
    delivering.cancel()
    await asyncio.wait([delivering])
    assert "stopped while something was being sent" not in caplog.text


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
