# SPDX-License-Identifier: MIT
"""No event, message or key of anyone stops the agent, and nothing is sent to whom it may not be."""

import base64
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nio.crypto import OlmDevice

from tests.harness import Account, Operator, Synapse
from tests.harness.proxy import Proxy
from tests.integration import forge
from tests.integration.agent import Agent, invited_agent
from tests.integration.devices import claim_keys
from tibet_nc_agent.canonical import Json, JsonObject, as_list, as_object
from tibet_nc_agent.event import (
    Invite,
    KeysChanged,
    MemberAdded,
    MemberRemoved,
    RoomUnencrypted,
    TextMessage,
    Unreadable,
)
from tibet_nc_agent.matrix_errors import Strangers, Unencrypted

type NewOperator = Callable[..., Awaitable[Operator]]

DEEP = "[" * 20_000 + "]" * 20_000


async def agent_device(operator: Operator, agent: Agent) -> OlmDevice:
    """Return the agent's device as a stranger's client knows it."""
    return await forge.device_of(operator, agent.account.user_id, agent.matrix.device_id)


async def still_answers(operator: Operator, agent: Agent) -> None:
    """See that a command still reaches the agent, and an answer the operator."""
    command = await operator.send_text(agent.room_id, "$ uptime")
    assert (await agent.text(command)).body == "$ uptime"
    txn_id = secrets.token_hex(4)
    sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "up"}, txn_id)
    assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted


async def test_malformed_messages_to_the_device(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """No message to the agent's device, by any user of the homeserver, stops it."""
    mallory = await new_operator()
    agent.pin(operator, mallory)  # a stranger's would not even be decrypted
    device = await agent_device(mallory, agent)
    key = mallory.client.olm.account.identity_keys["curve25519"]
    random = base64.b64encode(secrets.token_bytes(200)).decode().rstrip("=")
    session = await forge.olm_session(mallory, device)
    kind, data = session.encrypt("{}").to_parts()
    body = base64.b64encode(data).decode().rstrip("=")
    odd_types: list[object] = [7, "0", None, []]
    contents: list[Any] = [
        *(forge.olm_content(key, device, each, "!!!") for each in (0, 1)),
        *(forge.olm_content(key, device, each, random) for each in (0, 1)),
        *(forge.olm_content(key, device, odd, random) for odd in odd_types),
        forge.olm_content(key, device, 0, 5),
        forge.olm_content(secrets.token_urlsafe(32), device, kind, body),
        forge.olm_content("", device, kind, body),
        forge.olm_content("é" * 43, device, kind, body),
        {**forge.olm_content(key, device, 0, ""), "ciphertext": []},
        {**forge.olm_content(key, device, 0, ""), "ciphertext": {device.curve25519: 1}},
        {"algorithm": "m.olm.v1.curve25519-aes-sha2"},
        {"algorithm": 5},
        {},
    ]
    room_key = {"room_id": agent.room_id, "algorithm": "m.megolm.v1.aes-sha2"}
    payload = forge.olm_payload(mallory, device, "m.room_key", room_key)
    plaintexts = [
        "no JSON",
        "[]",
        DEEP,
        json.dumps({**payload, "recipient_keys": {}}),
        json.dumps({**payload, "keys": {}}),
        json.dumps({**payload, "content": {**room_key, "session_id": "x", "session_key": "!"}}),
        json.dumps({**payload, "content": {"room_id": agent.room_id}}),
        json.dumps({**payload, "content": []}),
        json.dumps({**payload, "type": "m.forwarded_room_key", "content": {}}),
        json.dumps({**payload, "type": "m.dummy", "content": {}}),
        json.dumps({**payload, "type": 5}),
    ]
    contents += [await forge.olm_encrypted(mallory, device, each) for each in plaintexts]
    for content in contents:
        await forge.to_device(mallory, device, content)
    for clear in ("m.room_key", "m.room_key_request", "m.key.verification.start", "x.y", "m.dummy"):
        await forge.to_device(mallory, device, {}, clear)
        await forge.to_device(mallory, device, {"action": 1, "transaction_id": "x"}, clear)
    await still_answers(operator, agent)


async def test_what_is_due_to_a_device_is_sent_once(operator: Operator, agent: Agent) -> None:
    """A device whose messages can't be opened is told to begin anew once, not in each batch."""
    device = await agent_device(operator, agent)
    key = operator.client.olm.account.identity_keys["curve25519"]
    # Of an Olm session that the agent never had: version, ratchet key, index, text and MAC.
    data = b"\x03\x0a\x20" + secrets.token_bytes(32) + b"\x10\x00\x22\x10" + secrets.token_bytes(24)
    body = base64.b64encode(data).decode().rstrip("=")
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        await proxy.reached("/sync", times=2)  # whose devices these are is known by then
        await forge.to_device(operator, device, forge.olm_content(key, device, 1, body))
        await proxy.reached("/sendToDevice/")
        for text in ("a", "b", "c"):
            content = {"msgtype": "m.text", "body": text}
            await agent.text(await operator.send_unencrypted(agent.room_id, content))
        await agent.stop()
    told = [path.split("/")[5] for _, path in proxy.seen if "/sendToDevice/" in path]
    assert told == ["m.room.encrypted"]


async def test_malformed_messages_in_the_room(operator: Operator, agent: Agent) -> None:
    """A message that decrypts to what no client sends is unreadable, and the next one arrives."""
    await agent.text(await operator.send_text(agent.room_id, "$ first"))
    text = {"type": "m.room.message", "room_id": agent.room_id}
    good = {"msgtype": "m.text", "body": "$ reboot"}
    plaintexts = [
        b"\xff\xfe",
        b"[1]",
        DEEP.encode(),
        b'{"a": ' + b"1" * 5_000 + b"}",
        json.dumps({**text, "room_id": "!other", "content": good}).encode(),
        json.dumps({"type": "m.room.message", "content": good}).encode(),
        json.dumps({**text, "type": "m.room.member", "state_key": "@x:y", "content": {}}).encode(),
        json.dumps({**text, "content": {"msgtype": "m.text", "body": 5}}).encode(),
        json.dumps({**text, "content": {"msgtype": "m.text"}}).encode(),
    ]
    contents = [forge.megolm_content(operator, agent.room_id, each) for each in plaintexts]
    contents += [{**contents[0], "ciphertext": value} for value in ("", "!!!", 5)]
    contents += [{**contents[0], "ciphertext": contents[0]["ciphertext"][:-8] + "AAAAAAAA"}]
    sent = [
        await operator.send_unencrypted(agent.room_id, content, event_type="m.room.encrypted")
        for content in contents
    ]
    await still_answers(operator, agent)
    unreadable = [event.event_id for event in agent.events if isinstance(event, Unreadable)]
    assert unreadable == sent


async def test_messages_that_are_none(operator: Operator, agent: Agent) -> None:
    """What is no text message is passed over, encrypted or not, whatever its shape."""
    first = await operator.send_text(agent.room_id, "$ first")
    await agent.text(first)
    before = len(agent.events)
    shapes: list[dict[str, Any]] = [{}, {"msgtype": 5}, {"msgtype": "m.image", "body": "x"}]
    for content in shapes:
        await operator.send(agent.room_id, content)
    await operator.send_unencrypted(agent.room_id, {"msgtype": "m.image", "body": "x"})
    await operator.send(agent.room_id, {"x": 1}, event_type="x.y")
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "y"}}
    await operator.send_unencrypted(agent.room_id, reaction, event_type="m.reaction")
    await still_answers(operator, agent)
    assert [type(event) for event in agent.events[before:]] == [TextMessage]


async def test_event_without_sender_key_is_read(operator: Operator, agent: Agent) -> None:
    """The deprecated key and device in an event are neither needed nor believed."""
    await agent.text(await operator.send_text(agent.room_id, "$ first"))
    payload = {
        "type": "m.room.message",
        "room_id": agent.room_id,
        "content": {"msgtype": "m.text", "body": "$ uptime"},
    }
    content = forge.megolm_content(operator, agent.room_id, json.dumps(payload).encode())
    del content["device_id"]
    content["sender_key"] = "somebody else's"
    command = await operator.send_unencrypted(agent.room_id, content, event_type="m.room.encrypted")
    message = await agent.text(command)
    assert (await agent.matrix.device_of(message)).device_id == operator.device_id


async def test_unlimited_one_time_keys(
    synapse: Synapse,
    operator: Operator,
    agent: Agent,
    new_operator: NewOperator,
    new_account: Callable[[str], Account],
) -> None:
    """When a stranger has taken all one-time keys, the agent is still reached, and makes more."""
    user_id, device_id = agent.account.user_id, agent.matrix.device_id
    stranger = new_account("mallory")
    await agent.stop()

    assert claim_keys(synapse, stranger, user_id, device_id) > 0
    second = await new_operator(operator)
    await second.wait_member(agent.room_id, user_id)
    command = await second.send_text(agent.room_id, "$ uptime")
    await agent.listen()
    assert (await agent.text(command)).body == "$ uptime"
    await still_answers(second, agent)  # by now the next batch has begun, and keys were uploaded
    assert claim_keys(synapse, stranger, user_id, device_id) > 0


async def test_malformed_device_keys(operator: Operator, agent: Agent) -> None:
    """Malformed keys of a device, and malformed answers about keys, stop nobody else's."""

    def poison(body: dict[str, Any]) -> dict[str, Any]:
        devices = body.get("device_keys", {}).get(operator.user_id, {})
        sound: dict[str, Any] = next(iter(devices.values()), dict[str, Any]())
        bad: list[Any] = [
            None,
            5,
            {},
            {"keys": []},
            {**sound, "signatures": 5},
            {**sound, "signatures": {operator.user_id: {"ed25519:A": "!"}}},
            {**sound, "device_id": "other"},
            {**sound, "keys": {"ed25519:BAD4": "x", "curve25519:BAD4": 5}},
        ]
        poisoned = {**devices, **{f"BAD{number}": value for number, value in enumerate(bad)}}
        return {**body, "device_keys": {**body.get("device_keys", {}), operator.user_id: poisoned}}

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.rewrite("/keys/query", poison)
        proxy.rewrite("/keys/claim", lambda body: {**body, "failures": 5})
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        # It speaks first, for which it has to claim a key of the operator's device.
        sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "x"}, "t1")
        assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted
        await still_answers(operator, agent)
        await agent.stop()


async def test_malformed_sync(operator: Operator, agent: Agent) -> None:
    """A sync answer whose parts have the wrong shape gives what is sound in it."""

    def poison(body: dict[str, Any]) -> dict[str, Any]:
        for room in body.get("rooms", {}).get("join", {}).values():
            events = room.get("timeline", {}).setdefault("events", [])
            events[:0] = [
                None,
                5,
                {},
                {"type": "m.room.message"},
                {"type": "m.room.encrypted", "content": 5, "event_id": "$x", "sender": "@x:y"},
                {"type": "m.room.message", "content": {"msgtype": "m.text", "body": "$ x"}},
                {"type": "m.room.member", "state_key": "@x:y", "content": []},
                {"type": "m.room.member", "state_key": 5, "content": {"membership": "join"}},
            ]
            room["state"] = 5
        rooms = body.setdefault("rooms", {})
        rooms.setdefault("join", {}).update({"!a": None, "!b": []})
        rooms["invite"], rooms["leave"] = {"!c": 5, "!d": {"invite_state": []}}, []
        body["to_device"] = {"events": [None, {}, {"type": 5}, *_events(body.get("to_device"))]}
        body["device_one_time_keys_count"] = {"signed_curve25519": "many"}
        body["device_lists"] = {"changed": [None, 5, operator.user_id]}
        return body

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        proxy.rewrite("/sync", poison)
        await still_answers(operator, agent)
        await agent.stop()
    assert {type(event) for event in agent.events} == {TextMessage, KeysChanged}


def _events(value: Json) -> list[Json]:
    return as_list(as_object(value).get("events"))


async def test_nothing_is_sent_to_strangers(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """While somebody else is in the room, or only invited, nothing is sent there."""
    mallory = await new_operator()
    content = {"msgtype": "m.notice", "body": "secret"}
    await agent.matrix.send(agent.room_id, dict(content), "t0")
    await operator.invite(agent.room_id, mallory.user_id)
    assert (await agent.received(MemberAdded)).invited
    with pytest.raises(Strangers) as caught:
        await agent.matrix.send(agent.room_id, dict(content), "t1")
    assert caught.value.users == (mallory.user_id,)
    await operator.kick(agent.room_id, mallory.user_id)
    await agent.received(MemberRemoved)
    await still_answers(operator, agent)


async def _second(operator: Operator, agent: Agent, new_operator: NewOperator) -> Operator:
    """Return another pinned operator in the room."""
    second = await new_operator()
    agent.pin(operator, second)
    await operator.invite(agent.room_id, second.user_id)
    await second.join(agent.room_id)
    await second.wait_member(agent.room_id, agent.account.user_id)
    return second


async def test_who_has_left_has_no_key_of_what_is_said_later(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """An operator who is removed from the room can't read on, whoever gives him the ciphertext."""
    second = await _second(operator, agent, new_operator)
    await agent.until(lambda: second.user_id in agent.matrix.members(agent.room_id))
    content = {"msgtype": "m.notice", "body": "said"}
    sent = [await agent.matrix.send(agent.room_id, dict(content), str(number)) for number in (1, 2)]
    assert (await second.wait(lambda seen: seen.event_id == sent[-1])).decrypted
    await operator.kick(agent.room_id, second.user_id)
    await agent.received(MemberRemoved)
    sent.append(await agent.matrix.send(agent.room_id, dict(content), "3"))
    events = [await forge.event(operator, agent.room_id, event_id) for event_id in sent]
    first, again, later = (event["content"]["session_id"] for event in events)
    assert first == again != later


async def test_a_device_that_was_left_out_reads_again(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """A device that an answer of the homeserver lacks reads nothing, and all when it is back."""
    phone = await new_operator(operator)
    agent.pin(operator)

    def leave_out(body: dict[str, Any]) -> dict[str, Any]:
        del body["device_keys"][operator.user_id][phone.device_id]
        return body

    async def read() -> bool:
        """Whether the phone reads what is said after the homeserver was asked for devices."""
        await agent.matrix.keys_of(operator.user_id)
        said = await agent.matrix.send(
            agent.room_id, {"msgtype": "m.notice", "body": "said"}, secrets.token_hex(4)
        )
        return (await phone.wait(lambda seen: seen.event_id == said)).decrypted

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: operator.user_id in agent.matrix.members(agent.room_id))
        could = [await read()]
        proxy.rewrite("/keys/query", leave_out)
        could.append(await read())
        proxy.pass_all()
        could.append(await read())
        await agent.stop()
    assert could == [True, False, True]


async def test_who_comes_while_a_key_is_on_its_way_stops_the_message(
    operator: Operator, agent: Agent
) -> None:
    """Who is in the room is looked at once more when all have the key, which may take long."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: operator.user_id in agent.matrix.members(agent.room_id))
        joined: JsonObject = {
            "type": "m.room.member",
            "state_key": "@mallory:example.org",
            "content": {"membership": "join"},
        }

        def come(body: dict[str, Any]) -> dict[str, Any]:
            agent.matrix._rooms[agent.room_id].apply([joined])
            return {**body, "by then": "she is in the room"}

        proxy.rewrite("/sendToDevice/", come)
        with pytest.raises(Strangers):
            await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "x"}, "t1")
        assert not [path for _, path in proxy.seen if "/send/m.room.encrypted/" in path]
        await agent.stop()


@pytest.mark.parametrize("path", ["/keys/claim", "/sendToDevice/m.room.encrypted/"])
@pytest.mark.parametrize("how", ["removed", "unpinned"])
async def test_who_may_not_read_any_more_while_a_key_is_made_ready_has_none_of_it(
    operator: Operator, agent: Agent, new_operator: NewOperator, path: str, how: str
) -> None:
    """Who may read is judged when all answers are there, which may take the homeserver long."""
    second = await _second(operator, agent, new_operator)
    await agent.stop()
    agent.allowed |= {second.user_id}  # may be there without a pin, too
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: second.user_id in agent.matrix.members(agent.room_id))
        asked = False

        async def meanwhile(body: dict[str, Any]) -> dict[str, Any]:
            nonlocal asked
            if not asked and how == "unpinned":
                agent.pin(operator)
            elif not asked:
                await operator.kick(agent.room_id, second.user_id)
                await agent.received(MemberRemoved)
            asked = True
            return {**body, "by then": how}

        proxy.rewrite(path, meanwhile)
        sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "x"}, "t1")
        assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted
        await agent.stop()
    event = await forge.event(operator, agent.room_id, sent)
    elsewhere = await operator.create_room(invite=[second.user_id])
    await second.join(elsewhere)
    later = await operator.send_text(elsewhere, "later")
    # What was sent to the device before comes before.
    await second.wait(lambda seen: seen.event_id == later)
    keys = second.client.olm.inbound_group_store[agent.room_id]
    assert not [each for each in keys.values() if event["content"]["session_id"] in each]


async def test_stranger_is_told_at_every_start(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """A stranger that came while the agent was away is told when it is back."""
    await agent.stop()
    mallory = await new_operator()
    await operator.invite(agent.room_id, mallory.user_id)
    await mallory.join(agent.room_id)
    for _ in range(2):
        agent.events.clear()
        await agent.listen()
        assert (await agent.received(MemberAdded)).user_id == mallory.user_id
        await agent.stop()


async def test_nothing_is_sent_in_plain_text(
    synapse: Synapse, bot: Account, operator: Operator, tmp_path: Path
) -> None:
    """A room without encryption is told, and nothing is ever sent there."""
    agent = await invited_agent(synapse.url, bot, operator, tmp_path / "store", encrypted=False)
    assert (await agent.received(RoomUnencrypted)).room_id == agent.room_id
    message = await agent.text(await operator.send_text(agent.room_id, "$ uptime"))
    assert not message.encrypted
    with pytest.raises(Unencrypted):
        await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "x"}, "t1")
    await agent.stop()


async def test_hidden_encryption_changes_nothing(operator: Operator, agent: Agent) -> None:
    """A room that was seen to be encrypted stays so when the homeserver hides its state (I5)."""

    def hide(body: dict[str, Any]) -> dict[str, Any]:
        for room in body.get("rooms", {}).get("join", {}).values():
            for part in ("state", "timeline"):
                room[part]["events"] = [
                    event
                    for event in room.get(part, {}).get("events", [])
                    if event["type"] != "m.room.encryption"
                ]
        return body

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.rewrite("/sync", hide)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        await still_answers(operator, agent)
        await agent.stop()


async def test_unsigned_device_can_not_read(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """A device that its owner hasn't signed gets no key; once signed it reads on (I5)."""
    second = await new_operator(operator, signed=False)
    await second.wait_member(agent.room_id, agent.account.user_id)
    sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "x"}, "t1")
    assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted
    assert not (await second.wait(lambda seen: seen.event_id == sent)).decrypted
    await second.sign_device()
    await agent.matrix.keys_of(second.user_id)
    sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "y"}, "t2")
    assert (await second.wait(lambda seen: seen.event_id == sent and seen.decrypted)).body == "y"


async def test_invitation_is_told(operator: Operator, agent: Agent) -> None:
    """An invitation is told with who sent it, and is not accepted by itself."""
    room_id = await operator.create_room(invite=[agent.account.user_id])
    invite = await agent.received(Invite)
    assert (invite.room_id, invite.sender) == (room_id, operator.user_id)
    await still_answers(operator, agent)
