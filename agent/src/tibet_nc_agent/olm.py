# SPDX-License-Identifier: MIT
"""The agent's end of Olm and Megolm: account, sessions, devices and room keys, as values of ours.

Nothing here touches the network. nio's machine (nio_machine.py) does the work; what it raises on
the way to the disk leaves this module as one of our errors.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from tibet_nc_agent.canonical import JsonObject, as_count, as_object, as_text
from tibet_nc_agent.identity import Device, devices_of
from tibet_nc_agent.login import Login
from tibet_nc_agent.nio_machine import NioMachine, writing
from tibet_nc_agent.olm_messages import SIGNED_CURVE25519, KeyMissing, NotReadable, Opened, ToDevice


class OlmMachine:
    """The account of one device and everything encrypted with it, in one directory."""

    def __init__(self, machine: NioMachine) -> None:
        self._machine = machine

    @classmethod
    def open(
        cls, directory: Path, login: Login, pickle_key: bytes, *, admits: Callable[[str, str], bool]
    ) -> Self:
        """Read the account of a device, or make one.

        A room key is kept only if ``admits(room_id, sender)`` is true. Raises
        :class:`StoreDamaged` if there is a store that can't be read with this pickle key.
        """
        return cls(NioMachine.open(directory, login, pickle_key, admits))

    def close(self) -> None:
        """Close the store."""
        self._machine.store.database.close()

    # --- our own keys -------------------------------------------------------------------------

    @property
    def ed25519(self) -> str:
        """The device's signing key."""
        return str(self._machine.account.identity_keys["ed25519"])

    @property
    def curve25519(self) -> str:
        """The device's Olm key."""
        return str(self._machine.account.identity_keys["curve25519"])

    @property
    def announced(self) -> bool:
        """Whether the device keys were uploaded."""
        return bool(self._machine.account.shared)

    def sign(self, message: bytes) -> str:
        """Sign with the device's own key."""
        return str(self._machine.account.sign(message.decode()))

    def count_keys(self, *, one_time_keys: int | None, has_fallback_key: bool | None) -> None:
        """Take over how many keys the homeserver has left; None where it didn't say."""
        if one_time_keys is not None:
            self._machine.uploaded_key_count = one_time_keys
        if has_fallback_key is not None:
            self._machine.needs_fallback_key = not has_fallback_key

    def keys_to_upload(self) -> JsonObject | None:
        """Return the body of an upload if one is due; the private halves are on disk by then."""
        with writing():
            return self._machine.keys_to_upload()

    def keys_uploaded(self, answer: JsonObject) -> None:
        """Take the homeserver's answer to an upload."""
        counts = as_object(answer.get("one_time_key_counts"))
        count = as_count(counts.get(SIGNED_CURVE25519)) or 0
        with writing():
            self._machine.keys_uploaded(count)

    # --- messages to this device --------------------------------------------------------------

    def receive(self, events: Iterable[JsonObject]) -> None:
        """Take messages to this device in, dropping whatever is wrong with one.

        All become durable together: a message that moved an Olm session on without its room key
        being kept could never be read again.
        """
        with writing(), self._machine.store.database.atomic():
            for event in events:
                self._machine.receive(event)

    def to_send(self) -> list[tuple[object, ToDevice]]:
        """Return messages to devices that are due, each with what :meth:`sent` wants back."""
        return [
            (message, ToDevice(event_type=message.type, messages=message.as_dict()["messages"]))
            for message in self._machine.outgoing_to_device_messages
        ]

    def sent(self, message: object) -> None:
        """Take note that a message of :meth:`to_send` was sent."""
        with writing():
            self._machine.message_sent(message)

    # --- devices ------------------------------------------------------------------------------

    def must_query(self, users: Iterable[str]) -> None:
        """Note that users' devices may have changed."""
        self._machine.users_for_key_query.update(users)

    def users_to_query(self, users: Iterable[str]) -> tuple[str, ...]:
        """Return those whose devices aren't known, or may have changed."""
        machine = self._machine
        return tuple(
            user
            for user in users
            if user in machine.users_for_key_query or user not in machine.tracked_users
        )

    def learn_devices(self, answer: JsonObject, users: Iterable[str]) -> set[str]:
        """Take over the well-formed devices of a ``/keys/query`` answer; return who has new ones.

        A user that the answer doesn't hold (its server may be down) keeps the known ones.
        """
        known = as_object(answer.get("device_keys"))
        keys: dict[str, Any] = {}
        for user in users:
            if user not in known:
                continue
            sound = {device.device_id for device in devices_of(answer, user, None)}
            objects = as_object(known.get(user))
            # What isn't signed (a name to show) is of no use, and nio trusts its shape.
            keys[user] = {
                device_id: _without_unsigned(as_object(objects[device_id])) for device_id in sound
            }
        with writing():
            return self._machine.devices_found(keys)

    def trust(self, users: Iterable[str], trusts: Callable[[Device], bool]) -> tuple[int, set[str]]:
        """Decide anew which devices get keys; return how many do, and whose changed."""
        with writing():
            judged = {user: self._machine.judge(user, trusts) for user in users}
        changed = {user for user, (_, changes) in judged.items() if changes}
        return sum(trusted for trusted, _ in judged.values()), changed

    def keys_to_claim(self, users: Iterable[str]) -> JsonObject | None:
        """Return the body of a claim for trusted devices that there is no Olm session with."""
        machine = self._machine
        wanted: JsonObject = {}
        devices = [device for user in users for device in self._machine.without_session(user)]
        for device in (*devices, *machine.wedged_devices):
            ids = as_object(wanted.setdefault(device.user_id, {}))
            ids[device.id] = SIGNED_CURVE25519
        return {"one_time_keys": wanted} if wanted else None

    def keys_claimed(self, answer: JsonObject) -> None:
        """Make a session with each device that a sound key was claimed from."""
        for user, devices in as_object(answer.get("one_time_keys")).items():
            for device_id, keys in as_object(devices).items():
                with writing():
                    self._machine.key_claimed(user, device_id, keys)

    def lacks_sessions(self, users: Iterable[str]) -> bool:
        """Whether a trusted device couldn't be given the room key."""
        return any(self._machine.without_session(user) for user in users)

    # --- rooms --------------------------------------------------------------------------------

    def encrypted_rooms(self) -> set[str]:
        """Return the rooms that were ever seen to be encrypted; none of them stops to be."""
        return set(self._machine.store.load_encrypted_rooms())

    def remember_encrypted(self, room_id: str) -> None:
        """Make it durable that a room is encrypted."""
        with writing():
            self._machine.store.save_encrypted_rooms({room_id})

    def needs_room_key(self, room_id: str) -> bool:
        """Whether the next message needs a key that not everybody has."""
        return bool(self._machine.should_share_group_session(room_id))

    def room_key_shares(self, room_id: str, users: Iterable[str]) -> Iterator[ToDevice]:
        """Yield what gives the room's key to trusted devices that haven't got it.

        Each must have been sent when the next is asked for; breaking off leaves the key unshared
        and the rest to the next call.
        """
        machine = self._machine
        with writing():
            for shared_with, body in machine.share_group_session_parallel(room_id, list(users)):
                session = machine.outbound_group_sessions.get(room_id)
                if session is None:  # discarded while the last one was sent
                    return
                yield ToDevice(event_type="m.room.encrypted", messages=body["messages"])
                session.users_shared_with |= shared_with
            session = machine.outbound_group_sessions.get(room_id)
            if session is not None:
                session.shared = True

    def discard_room_key(self, room_id: str) -> None:
        """Use a new key for the next message: who may read has changed."""
        self._machine.outbound_group_sessions.pop(room_id, None)

    def encrypt(self, room_id: str, event_type: str, content: JsonObject) -> JsonObject:
        """Encrypt a message with the shared room key; relations stay in the clear (MSC1849)."""
        with writing():
            plain: JsonObject = {"type": event_type, "content": content}
            encrypted: JsonObject = self._machine.group_encrypt(room_id, plain)
        if "m.relates_to" in content:
            encrypted["m.relates_to"] = content["m.relates_to"]
        return encrypted

    def decrypt(self, room_id: str, event: JsonObject) -> Opened:
        """Decrypt a room message; raise :class:`KeyMissing` or :class:`NotReadable`."""
        content = as_object(event.get("content"))
        session_id = as_text(content.get("session_id"))
        session = self._machine.session(room_id, session_id)
        if session is None:
            raise KeyMissing
        try:
            plaintext, index = session.decrypt(as_text(content.get("ciphertext")))
            payload = as_object(json.loads(plaintext))
        except Exception as error:  # vodozemac's, UTF-8's, JSON's, depth
            raise NotReadable("the message can't be decrypted") from error
        if payload.get("room_id") != room_id:
            raise NotReadable("the message was encrypted for another room")
        if "state_key" in payload:
            raise NotReadable("room state can't be encrypted")
        return Opened(
            payload=payload, sender_key=session.sender_key, session_id=session_id, index=index
        )

    def forget_old_keys(self, now_s: float) -> int:
        """Forget the room keys that have been of no use for long; return how many those are."""
        with writing():
            return self._machine.forget_old_keys(now_s)

    def has_session(self, room_id: str, session_id: str) -> bool:
        """Whether the key of a session has come."""
        return self._machine.session(room_id, session_id) is not None

    def session_signer(self, room_id: str, session_id: str) -> str | None:
        """Return the Ed25519 key that the owner of a session claimed when it shared the session.

        None if there is no such session.
        """
        session = self._machine.session(room_id, session_id)
        return None if session is None else str(session.ed25519)


def _without_unsigned(value: JsonObject) -> JsonObject:
    return {key: item for key, item in value.items() if key != "unsigned"}
