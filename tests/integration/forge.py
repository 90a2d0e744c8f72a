# SPDX-License-Identifier: MIT
"""What a malicious client could send, made with the keys of an operator's nio client."""

import base64
import json
import secrets
from typing import Any

from nio.crypto import OlmDevice
from nio.crypto.sessions import Session

from tests.harness import Operator


async def device_of(operator: Operator, user_id: str, device_id: str) -> OlmDevice:
    """Return a device that the operator's client knows, asking the homeserver for it first."""
    client = operator.client
    client.olm.users_for_key_query.add(user_id)
    await client.keys_query()
    return client.device_store[user_id][device_id]


async def olm_session(operator: Operator, device: OlmDevice) -> Session:
    """Return an Olm session with a device, made if need be."""
    client = operator.client
    if client.olm.session_store.get(device.curve25519) is None:
        await client.keys_claim({device.user_id: [device.id]})
    session = client.olm.session_store.get(device.curve25519)
    assert session is not None
    return session


async def to_device(
    operator: Operator, device: OlmDevice, content: dict[str, Any], kind: str = "m.room.encrypted"
) -> None:
    """Send a message to a device as it stands."""
    path = f"/_matrix/client/v3/sendToDevice/{kind}/{secrets.token_hex(8)}"
    messages = {device.user_id: {device.id: content}}
    status, answer = await operator.request("PUT", path, {"messages": messages})
    assert status == 200, answer


def olm_content(sender_key: str, device: OlmDevice, kind: object, body: object) -> dict[str, Any]:
    """Return the content of an Olm message."""
    return {
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": sender_key,
        "ciphertext": {device.curve25519: {"type": kind, "body": body}},
    }


async def olm_encrypted(operator: Operator, device: OlmDevice, plaintext: str) -> dict[str, Any]:
    """Return the content of an Olm message that decrypts to any text."""
    session = await olm_session(operator, device)
    kind, data = session.encrypt(plaintext).to_parts()
    sender_key = operator.client.olm.account.identity_keys["curve25519"]
    return olm_content(sender_key, device, kind, _base64(data))


def olm_payload(
    operator: Operator, device: OlmDevice, kind: str, content: object
) -> dict[str, Any]:
    """Return a well-formed payload of an Olm message."""
    return {
        "sender": operator.user_id,
        "sender_device": operator.device_id,
        "keys": {"ed25519": operator.client.olm.account.identity_keys["ed25519"]},
        "recipient": device.user_id,
        "recipient_keys": {"ed25519": device.ed25519},
        "type": kind,
        "content": content,
    }


async def share_room_key(
    operator: Operator, device: OlmDevice, room_id: str, session_id: str, session_key: str
) -> None:
    """Send a room key to a device, whatever the operator's client has sent before."""
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room_id,
        "session_id": session_id,
        "session_key": session_key,
    }
    payload = olm_payload(operator, device, "m.room_key", content)
    await to_device(operator, device, await olm_encrypted(operator, device, json.dumps(payload)))


async def forward_room_key(operator: Operator, device: OlmDevice, content: dict[str, Any]) -> None:
    """Send a room key to a device as one that is given out again."""
    payload = olm_payload(operator, device, "m.forwarded_room_key", content)
    await to_device(operator, device, await olm_encrypted(operator, device, json.dumps(payload)))


def megolm_content(operator: Operator, room_id: str, plaintext: bytes) -> dict[str, Any]:
    """Return the content of a room message that decrypts to any bytes.

    The operator must have sent a message to the room before, so that there is a room key.
    """
    olm = operator.client.olm
    session = olm.outbound_group_sessions[room_id]
    return {
        "algorithm": "m.megolm.v1.aes-sha2",
        "sender_key": olm.account.identity_keys["curve25519"],
        "ciphertext": session._session.encrypt(plaintext).to_base64(),
        "session_id": session.id,
        "device_id": operator.device_id,
    }


async def event(operator: Operator, room_id: str, event_id: str) -> dict[str, Any]:
    """Return an event as the homeserver has it."""
    path = f"/_matrix/client/v3/rooms/{room_id}/event/{event_id}"
    status, answer = await operator.request("GET", path)
    assert status == 200, answer
    return answer


def _base64(data: bytes) -> str:

    return base64.b64encode(data).decode().rstrip("=")
