# SPDX-License-Identifier: MIT
"""What is seen of an operator's identity counts for the pin that it was seen for."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.harness import Operator
from tests.harness.pins import write_pins
from tests.integration.agent import WAIT_SECONDS, Agent
from tests.integration.test_own_faults import desk_of
from tibet_nc_agent.matrix_errors import IdentityChanged
from tibet_nc_agent.operators import Standing
from tibet_nc_agent.watch import Watch


async def test_a_new_pin_is_not_paused_for_the_one_before(
    agent: Agent, operator: Operator, tmp_path: Path
) -> None:
    """Who is pinned anew while the old pin was being looked at is an operator (I5)."""
    change = IdentityChanged("it has changed", pinned="A" * 43)
    async with desk_of(agent, operator, tmp_path) as desk:
        async with asyncio.timeout(20):  # a pause would wait for the executor to record it
            await Watch(desk).pause(operator.user_id, change)
        assert desk.operators.standing(operator.user_id) is Standing.OPERATOR


async def test_who_is_paused_waits_for_nobody_else(
    agent: Agent,
    operator: Operator,
    new_operator: Callable[[], Awaitable[Operator]],
    tmp_path: Path,
) -> None:
    """While one pause can't be recorded yet, as the executor is away, another one holds (I5)."""
    both = {each.user_id: each.master_key for each in (operator, await new_operator())}
    async with desk_of(agent, operator, tmp_path) as desk:
        write_pins(tmp_path / "operators.toml", both)
        watch = Watch(desk)
        pausing = [
            asyncio.create_task(watch.pause(user, IdentityChanged("it has changed", pinned=key)))
            for user, key in both.items()
        ]
        async with asyncio.timeout(WAIT_SECONDS):
            while {desk.operators.standing(user) for user in both} != {Standing.PAUSED}:
                done, _ = await asyncio.wait(pausing, timeout=0.05)
                assert not done
        for task in pausing:
            task.cancel()
        await asyncio.wait(pausing)
