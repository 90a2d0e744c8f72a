# SPDX-License-Identifier: MIT
"""An agent that was removed from a room and is invited again."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

TOLD = "the agent is no longer in this room"


@pytest.fixture
async def host(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> AsyncIterator[Host]:
    """Start a host whose agent was invited to its room, and is there."""
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
    ) as made:
        await asyncio.to_thread(made.start)
        await operator.wait_member(room, bot.user_id)
        yield made


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "at-once"])
async def test_who_was_removed_comes_back_when_invited(
    host: Host, bot: Account, operator: Operator, room: str, *, noticed: bool
) -> None:
    """It joins again, answers again, and its absence is on record, however short it was."""
    await operator.answer_to(await operator.send_text(room, "$ echo before"))
    await operator.kick(room, bot.user_id)
    if noticed:
        await asyncio.to_thread(host.wait_log, TOLD)
    await operator.invite(room, bot.user_id)
    await operator.wait_member(room, bot.user_id)
    answer = await operator.answer_to(await operator.send_text(room, "$ echo after"))
    assert answer.body.startswith("after\n")
    assert [record.room for record in host.alerts("left")] == [room]
