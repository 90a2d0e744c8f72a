# SPDX-License-Identifier: MIT
"""What a homeserver hides or leaves out: nothing is lost, said to strangers, or run (I4, I5)."""

import asyncio
from collections.abc import Callable

from tests.harness import Account
from tests.integration import forge
from tests.integration.attacks.attack import (
    Attack,
    Body,
    NewOperator,
    a_copy,
    in_the_clear,
    needs_root,
    room_of,
    timeline,
)
from tibet_nc_protocol.records import SecurityEvent

pytestmark = needs_root


async def test_encryption_hidden_from_the_start(waiting: Attack, bot: Account) -> None:
    """In a room whose encryption the homeserver hides nothing runs, and nothing is said."""

    def hide(body: Body) -> Body:
        for part in ("state", "timeline"):
            events = room_of(body, waiting.room)[part]["events"]
            events[:] = [event for event in events if event["type"] != "m.room.encryption"]
        return body

    waiting.proxy.rewrite("/sync", hide)
    await asyncio.to_thread(waiting.host.start)
    await waiting.operator.wait_member(waiting.room, bot.user_id)
    sent = await waiting.command("$ id")
    await waiting.refusal(sent)
    await asyncio.to_thread(waiting.host.wait_log, f"an answer in {waiting.room} waits")
    assert waiting.ran() == []
    record = await waiting.security(lambda each: each.what is SecurityEvent.AGENT)
    assert "not encrypted" in record.detail
    assert [
        seen for seen in waiting.operator.events if seen.sender == bot.user_id and seen.body
    ] == []


async def test_member_that_is_hidden_reads_nothing(
    attack: Attack, new_operator: NewOperator
) -> None:
    """Somebody in the room of whom the homeserver doesn't tell the agent gets no key of it."""
    mallory = await new_operator()

    def hide(body: Body) -> Body:
        for part in ("state", "timeline"):
            events = room_of(body, attack.room)[part]["events"]
            events[:] = [event for event in events if event.get("state_key") != mallory.user_id]
        return body

    attack.proxy.rewrite("/sync", hide)
    await attack.operator.invite(attack.room, mallory.user_id)
    await mallory.join(attack.room)
    sent = await attack.runs("$ echo secret", "secret\n")
    answer = await attack.answer_to(sent)
    assert (await mallory.wait(lambda seen: seen.event_id == sent)).decrypted  # the operator's
    assert not (await mallory.wait(lambda seen: seen.event_id == answer.event_id)).decrypted


async def test_operator_hidden_from_the_members_is_answered_later(attack: Attack) -> None:
    """While the homeserver says that the operators have left, an answer waits; it isn't lost."""
    user = attack.operator.user_id
    left = {
        **in_the_clear(user, {"membership": "leave"}, "m.room.member"),
        "state_key": user,
    }
    await attack.inject(left)
    sent = await attack.command("$ echo waits")
    await asyncio.to_thread(attack.host.wait_log, "an answer in")
    back = {**left, "event_id": "$back", "content": {"membership": "join"}}
    await attack.inject(back)
    answer = await attack.answer_to(sent)
    assert (answer.decrypted, answer.body.startswith("waits\n")) == (True, True)


def with_gap(attack: Attack) -> Callable[[Body], Body]:
    """Return a change that leaves all messages of the room out of a sync, to be asked for."""

    def leave_out(body: Body) -> Body:
        if attack.room in body.get("rooms", {}).get("join", {}):
            room = room_of(body, attack.room)
            room["timeline"] |= {"events": [], "limited": True, "prev_batch": body["next_batch"]}
        return body

    return leave_out


async def test_gap_loses_nothing(attack: Attack) -> None:
    """Commands that the homeserver leaves out of a sync are fetched, and run once each (I4)."""
    (first,) = attack.ran()
    attack.proxy.rewrite("/sync", with_gap(attack))
    sent = [await attack.command(f"$ echo {number}") for number in range(3)]
    for number, event_id in enumerate(sent):
        answer = await attack.answer_to(event_id)
        assert answer.body.startswith(f"{number}\n")
    assert attack.ran() == [first, *sent]


async def test_gap_that_stays_is_told(attack: Attack) -> None:
    """What the homeserver won't give out is told in the room and recorded, and never run."""
    (first,) = attack.ran()
    leave_out = with_gap(attack)

    def lose(body: Body) -> Body:
        sent = (attack.operator.user_id, "m.room.encrypted")  # and not what comes before it
        events = timeline(body, attack.room)
        found = any((event["sender"], event["type"]) == sent for event in events)
        return leave_out(body) if found else body

    attack.proxy.rewrite("/sync", lose)
    attack.proxy.refuse("/messages", status=403)
    lost = await attack.command("$ echo lost")
    record = await attack.security(lambda each: each.detail.startswith("gap: "))
    assert (record.what, record.room) == (SecurityEvent.AGENT, attack.room)
    notice = await attack.operator.wait(lambda seen: "left messages out" in seen.body)
    assert "send it again" in notice.body
    sent = await attack.runs("$ echo again", "again\n")
    assert attack.ran() == [first, sent]
    assert attack.operator.answers_to(lost) == []


async def test_rewritten_history(attack: Attack, new_operator: NewOperator, bot: Account) -> None:
    """What fills a gap, made up, relabelled or repeated, is refused as everything else would be."""
    (first,) = attack.ran()
    second = await new_operator()
    attack.host.pin({each.user_id: each.master_key for each in (attack.operator, second)})
    await attack.operator.invite(attack.room, second.user_id)
    await second.join(attack.room)
    await second.wait_member(attack.room, bot.user_id)
    made_up = in_the_clear(attack.operator.user_id, {"msgtype": "m.text", "body": "$ id"})
    repeated = a_copy(await forge.event(attack.operator, attack.room, first))

    def rewrite(body: Body) -> Body:
        for event in body["chunk"]:
            if event["sender"] == second.user_id:
                event["sender"] = attack.operator.user_id
        body["chunk"] += [repeated, made_up]  # the oldest comes last
        return body

    attack.proxy.rewrite("/sync", with_gap(attack))
    attack.proxy.rewrite("/messages", rewrite)
    relabelled = await second.send_text(attack.room, "$ id")
    families = {
        made_up["event_id"]: "plaintext",
        repeated["event_id"]: "replay",
        relabelled: "device",
    }
    for event_id, family in families.items():
        assert (await attack.refusal(event_id)).family == family
    assert attack.ran() == [first]
