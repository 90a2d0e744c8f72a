# SPDX-License-Identifier: MIT
"""What an auditor must know of is recorded, also if the agent ends while the executor is away."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Account, Operator
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration.hosts import started
from tests.integration.test_end_to_end import until

type NewOperator = Callable[..., Awaitable[Operator]]

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


@pytest.fixture
async def host(
    proxy: Proxy, bot: Account, operator: Operator, rooms: list[str], directory: Path
) -> AsyncIterator[Host]:
    """Start a host whose bot is in both rooms, and hears of them through the proxy only."""
    async with started(proxy.url, bot, operator, rooms, directory) as made:
        yield made


@pytest.mark.parametrize("stays", [True, False], ids=["stays", "gone"])
async def test_an_alert_that_waits_outlives_the_agent(
    host: Host,
    proxy: Proxy,
    bot: Account,
    operator: Operator,
    new_operator: NewOperator,
    rooms: list[str],
    *,
    stays: bool,
) -> None:
    """Seen while the executor was away, and the agent killed then: it is in the chain once."""
    mallory, room = await new_operator(), rooms[1]
    await asyncio.to_thread(host.executor.stop)
    await operator.invite(room, mallory.user_id)
    await asyncio.to_thread(host.wait_log, f"{mallory.user_id} is no operator")
    await operator.send_unencrypted(room, {"msgtype": "m.text", "body": "hello"})
    await asyncio.to_thread(host.wait_log, "was not encrypted")
    left_out = leaving_out(room)
    proxy.rewrite("/sync", left_out)
    proxy.refuse("/messages", status=403)
    await operator.send_unencrypted(room, {"msgtype": "m.text", "body": "left out"})
    await asyncio.to_thread(host.wait_log, "the homeserver left messages out")
    proxy.pass_all()
    other = await operator.create_room(invite=[bot.user_id])
    await asyncio.to_thread(host.wait_log, f"ignored: an invitation to {other}")  # a batch later
    host.agent.kill()
    if not stays:
        await operator.kick(room, mallory.user_id)
    await asyncio.to_thread(host.start)
    told = [("stranger", mallory.user_id), ("plaintext", operator.user_id), ("gap", None)]
    await until(lambda: all(host.alerts(what) for what, _ in told))
    for what, sender in told:
        assert [(each.room, each.sender) for each in host.alerts(what)] == [(room, sender)]
    if stays:
        await operator.kick(room, mallory.user_id)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    assert [len(host.alerts(what)) for what, _ in told] == [1, 1, 1]
    await asyncio.to_thread(host.agent.stop)
    await asyncio.to_thread(host.start_agent)  # nothing is owed any more
    await operator.answer_to(await operator.send_text(room, "$ true"))
    assert [len(host.alerts(what)) for what, _ in told] == [1, 1, 1]


@pytest.mark.parametrize("heard", [False, True], ids=["unheard", "heard"])
async def test_a_notice_that_waits_outlives_the_agent(
    host: Host, proxy: Proxy, operator: Operator, rooms: list[str], *, heard: bool
) -> None:
    """Recorded, and the agent killed while it tells the room: the room is told once, all the same.

    The homeserver had the notice by then, or hadn't.
    """
    room, reached, over = rooms[1], asyncio.Event(), asyncio.Event()

    async def never(body: dict[str, Any]) -> dict[str, Any]:
        reached.set()
        await over.wait()
        return {**body, "late": True}

    if heard:
        proxy.rewrite("/send/m.room.encrypted", never)
    else:
        proxy.refuse("/send/m.room.encrypted", status=500, body={}, times=1000)
    await operator.send_unencrypted(room, {"msgtype": "m.text", "body": "hello"})
    await until(lambda: bool(host.alerts("plaintext")))
    await (reached.wait() if heard else proxy.reached("/send/m.room.encrypted"))
    host.agent.kill()
    proxy.pass_all()
    over.set()
    await asyncio.to_thread(host.start_agent)
    await operator.wait(lambda seen: "was not encrypted" in seen.body)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    await asyncio.to_thread(host.agent.stop)
    await asyncio.to_thread(host.start_agent)  # nothing is owed any more
    await operator.answer_to(await operator.send_text(room, "$ true"))
    assert len([seen for seen in operator.events if "was not encrypted" in seen.body]) == 1
    assert len(host.alerts("plaintext")) == 1


def leaving_out(room: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a change that leaves what is new in a room out of a sync, to be asked for."""

    def leave_out(body: dict[str, Any]) -> dict[str, Any]:
        joined = body.get("rooms", {}).get("join", {})
        if room in joined:
            position = {"limited": True, "prev_batch": body["next_batch"]}
            joined[room]["timeline"] = {"events": [], **position}
        return body

    return leave_out
