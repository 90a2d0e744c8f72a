# SPDX-License-Identifier: MIT
"""What is seen of an operator's identity counts for the pin that it was seen for."""

import asyncio
from pathlib import Path

from tests.harness import Operator
from tests.integration.agent import Agent
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
