# SPDX-License-Identifier: MIT
"""What the agent says of itself on a host whose clock was set since its start."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Operator
from tests.integration.agent import Agent
from tests.integration.test_own_faults import desk_of, handled

HOUR_MS = 3_600_000


@pytest.mark.parametrize("ahead_ms", [-5 * 365 * 24 * HOUR_MS, HOUR_MS])
async def test_status_says_how_long_the_agent_is_up(
    agent: Agent, operator: Operator, tmp_path: Path, ahead_ms: int
) -> None:
    """However far the clock was off when it started, as at a boot without a battery."""
    async with desk_of(agent, operator, tmp_path) as desk:
        at_start = replace(desk, listening_since_ms=desk.listening_since_ms + ahead_ms)
        first = await handled(at_start, agent, operator, "status")
    up = re.search(r" up ([\d.]+) (ms|s) ", first.body)
    assert up is not None, first.body
    assert float(up[1]) > 0
