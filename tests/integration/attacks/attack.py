# SPDX-License-Identifier: MIT
"""A whole host whose homeserver lies to its agent, and to nobody else.

One test an attack: in each case nothing runs, and the room or the record says why.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from tests.harness import Operator
from tests.harness.host import Host
from tests.harness.operator import Seen
from tests.harness.proxy import Proxy
from tibet_nc_protocol.records import Intent, Record, Refusal, Security

type Body = dict[str, Any]
type Event = dict[str, Any]
type NewOperator = Callable[..., Awaitable[Operator]]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

WAIT_SECONDS: Final = 90.0
"""How long anything may take on a busy machine."""


def room_of(body: Body, room_id: str) -> Body:
    """Return what a sync answer says of a room, adding the room if it isn't there."""
    joined: Body = body.setdefault("rooms", {}).setdefault("join", {})
    room: Body = joined.setdefault(room_id, {})
    room.setdefault("timeline", {}).setdefault("events", [])
    room.setdefault("state", {}).setdefault("events", [])
    return room


def timeline(body: Body, room_id: str) -> list[Event]:
    """Return the events of a room in a sync answer, to be changed in place."""
    events: list[Event] = room_of(body, room_id)["timeline"]["events"]
    return events


class Attack:
    """``host`` hears its homeserver through ``proxy`` only; ``operator`` and everybody else don't.

    The room is dedicated to the host.
    """

    def __init__(self, host: Host, proxy: Proxy, operator: Operator, room: str) -> None:
        self.host: Final = host
        self.proxy: Final = proxy
        self.operator: Final = operator
        self.room: Final = room

    async def inject(self, *events: Event, room: str | None = None) -> None:
        """Put events into the agent's next sync answer, and see to it that there is one."""
        left = list(events)

        def put(body: Body) -> Body:
            while left:
                timeline(body, room or self.room).append(left.pop(0))
            return body

        self.proxy.rewrite("/sync", put)
        await self.wake()

    async def wake(self) -> None:
        """Have the homeserver answer the agent's sync, by what is no message."""
        await self.operator.set_state(self.room, "m.room.topic", {"topic": secrets.token_hex(4)})

    async def command(self, body: str) -> str:
        """Send a command and return its event id."""
        return await self.operator.send_text(self.room, body)

    async def runs(self, body: str, output: str) -> str:
        """Run a command that must work, and return its event id."""
        event_id = await self.command(body)
        answer = await self.answer_to(event_id)
        assert answer.body.startswith(output), answer.body
        return event_id

    async def answer_to(self, event_id: str) -> Seen:
        """Wait for the final answer to an event, of the operator's or made up."""
        try:
            return await self.operator.answer_to(event_id, WAIT_SECONDS)
        except TimeoutError:
            raise AssertionError(f"no answer: {self.host.agent.tail()}") from None

    def records(self) -> list[Record]:
        """Return the chain's records, which must verify."""
        return self.host.records()

    def ran(self) -> list[str]:
        """Return the events whose commands were run, in order."""
        return [record.event for record in self.records() if isinstance(record, Intent)]

    async def refusal(self, event_id: str) -> Refusal:
        """Wait for the record that an event was refused."""

        def is_it(record: Record) -> bool:
            return isinstance(record, Refusal) and record.event == event_id

        record = await self._recorded(is_it)
        assert isinstance(record, Refusal)
        return record

    async def security(self, wanted: Callable[[Security], bool]) -> Security:
        """Wait for a security record."""
        record = await self._recorded(lambda each: isinstance(each, Security) and wanted(each))
        assert isinstance(record, Security)
        return record

    async def _recorded(self, wanted: Callable[[Record], bool]) -> Record:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            found = [record for record in self.records() if wanted(record)]
            if found:
                return found[0]
            assert time.monotonic() < end, self.host.agent.tail()
            await asyncio.sleep(0.05)

    async def restart_agent(self) -> None:
        """Stop the agent and start it again."""
        await asyncio.to_thread(self.host.agent.stop)
        await asyncio.to_thread(self.host.start_agent)


async def refused(attack: Attack, event_id: str, family: str, told: str) -> None:
    """See that an event was refused, recorded and answered, and that honest commands go on."""
    before = attack.ran()
    assert event_id not in before
    record = await attack.refusal(event_id)
    assert record.family == family
    answer = await attack.answer_to(event_id)
    assert (answer.decrypted, answer.result["verdict"]) == (True, "refused")
    assert told in answer.body
    later = await attack.runs("$ echo later", "later\n")
    assert attack.ran() == [*before, later]


def a_copy(event: Event, **changes: object) -> Event:
    """Return an event under a new id, as new as can be, with changes."""
    now = int(time.time() * 1000)
    fresh = {"event_id": new_id(), "origin_server_ts": now, "unsigned": {"age": 1}}
    return {**event, **fresh, **changes}


def new_id() -> str:
    """Return an event id that the homeserver made up."""
    return "$" + secrets.token_urlsafe(32)


def in_the_clear(sender: str, content: dict[str, Any], kind: str = "m.room.message") -> Event:
    """Return an event that a homeserver made up."""
    return a_copy({"type": kind, "sender": sender, "content": content})
