# SPDX-License-Identifier: MIT
"""Who can read what the agent says, in each of its rooms, when who may has changed (I5)."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.harness.proxy import Proxy

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

SECONDS = 90.0

ASKED_SECONDS = 5.0
"""How long the answer to a question about keys may be held up."""


class Rooms:
    """A host in two rooms with two operators, behind a proxy."""

    def __init__(
        self, host: Host, proxy: Proxy, operators: tuple[Operator, Operator], rooms: list[str]
    ) -> None:
        self.host = host
        self.proxy = proxy
        self.one, self.other = operators
        self.rooms = rooms

    async def says(self, room: str) -> str:
        """Have the other operator run a command in a room; return the event id of the answer."""
        sent = await self.other.send_text(room, "$ echo said")
        return (await self.other.answer_to(sent, SECONDS)).event_id

    async def told(self, room: str, what: str) -> str:
        """Wait until the other operator is told something in a room; return the event's id."""
        found = await self.other.wait(
            lambda seen: seen.room_id == room and what in seen.body, SECONDS
        )
        return found.event_id

    async def one_reads(self, event_id: str) -> None:
        """Wait until the first operator has read an event."""
        await self.one.wait(lambda seen: seen.event_id == event_id and seen.decrypted, SECONDS)

    def has_read(self, event_id: str) -> bool:
        """Whether the first operator has read an event."""
        return any(seen.event_id == event_id and seen.decrypted for seen in self.one.events)


@pytest.fixture
async def both(
    synapse: Synapse,
    bot: Account,
    new_operator: Callable[..., Awaitable[Operator]],
    directory: Path,
) -> AsyncIterator[Rooms]:
    """Start the host, in two rooms with both operators, and see that both read all."""
    one, other = await new_operator(), await new_operator()
    rooms = [await one.create_room(invite=[bot.user_id, other.user_id]) for _ in range(2)]
    async with Proxy(synapse.url) as proxy:
        with Host(
            directory / "host",
            homeserver=proxy.url,
            bot=bot,
            operators={each.user_id: each.master_key for each in (one, other)},
            rooms=rooms,
        ) as host:
            host.allow(one.user_id, other.user_id)
            await asyncio.to_thread(host.start)
            made = Rooms(host, proxy, (one, other), rooms)
            for room in rooms:
                await other.join(room)
                await one.wait_member(room, bot.user_id)
                await other.wait_member(room, bot.user_id)
                await made.one_reads(await made.says(room))
            yield made


async def test_who_is_unpinned_reads_in_no_room(both: Rooms) -> None:
    """Each room has a new key after an operator was unpinned, and not only the next to be used."""
    both.host.pin({both.other.user_id: both.other.master_key})
    hidden = [await both.says(room) for room in both.rooms]
    both.host.pin({each.user_id: each.master_key for each in (both.one, both.other)})
    for room in both.rooms:
        await both.one_reads(await both.says(room))
    assert [both.has_read(event_id) for event_id in hidden] == [False, False]


async def test_who_is_paused_reads_that_and_nothing_else(both: Rooms) -> None:
    """The key of a notice that is for whoever has another identity now is used for nothing else."""
    await both.one.reset_identity()
    for room in both.rooms:
        await both.one_reads(await both.told(room, "is paused"))
    hidden = [await both.says(room) for room in both.rooms]
    both.host.pin({each.user_id: each.master_key for each in (both.one, both.other)})
    for room in both.rooms:
        await both.one_reads(await both.says(room))
    assert [both.has_read(event_id) for event_id in hidden] == [False, False]


async def test_whose_keys_change_while_asked_for_reads_on(both: Rooms) -> None:
    """What is said of keys and out of date when it comes is asked again, and shuts nobody out."""
    user, left = both.one.user_id, 4
    announced, told = asyncio.Event(), asyncio.Event()

    def tell(body: dict[str, Any]) -> dict[str, Any]:
        if announced.is_set():
            announced.clear()
            told.set()
            body.setdefault("device_lists", {}).setdefault("changed", []).append(user)
        return body

    async def meanwhile(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal left
        if user in body["device_keys"] and left:
            told.clear()
            announced.set()
            await both.one.set_state(both.rooms[0], "m.room.topic", {"topic": f"{left} left"})
            with suppress(TimeoutError):  # who syncs has asked, and doesn't do so meanwhile
                async with asyncio.timeout(ASKED_SECONDS):
                    await told.wait()
                    left -= 1
                    syncs = sum("/sync" in path for _, path in both.proxy.seen)
                    await both.proxy.reached("/sync", times=syncs + 1)  # this one is taken in
        return {**body, "org.example.late": True}

    both.proxy.rewrite("/sync", tell)
    both.proxy.rewrite("/keys/query", meanwhile)
    announced.set()
    while left:
        for room in both.rooms:
            await both.one_reads(await both.says(room))
