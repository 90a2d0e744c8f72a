# SPDX-License-Identifier: MIT
"""A homeserver that lies to the agent: in each case nothing runs, and room or record says why (I5).

One test an attack, against a whole host: agent, executor, chain, and an operator who is told.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration import forge
from tests.integration.attack import Attack, Body, a_copy, in_the_clear, room_of, timeline
from tibet_nc_agent.crosssign import CrossSigning, Use
from tibet_nc_protocol.records import SecurityEvent

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

type NewOperator = Callable[..., Awaitable[Operator]]


@pytest.fixture
async def room(operator: Operator, bot: Account) -> str:
    """Make an encrypted room with the bot invited."""
    return await operator.create_room(invite=[bot.user_id])


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


# --- what it makes up -----------------------------------------------------------------------------


async def test_plaintext_command_in_an_operators_name(attack: Attack) -> None:
    """A command that the homeserver makes up, in an operator's name, is refused as plain text."""
    made_up = in_the_clear(attack.operator.user_id, {"msgtype": "m.text", "body": "$ id"})
    await attack.inject(made_up)
    await refused(attack, made_up["event_id"], "plaintext", "not encrypted")


async def test_reaction_commands_nothing(attack: Attack) -> None:
    """A reaction, always in the clear, is never a command and moves none."""
    first = attack.ran()
    relation = {"rel_type": "m.annotation", "event_id": first[0], "key": "$ id"}
    reaction = in_the_clear(attack.operator.user_id, {"m.relates_to": relation}, "m.reaction")
    await attack.inject(reaction)
    later = await attack.runs("$ echo later", "later\n")
    assert attack.ran() == [*first, later]


async def test_relation_to_another_message_is_not_followed(attack: Attack) -> None:
    """A relation that the homeserver adds in the clear neither repeats nor answers another one."""
    (first,) = attack.ran()

    def point_elsewhere(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["type"] == "m.room.encrypted" and event["sender"] == attack.operator.user_id:
                event["content"]["m.relates_to"] = {
                    "rel_type": "m.thread",
                    "event_id": first,
                    "m.in_reply_to": {"event_id": first},
                }
        return body

    attack.proxy.rewrite("/sync", point_elsewhere)
    second = await attack.runs("$ echo second", "second\n")
    assert attack.ran() == [first, second]
    assert len(attack.operator.answers_to(first)) == 1


# --- what it changes ------------------------------------------------------------------------------


async def test_relabelled_sender(attack: Attack, new_operator: NewOperator, bot: Account) -> None:
    """One operator's command under another's name is of no device of the other, and is refused."""
    first, second = attack.operator, await new_operator()
    pins = {each.user_id: each.master_key for each in (first, second)}
    attack.host.pin(pins)
    await first.invite(attack.room, second.user_id)
    await second.join(attack.room)
    await second.wait_member(attack.room, bot.user_id)
    own = await second.send_text(attack.room, "$ echo own")
    assert (await second.answer_to(own, 90)).body.startswith("own\n")

    def relabel(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["sender"] == second.user_id:
                event["sender"] = first.user_id
                if "device_id" in event["content"]:
                    event["content"]["device_id"] = first.device_id
        return body

    attack.proxy.rewrite("/sync", relabel)
    sent = await second.send_text(attack.room, "$ id")
    await refused(attack, sent, "device", "no device of")


async def test_edit_disguised_as_a_message(attack: Attack) -> None:
    """An edit stays one when the homeserver takes away that it replaces something."""

    def disguise(body: Body) -> Body:
        for event in timeline(body, attack.room):
            event["content"].pop("m.relates_to", None)
        return body

    attack.proxy.rewrite("/sync", disguise)
    edit = await attack.operator.edit(attack.room, attack.ran()[0], "$ id")
    await refused(attack, edit, "edit", "an edit is never run")


async def test_message_disguised_as_an_edit(attack: Attack) -> None:
    """A command that the homeserver turns into an edit is refused, not run in another's place."""

    def disguise(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["type"] == "m.room.encrypted" and event["sender"] == attack.operator.user_id:
                relation = {"rel_type": "m.replace", "event_id": "$another"}
                event["content"]["m.relates_to"] = relation
        return body

    attack.proxy.rewrite("/sync", disguise)
    sent = await attack.command("$ id")
    record = await attack.refusal(sent)
    assert record.family == "edit"
    assert len(attack.ran()) == 1


async def test_another_rooms_command(attack: Attack) -> None:
    """What an operator said in another room is not said in this one."""
    elsewhere = await attack.operator.create_room()
    said = await attack.operator.send_text(elsewhere, "$ id")
    moved = a_copy(await forge.event(attack.operator, elsewhere, said), room_id=attack.room)
    await attack.inject(moved)
    await refused(attack, moved["event_id"], "undecryptable", "key")


# --- what it repeats ------------------------------------------------------------------------------


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


# --- what it says of keys -------------------------------------------------------------------------


async def test_rogue_device_in_the_operators_account(
    attack: Attack, new_operator: NewOperator, bot: Account
) -> None:
    """A device that the homeserver adds and vouches for itself commands nothing and reads nothing.

    It swaps the self-signing key for one of its own making, which has signed the device.
    """
    rogue = await new_operator(attack.operator, signed=False)
    await rogue.wait_member(attack.room, bot.user_id)
    forged = CrossSigning.open(attack.host.directory / "forged.json", bytes(32))
    user = attack.operator.user_id

    def vouch(body: Body) -> Body:
        if user in body.get("device_keys", {}):
            devices = body["device_keys"][user]
            for device_id, device in devices.items():
                devices[device_id] = forged.sign(Use.SELF_SIGNING, user, device)
            body["self_signing_keys"][user] = forged.key_objects(user)[Use.SELF_SIGNING]
        return body

    attack.proxy.rewrite("/keys/query", vouch)
    sent = await rogue.send_text(attack.room, "$ id")
    record = await attack.refusal(sent)
    assert record.family == "identity"
    assert "no signature by" in record.detail
    assert sent not in attack.ran()
    assert not [seen for seen in rogue.events if seen.decrypted and seen.sender != user]


async def test_operators_identity_replaced(
    attack: Attack, new_operator: NewOperator, bot: Account
) -> None:
    """Another master key than the pinned one, with all that belongs to it, stops the operator.

    What the identity shows as its devices reads that it is paused, and nothing else.
    """
    rogue = await new_operator(attack.operator, signed=False)
    await rogue.wait_member(attack.room, bot.user_id)
    forged = CrossSigning.open(attack.host.directory / "forged.json", bytes(32))
    user = attack.operator.user_id

    def replace(body: Body) -> Body:
        if user in body.get("device_keys", {}):
            keys, devices = forged.key_objects(user), body["device_keys"][user]
            for device_id, device in devices.items():
                devices[device_id] = forged.sign(Use.SELF_SIGNING, user, device)
            body["master_keys"][user] = keys[Use.MASTER]
            body["self_signing_keys"][user] = keys[Use.SELF_SIGNING]
        return body

    attack.proxy.rewrite("/keys/query", replace)
    sent = await rogue.send_text(attack.room, "$ id")
    record = await attack.refusal(sent)
    assert record.family == "identity"
    assert "has changed" in record.detail
    assert sent not in attack.ran()
    read = [seen for seen in rogue.events if seen.decrypted and seen.sender != user]
    assert not [seen for seen in read if "paused" not in seen.body]


async def test_operators_keys_withheld(attack: Attack) -> None:
    """While the homeserver says that an operator has no identity, nothing of theirs runs."""
    user = attack.operator.user_id

    def withhold(body: Body) -> Body:
        for part in ("master_keys", "self_signing_keys", "device_keys"):
            body.get(part, {}).pop(user, None)
        return body

    await asyncio.to_thread(attack.host.agent.stop)
    attack.proxy.rewrite("/keys/query", withhold)
    await asyncio.to_thread(attack.host.start_agent)
    sent = await attack.command("$ id")
    record = await attack.refusal(sent)
    assert record.family == "device"
    assert "no usable master key" in record.detail
    assert sent not in attack.ran()
    attack.proxy.pass_all()
    answer = await attack.answer_to(sent)
    assert answer.result["verdict"] == "refused"


async def test_second_device_of_the_agents_account_reads_nothing(
    attack: Attack, synapse: Synapse, bot: Account
) -> None:
    """A device that somebody adds to the agent's own account gets no keys of what it says."""
    second = await Operator.login(synapse.url, bot.user_id, bot.password, signed=False)
    try:
        await second.wait_member(attack.room, attack.operator.user_id)
        sent = await attack.runs("$ echo secret", "secret\n")
        answer = await attack.answer_to(sent)
        seen = await second.wait(lambda each: each.event_id == answer.event_id)
        assert not seen.decrypted
    finally:
        await second.close()


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


# --- what it hides --------------------------------------------------------------------------------


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
