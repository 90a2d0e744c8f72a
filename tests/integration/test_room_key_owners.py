# SPDX-License-Identifier: MIT
"""Whose room keys the agent takes in, and whose they are from then on (I5)."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import vodozemac
from nio.crypto.sessions import IdentityKeys

from tests.agent.test_identity import device_object
from tests.harness import Operator
from tests.harness.proxy import Proxy
from tests.integration import forge
from tests.integration.agent import Agent
from tests.integration.test_matrix_hostile import agent_device, still_answers
from tibet_nc_agent.crosssign import Use
from tibet_nc_agent.event import TextMessage, Undecryptable
from tibet_nc_agent.matrix_errors import IdentityError

type NewOperator = Callable[..., Awaitable[Operator]]


def kept_sessions(agent: Agent) -> set[tuple[str, str]]:
    """Return the room and the owner's key of each room key that the agent has on its disk."""
    with closing(sqlite3.connect(agent.settings.store / "olm.db")) as database:
        return set(database.execute("select room_id, sender_key from megolminboundsessions"))


async def second_in_the_room(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> Operator:
    """Stop the agent; have another operator pinned beside the first, and in its room."""
    second = await new_operator()
    await agent.stop()
    agent.pin(operator, second)
    await operator.invite(agent.room_id, second.user_id)
    await second.join(agent.room_id)
    await second.wait_member(agent.room_id, agent.account.user_id)
    return second


def forwarded_key(
    agent: Agent, session_id: str, exported: str, keys: IdentityKeys
) -> dict[str, Any]:
    """Return what gives a key of the agent's room out again, as that of the device with ``keys``.

    It is well-formed.
    """
    return {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": agent.room_id,
        "session_id": session_id,
        "session_key": exported,
        "sender_key": keys["curve25519"],
        "sender_claimed_ed25519_key": keys["ed25519"],
        "forwarding_curve25519_key_chain": [],
    }


async def test_strangers_room_keys_are_not_kept(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """What somebody says who may not speak in the room is never decrypted, member or not."""
    mallory = await new_operator()
    await operator.invite(agent.room_id, mallory.user_id)
    await mallory.join(agent.room_id)
    await mallory.wait_member(agent.room_id, agent.account.user_id)
    sent = await mallory.send_text(agent.room_id, "$ reboot")
    assert (await agent.received(Undecryptable)).event_id == sent
    assert mallory.client.olm.account.identity_keys["curve25519"] not in {
        owner for _, owner in kept_sessions(agent)
    }


async def test_other_rooms_keys_are_not_kept(operator: Operator, agent: Agent) -> None:
    """An operator's room key for a room that isn't configured is not kept, and opens nothing."""
    device = await agent_device(operator, agent)
    other = await operator.create_room()
    await operator.send_text(other, "first")
    session = operator.client.olm.outbound_group_sessions[other]
    await forge.share_room_key(operator, device, other, session.id, session.session_key)
    content = forge.megolm_content(operator, other, b"{}")
    sent = await operator.send_unencrypted(agent.room_id, content, event_type="m.room.encrypted")
    assert (await agent.received(Undecryptable)).event_id == sent
    assert other not in {room for room, _ in kept_sessions(agent)}


@pytest.mark.parametrize("forwarded", [False, True])
async def test_session_keeps_its_first_owner(
    operator: Operator, agent: Agent, new_operator: NewOperator, *, forwarded: bool
) -> None:
    """Another operator can't take over a session whose key he was given, even after a restart.

    Nor does the agent lose of it what came before he was given it.
    """
    second = await new_operator()
    await agent.stop()
    agent.pin(operator, second)
    await agent.listen()
    before = agent.token
    first = await operator.send_text(agent.room_id, "$ 1")
    await agent.text(first)
    session = operator.client.olm.outbound_group_sessions[agent.room_id]
    device = await agent_device(second, agent)
    if forwarded:
        given = vodozemac.InboundGroupSession(session._session.session_key)
        exported = given.export_at(given.first_known_index)
        assert exported is not None
        keys = second.client.olm.account.identity_keys
        content = forwarded_key(agent, session.id, exported.to_base64(), keys)
        await forge.forward_room_key(second, device, content)
    else:
        await forge.share_room_key(second, device, agent.room_id, session.id, session.session_key)
    for number in (2, 3):
        message = await agent.text(await operator.send_text(agent.room_id, f"$ {number}"))
        assert (await agent.matrix.device_of(message)).device_id == operator.device_id
        await agent.stop()
        await agent.listen()
    await agent.stop()
    agent.events.clear()
    agent.token = before
    await agent.listen()
    assert (await agent.text(first)).body == "$ 1"


async def test_only_its_own_device_gives_a_key_out_again(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """A forwarded key is believed of nobody but the device whose session it is (I5)."""
    second = await new_operator()
    agent.pin(operator, second)
    await agent.text(await operator.send_text(agent.room_id, "$ first"))
    session = vodozemac.GroupSession()
    exported = vodozemac.InboundGroupSession(session.session_key).export_at(0)
    assert exported is not None
    body = {"msgtype": "m.text", "body": "$ uptime"}
    payload = {"type": "m.room.message", "room_id": agent.room_id, "content": body}
    own_keys = operator.client.olm.account.identity_keys
    event = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "sender_key": own_keys["curve25519"],
        "ciphertext": session.encrypt(json.dumps(payload).encode()).to_base64(),
        "session_id": session.session_id,
        "device_id": operator.device_id,
    }
    sent = await operator.send_unencrypted(agent.room_id, event, event_type="m.room.encrypted")
    await agent.received(Undecryptable, lambda message: message.event_id == sent)
    good = forwarded_key(agent, session.session_id, exported.to_base64(), own_keys)
    others_keys = second.client.olm.account.identity_keys
    for liar, content in (
        (second, good),
        (operator, {**good, "forwarding_curve25519_key_chain": [others_keys["curve25519"]]}),
        (operator, {**good, "sender_claimed_ed25519_key": others_keys["ed25519"]}),
        (operator, {**good, "sender_key": others_keys["curve25519"]}),
        (operator, {**good, "room_id": "!other:example.org"}),
        (operator, {**good, "session_id": "another"}),
        (operator, {**good, "session_key": "!!!"}),
    ):
        await forge.forward_room_key(liar, await agent_device(liar, agent), content)
        await still_answers(operator, agent)
    assert not any(
        isinstance(event, TextMessage) and event.event_id == sent for event in agent.events
    )
    assert "!other:example.org" not in {room for room, _ in kept_sessions(agent)}
    await forge.forward_room_key(operator, await agent_device(operator, agent), good)
    message = await agent.text(sent)
    assert (await agent.matrix.device_of(message)).device_id == operator.device_id


async def test_relabelled_sender_owns_no_such_key(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """One operator's message under another's name is of no device of the other (I5)."""
    second = await second_in_the_room(operator, agent, new_operator)

    def relabel(body: dict[str, Any]) -> dict[str, Any]:
        for room in body.get("rooms", {}).get("join", {}).values():
            for event in room["timeline"]["events"]:
                if event["sender"] == second.user_id and event["type"] == "m.room.encrypted":
                    event["sender"] = operator.user_id
                    event["content"]["device_id"] = operator.device_id
        return body

    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.rewrite("/sync", relabel)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        message = await agent.text(await second.send_text(agent.room_id, "$ reboot"))
        assert (message.sender, message.device_id) == (operator.user_id, operator.device_id)
        with pytest.raises(IdentityError, match="no device of"):
            await agent.matrix.device_of(message)
        await agent.stop()


async def test_key_of_another_is_no_own_one(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """An operator who claims another one's Olm key as a device's of his own sent nothing (I5).

    The homeserver helps: it shows the device, and puts his name on what the other one sent.
    """
    second = await second_in_the_room(operator, agent, new_operator)
    account, theirs = vodozemac.Account(), second.client.olm.account.identity_keys
    keys = {
        "ed25519:CLAIM": account.ed25519_key.to_base64(),
        "curve25519:CLAIM": theirs["curve25519"],
    }
    user = operator.user_id
    claimed = device_object("CLAIM", account, user, changes={"keys": keys})
    signed = operator.identity.sign(Use.SELF_SIGNING, user, claimed)

    def claim(body: dict[str, Any]) -> dict[str, Any]:
        body.get("device_keys", {}).get(user, {})["CLAIM"] = signed
        return body

    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.rewrite("/keys/query", claim)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        message = await agent.text(await second.send_text(agent.room_id, "$ reboot"))
        with pytest.raises(IdentityError, match="names another key than device CLAIM"):
            await agent.matrix.device_of(msgspec.structs.replace(message, sender=user))
        assert (await agent.matrix.device_of(message)).device_id == second.device_id
        await agent.stop()
