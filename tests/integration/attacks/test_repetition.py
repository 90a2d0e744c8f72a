# SPDX-License-Identifier: MIT
"""What a homeserver repeats runs once, across restarts and lost memory (I3, I5)."""

import asyncio

from tests.integration import forge
from tests.integration.attacks.attack import Attack, a_copy, needs_root, refused
from tibet_nc_protocol.records import SecurityEvent

pytestmark = needs_root


async def test_replay_before_and_after_a_restart(attack: Attack) -> None:
    """A ciphertext under another event id, as fresh as can be, is refused and recorded (I3)."""
    (first,) = attack.ran()
    original = await forge.event(attack.operator, attack.room, first)
    before = a_copy(original)
    await attack.inject(before)
    await refused(attack, before["event_id"], "replay", first)
    await attack.restart_agent()
    after = a_copy(original)
    await attack.inject(after)
    await refused(attack, after["event_id"], "replay", first)
    record = await attack.security(lambda each: each.event == after["event_id"])
    assert record.detail.startswith("replay")


async def test_replay_of_the_same_event_with_a_fresh_time(attack: Attack) -> None:
    """The same event once more, dated now, before and after a restart, is run once (I3)."""
    (first,) = attack.ran()
    original = await forge.event(attack.operator, attack.room, first)
    await attack.inject(a_copy(original, event_id=first))
    second = await attack.runs("$ echo second", "second\n")
    await attack.restart_agent()
    await attack.inject(a_copy(original, event_id=first))
    third = await attack.runs("$ echo third", "third\n")
    assert attack.ran() == [first, second, third]
    assert len(attack.operator.answers_to(first)) == 1


async def test_replay_after_the_agent_lost_its_memory(attack: Attack) -> None:
    """When the agent's own memory of ciphertexts is gone, the executor still knows them (I3)."""
    (first,) = attack.ran()
    original = await forge.event(attack.operator, attack.room, first)
    await asyncio.to_thread(attack.host.agent.stop)
    for path in (attack.host.directory / "agent" / "matrix").glob("replay.db*"):
        path.unlink()
    await asyncio.to_thread(attack.host.start_agent)
    again = a_copy(original)
    await attack.inject(again)
    answer = await attack.answer_to(again["event_id"])
    assert answer.result["verdict"] == "denied"
    record = await attack.security(lambda each: each.event == again["event_id"])
    assert record.what is SecurityEvent.REPLAY
    assert attack.ran() == [first]
