# SPDX-License-Identifier: MIT
"""Invitations are accepted one beside the other, and beside everything else."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from tests.harness import Operator
from tests.harness.pins import write_pins
from tests.harness.proxy import Proxy
from tests.integration.agent import WAIT_SECONDS, Agent
from tests.integration.test_own_faults import desk_of
from tibet_nc_agent.homeserver import quoted
from tibet_nc_agent.news import News
from tibet_nc_agent.watch import Watch


async def test_a_room_that_can_not_be_joined_holds_up_no_other(
    agent: Agent,
    operator: Operator,
    new_operator: Callable[[], Awaitable[Operator]],
    tmp_path: Path,
) -> None:
    """While a room's server is away, who is pinned gets the agent into another room."""
    await agent.stop()
    second = await new_operator()
    away = await operator.create_room(invite=[agent.account.user_id])
    other = await second.create_room(invite=[agent.account.user_id])
    async with Proxy(agent.settings.homeserver) as proxy:
        rooms = (agent.room_id, away, other)
        agent.settings = replace(agent.settings, homeserver=proxy.url, rooms=rooms)
        await agent.open()
        proxy.refuse(f"/join/{quoted(away)}", status=502, body={}, times=sys.maxsize)
        async with desk_of(agent, operator, tmp_path) as made:
            desk = replace(made, rules=replace(made.rules, rooms=frozenset(rooms)))
            following = asyncio.create_task(News(desk, Watch(desk)).follow_pins())
            async with asyncio.timeout(WAIT_SECONDS):
                await proxy.reached(f"/join/{quoted(away)}")
            both = {each.user_id: each.master_key for each in (operator, second)}
            write_pins(tmp_path / "operators.toml", both)
            await second.wait_member(other, agent.account.user_id)
            following.cancel()
            await asyncio.wait([following])
        await agent.stop()
