# SPDX-License-Identifier: MIT
"""A homeserver, an operator and a host in an encrypted room, all running."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.accounts import new_uids
from tests.bench.floor_bot import PONG
from tests.bench.stats import milliseconds
from tests.harness.host import Host
from tests.harness.operator import Operator
from tests.harness.synapse import Account, Synapse

ANSWER_SECONDS: Final = 120.0
TIMEBOX_SECONDS: Final = 300
"""A slow answer on a busy machine is to be measured, not refused as stale."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What is running.

    ``operators``, those who are there, are all in ``rooms[0]``, the first one also in the others.
    """

    synapse: Synapse
    operators: list[Operator]
    rooms: list[str]
    host: Host
    bot: Account

    @property
    def operator(self) -> Operator:
        """The first operator."""
        return self.operators[0]

    @property
    def room(self) -> str:
        """The room that all operators are in."""
        return self.rooms[0]


@asynccontextmanager
async def world(
    directory: Path, *, operators: int = 1, rooms: int = 1, away: bool = False
) -> AsyncGenerator[World]:
    """Start everything, and end it with the block; the first command has been answered.

    With ``away`` all operators but the first have gone: their devices stay, and are sent keys.
    """
    with Synapse(directory / "synapse") as synapse:
        bot = synapse.register("bot")
        people = [synapse.register(f"operator{number}") for number in range(operators)]
        for person in people:  # or the homeserver lets them into a room one a second
            synapse.override_ratelimit(person.user_id, messages_per_second=0, burst_count=0)
        async with AsyncExitStack() as stack:
            first = await _login(synapse, people[0])
            stack.push_async_exit(first)
            others = [person.user_id for person in people[1:]]
            places = [await first.create_room(invite=[bot.user_id, *others])]
            here, pins = [first], {first.user_id: first.master_key}
            for person in people[1:]:
                client = await _login(synapse, person)
                pins[client.user_id] = client.master_key
                await client.join(places[0])
                if away:
                    await client.close()
                else:
                    stack.push_async_exit(client)
                    here.append(client)
            places += [await first.create_room(invite=[bot.user_id]) for _ in range(1, rooms)]
            with Host(
                directory / "host",
                homeserver=synapse.url,
                bot=bot,
                operators=pins,
                rooms=places,
                uids=new_uids(),
                timebox_s=TIMEBOX_SECONDS,
            ) as host:
                host.start()
                for client in here:
                    await client.wait_member(places[0], bot.user_id, ANSWER_SECONDS)
                for place in places[1:]:
                    await first.wait_member(place, bot.user_id, ANSWER_SECONDS)
                for client in here:
                    await command(client, places[0], "true")
                yield World(synapse=synapse, operators=here, rooms=places, host=host, bot=bot)


async def _login(synapse: Synapse, person: Account) -> Operator:
    return await Operator.login(synapse.url, person.user_id, person.password)


class UnexpectedError(Exception):
    """A command was not done as it should have been, so its time says nothing."""


async def command(operator: Operator, room: str, text: str) -> float:
    """Type a command and wait for its final answer; return how many milliseconds that took.

    Raises UnexpectedError unless it ran and ended with status 0, or came from the Matrix floor.
    """
    begin = time.perf_counter()
    event = await operator.send_text(room, f"$ {text}")
    answer = await operator.answer_to(event, ANSWER_SECONDS)
    took = milliseconds(begin)
    if answer.body != PONG and (answer.result["verdict"], answer.result["exit"]) != ("ran", 0):
        raise UnexpectedError(f"`{text}` was answered: {answer.body}")
    return took
