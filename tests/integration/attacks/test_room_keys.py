# SPDX-License-Identifier: MIT
"""Room keys that a homeserver holds back: a late one runs nothing (I5)."""

import asyncio
from collections import defaultdict

from tests.harness import Operator
from tests.integration.attacks.attack import Attack, Body, needs_root, timeline

pytestmark = needs_root


class HeldKeys:
    """Takes the messages to the agent's device out of its syncs, until they are let go."""

    def __init__(self, attack: Attack) -> None:
        self._held: list[Body] = []
        self._room = attack.room
        self._passed: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.holding = True
        attack.proxy.rewrite("/sync", self._hold)

    async def passed(self, event_id: str) -> None:
        """Wait until the agent was given an event without its key."""
        await self._passed[event_id].wait()

    def _hold(self, body: Body) -> Body:
        if self.holding:
            for event in timeline(body, self._room):
                self._passed[event["event_id"]].set()
        events = body.setdefault("to_device", {}).setdefault("events", [])
        if self.holding:
            self._held += events
            events.clear()
        else:
            events[:0], self._held = self._held, []
        return body


async def new_room_key(operator: Operator, room: str) -> None:
    """Have the operator use a new room key for the next message."""
    operator.client.invalidate_outbound_session(room)


async def test_room_key_that_comes_too_late(attack: Attack) -> None:
    """A command whose key is held back is given up, and told so; the key then runs nothing."""
    keys = HeldKeys(attack)
    await new_room_key(attack.operator, attack.room)
    sent = await attack.command("$ id")
    record = await attack.refusal(sent)
    assert record.family == "undecryptable"
    answer = await attack.answer_to(sent)
    assert "again" in answer.body
    keys.holding = False
    await attack.wake()
    later = await attack.runs("$ echo later", "later\n")
    assert attack.ran()[1:] == [later]
    assert len(attack.operator.answers_to(sent)) == 1


async def test_room_key_that_comes_in_time(attack: Attack) -> None:
    """A key that is held back for a moment costs nothing: the command runs, once."""
    keys = HeldKeys(attack)
    await new_room_key(attack.operator, attack.room)
    sent = await attack.command("$ echo late")
    await keys.passed(sent)
    keys.holding = False
    await attack.wake()
    answer = await attack.answer_to(sent)
    assert answer.body.startswith("late\n")
    assert attack.ran()[1:] == [sent]
    assert len(attack.operator.answers_to(sent)) == 1
