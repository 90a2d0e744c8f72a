# SPDX-License-Identifier: MIT
"""A host of one operator, as most tests need it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness import Account, Operator
from tests.harness.host import Host


@asynccontextmanager
async def started(
    homeserver: str, bot: Account, operator: Operator, rooms: list[str], directory: Path
) -> AsyncGenerator[Host]:
    """Start a host whose agent was invited to its rooms, and wait until it is there."""
    with Host(
        directory / "host",
        homeserver=homeserver,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=rooms,
    ) as made:
        await asyncio.to_thread(made.start)
        for room in rooms:
            await operator.wait_member(room, bot.user_id)
        yield made
