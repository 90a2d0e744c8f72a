# SPDX-License-Identifier: MIT
"""Two hosts in one room: each does what an operator says, and neither minds what the other says."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Seen, Synapse
from tests.harness.host import Host
from tests.separation import choose_uids
from tibet_nc_protocol.records import Outcome, Refusal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


@pytest.fixture
def bots(new_account: Callable[[str], Account]) -> list[Account]:
    """Register the accounts of two agents."""
    return [new_account("bot") for _ in range(2)]


@pytest.fixture
async def room(operator: Operator, bots: list[Account]) -> str:
    """Make an encrypted room with both agents invited."""
    return await operator.create_room(invite=[bot.user_id for bot in bots])


@pytest.fixture
async def hosts(
    synapse: Synapse, bots: list[Account], operator: Operator, room: str, directory: Path
) -> AsyncIterator[list[Host]]:
    """Start two hosts that speak in one room: each allows the other's agent to be there."""
    with ExitStack() as stack:
        made: list[Host] = []
        for number, bot in enumerate(bots):
            host = Host(
                directory / f"host{number}",
                homeserver=synapse.url,
                bot=bot,
                operators={operator.user_id: operator.master_key},
                allowed=[operator.user_id, *(other.user_id for other in bots if other != bot)],
                rooms=[room],
                name=f"host{number}",
                uids=choose_uids(number),
            )
            made.append(stack.enter_context(host))
            await asyncio.to_thread(host.start)
            await operator.wait_member(room, bot.user_id)
        yield made


async def answers(operator: Operator, event: str, bots: list[Account]) -> list[Seen]:
    """Wait until every agent has answered a message; return the answers in their order."""
    found: list[Seen] = []
    for bot in bots:

        def wanted(seen: Seen, user: str = bot.user_id) -> bool:
            return seen.sender == user and seen.result.get("event_id") == event

        found.append(await operator.wait(wanted))
    return found


async def test_each_answers_the_operator_and_nobody_else(
    hosts: list[Host], operator: Operator, bots: list[Account], room: str
) -> None:
    """What one agent says the other can't read, and neither answers, refuses nor records it."""
    for word in ("one", "two"):
        sent = await operator.send_text(room, f"$ echo {word}")
        told = await answers(operator, sent, bots)
        for answer in told:
            assert answer.body.startswith(f"{word}\n")
        for host, other in zip(hosts, told[::-1], strict=True):
            await asyncio.to_thread(host.wait_log, f"{other.event_id}: ignored: ")
    said = Counter(seen.sender for seen in operator.events if seen.result.get("event_id"))
    assert said == {bot.user_id: 2 for bot in bots}
    for host in hosts:
        found = host.records()
        assert len([record for record in found if isinstance(record, Outcome)]) == 2
        assert not [record for record in found if isinstance(record, Refusal)]
