# SPDX-License-Identifier: MIT
"""A whole host, agent, executor and chain, behind a homeserver that can lie to it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration.attacks.attack import Attack


@pytest.fixture
async def waiting(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> AsyncIterator[Attack]:
    """Make a host behind a homeserver that can lie; nothing is started."""
    async with Proxy(synapse.url) as proxy:
        host = Host(
            directory / "host",
            homeserver=proxy.url,
            bot=bot,
            operators={operator.user_id: operator.master_key},
            rooms=[room],
        )
        try:
            yield Attack(host, proxy, operator, room)
        finally:
            await asyncio.to_thread(host.close)


@pytest.fixture
async def attack(waiting: Attack, bot: Account) -> Attack:
    """Start the host, and see that an honest command runs."""
    await asyncio.to_thread(waiting.host.start)
    await waiting.operator.wait_member(waiting.room, bot.user_id)
    await waiting.runs("$ echo honest", "honest\n")
    return waiting
