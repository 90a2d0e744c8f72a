# SPDX-License-Identifier: MIT
"""The agent's end of Olm and Megolm: account, sessions, devices. The only module that imports nio.

Nothing here touches the network. nio's Olm machine and its SQLite store do the work; these faults
of nio 0.26 are closed around them: one bad event, device or key ends it; one-time keys at 0 are
never made anew and there is no fallback key; a failed key share blocks every later send; a lost
room key when it dies between two writes; room keys taken from anyone for any room, and a second
owner of a session id replacing the first in its table; encrypted state events and another room's
id inside a ciphertext honoured; events without the deprecated ``sender_key`` refused; a device
that one answer left out shut out for ever; the unsigned part of device keys taken for sound.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self, cast

from nio.crypto import InboundGroupSession, Olm, OlmDevice
from nio.crypto.attachments import encrypted_attachment_generator
from nio.event_builders import ToDeviceMessage
from nio.events import OlmEvent, ToDeviceEvent
from nio.exceptions import EncryptionError, OlmTrustError
from nio.responses import (
    KeysClaimResponse,
    KeysQueryResponse,
    KeysUploadResponse,
    ToDeviceResponse,
)
from nio.store import SqliteStore
from peewee import PeeweeException  # type: ignore[import-untyped] # it ships no types

from tibet_nc_agent.canonical import JsonObject, as_count, as_object, as_text
from tibet_nc_agent.identity import Device, devices_of
from tibet_nc_agent.login import Login
from tibet_nc_agent.matrix_errors import SendError, StoreDamaged, start_anew
from tibet_nc_agent.olm_messages import KeyMissing, NotReadable, Opened, ToDevice
from tibet_nc_agent.statefile import make_private

SIGNED_CURVE25519: Final = "signed_curve25519"
"""The algorithm of one-time and fallback keys."""

DATABASE: Final = "olm.db"

# nio logs whole answers at DEBUG and strangers' text at WARNING and ERROR.
logging.getLogger("nio").setLevel(logging.CRITICAL)

_log = logging.getLogger(__name__)


class OlmMachine:
    """The account of one device and everything encrypted with it, in one directory."""

    def __init__(self, machine: "_Machine", store: SqliteStore) -> None:
        self._machine = machine
        self._store = store

    @classmethod
    def open(
        cls, directory: Path, login: Login, pickle_key: bytes, *, admits: Callable[[str, str], bool]
    ) -> Self:
        """Read the account of a device, or make one.

        A room key is kept only if ``admits(room_id, sender)`` is true. Raises
        :class:`StoreDamaged` if there is a store that can't be read with this pickle key.
        """
        make_private(directory / DATABASE)  # SQLite gives its journal the same mode
        try:
            store = _Store(
                login.user_id, login.device_id, str(directory), pickle_key.hex(), DATABASE
            )
            with ExitStack() as undo:
                undo.callback(store.database.close)
                machine = _Machine(login, store, admits)
                undo.pop_all()
        except (PeeweeException, ValueError) as error:  # vodozemac's are ValueErrors
            raise StoreDamaged(
                f"the Olm store in {directory} can't be read ({type(error).__name__}):"
                f" restore it with its pickle key, or {start_anew(directory)}"
            ) from error
        return cls(machine, store)

    def close(self) -> None:
        """Close the store."""
        self._store.database.close()

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
        with _writing():
            return self._machine.keys_to_upload()

    def keys_uploaded(self, answer: JsonObject) -> None:
        """Take the homeserver's answer to an upload."""
        counts = as_object(answer.get("one_time_key_counts"))
        count = as_count(counts.get(SIGNED_CURVE25519)) or 0
        with _writing():
            self._machine.handle_response(KeysUploadResponse(0, count))
        self._machine.needs_fallback_key = False

    # --- messages to this device --------------------------------------------------------------

    def receive(self, events: Iterable[JsonObject]) -> None:
        """Take messages to this device in, dropping whatever is wrong with one.

        All become durable together: a message that moved an Olm session on without its room key
        being kept could never be read again.
        """
        with _writing(), self._store.database.atomic():
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
        with _writing():
            self._machine.handle_response(ToDeviceResponse(cast("ToDeviceMessage", message)))

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
        response = KeysQueryResponse(keys, {})
        with _writing():
            self._machine.handle_response(response)
            returned = self._machine.revive(keys)
        return set(response.changed) | returned

    def trust(self, users: Iterable[str], trusts: Callable[[Device], bool]) -> tuple[int, bool]:
        """Decide anew which devices get keys; return how many do, and whether any changed."""
        machine, trusted, changed = self._machine, 0, False
        with _writing():
            for user in users:
                for device in list(machine.device_store.active_user_devices(user)):
                    if device.id == machine.device_id and user == machine.user_id:
                        continue
                    # What nio calls verified gets keys. It is asked only if it has to change:
                    # nio looks a device up in the database, a millisecond for each.
                    if trusts(_device(device)):
                        trusted += 1
                        changed |= not device.verified and machine.verify_device(device)
                    else:
                        changed |= not device.blacklisted and machine.blacklist_device(device)
        return trusted, changed

    def keys_to_claim(self, users: Iterable[str]) -> JsonObject | None:
        """Return the body of a claim for trusted devices that there is no Olm session with."""
        machine = self._machine
        wanted: JsonObject = {}
        devices = [device for user in users for device in self._without_session(user)]
        for device in (*devices, *machine.wedged_devices):
            ids = as_object(wanted.setdefault(device.user_id, {}))
            ids[device.id] = SIGNED_CURVE25519
        return {"one_time_keys": wanted} if wanted else None

    def keys_claimed(self, answer: JsonObject) -> None:
        """Make a session with each device that a sound key was claimed from."""
        for user, devices in as_object(answer.get("one_time_keys")).items():
            for device_id, keys in as_object(devices).items():
                try:
                    response = KeysClaimResponse({user: {device_id: keys}}, {})
                    with _writing():
                        self._machine.handle_response(response)
                except StoreDamaged:
                    raise
                except Exception as error:  # a stranger's key; nio checks little
                    _log.warning("a claimed key was dropped (%s)", type(error).__name__)

    def lacks_sessions(self, users: Iterable[str]) -> bool:
        """Whether a trusted device couldn't be given the room key."""
        return any(self._without_session(user) for user in users)

    def _without_session(self, user: str) -> list[OlmDevice]:
        machine = self._machine
        return [
            device
            for device in machine.device_store.active_user_devices(user)
            if device.verified and not machine.session_store.get(device.curve25519)
        ]

    # --- rooms --------------------------------------------------------------------------------

    def encrypted_rooms(self) -> set[str]:
        """Return the rooms that were ever seen to be encrypted; none of them stops to be."""
        return set(self._store.load_encrypted_rooms())

    def remember_encrypted(self, room_id: str) -> None:
        """Make it durable that a room is encrypted."""
        with _writing():
            self._store.save_encrypted_rooms({room_id})

    def needs_room_key(self, room_id: str) -> bool:
        """Whether the next message needs a key that not everybody has."""
        return bool(self._machine.should_share_group_session(room_id))

    def room_key_shares(self, room_id: str, users: Iterable[str]) -> Iterator[ToDevice]:
        """Yield what gives the room's key to trusted devices that haven't got it.

        Each must have been sent when the next is asked for; breaking off leaves the key unshared
        and the rest to the next call.
        """
        machine = self._machine
        with _writing():
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
        with _writing():
            plain = {"type": event_type, "content": content}
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

    def has_session(self, room_id: str, session_id: str) -> bool:
        """Whether the key of a session has come."""
        return self._machine.session(room_id, session_id) is not None

    def session_signer(self, room_id: str, session_id: str) -> str | None:
        """Return the Ed25519 key that the owner of a session claimed when it shared the session.

        None if there is no such session, or its key was forwarded by another device.
        """
        session = self._machine.session(room_id, session_id)
        return None if session is None or session.forwarding_chain else str(session.ed25519)


class _Store(SqliteStore):  # type: ignore[misc] # nio ships no types
    """nio's store, which lets go of a file that isn't one."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except PeeweeException:
            self.database.close()
            raise


class _Machine(Olm):  # type: ignore[misc] # nio ships no types
    """nio's Olm machine, closed against what strangers send."""

    def __init__(
        self, login: Login, store: SqliteStore, admits: Callable[[str, str], bool]
    ) -> None:
        self._admits = admits
        self.needs_fallback_key = False
        super().__init__(login.user_id, login.device_id, store)

    def receive(self, event: JsonObject) -> None:
        try:
            parsed = ToDeviceEvent.parse_event(event)
            if isinstance(parsed, OlmEvent):  # nothing in the clear is acted on
                self.decrypt_event(parsed)
                self.save_account()  # a used one-time key must be gone on disk, too
        except PeeweeException:
            raise
        except Exception as error:  # ten kinds were found; none may end us
            _log.warning("a message to this device was dropped (%s)", type(error).__name__)

    def keys_to_upload(self) -> JsonObject | None:
        keys: JsonObject = self.share_keys() if self.should_upload_keys else {}
        if "device_keys" in keys or self.needs_fallback_key:
            keys["fallback_keys"] = self._fallback_keys()
        if not keys:
            return None
        self.save_account()
        return keys

    def _fallback_keys(self) -> JsonObject:
        account = self.account._account
        if not account.fallback_key:
            account.generate_fallback_key()
        keys: JsonObject = {}
        for key_id, key in account.fallback_key.items():
            value: JsonObject = {"key": key.to_base64(), "fallback": True}
            signature = self.sign_json(dict(value))
            value["signatures"] = {self.user_id: {f"ed25519:{self.device_id}": signature}}
            keys[f"{SIGNED_CURVE25519}:{key_id}"] = value
        return keys

    def session(self, room_id: str, session_id: str) -> InboundGroupSession | None:
        """Return the one session of that id, whatever ``sender_key`` an event claims."""
        for sessions in self.inbound_group_store[room_id].values():
            if session_id in sessions:
                return sessions[session_id]
        return None

    def create_group_session(
        self, sender_key: str, sender_fp_key: str, room_id: str, session_id: str, session_key: str
    ) -> None:
        """Keep the first owner of a session id: nio's table lets a second one replace it."""
        if self.session(room_id, session_id) is None:
            super().create_group_session(
                sender_key, sender_fp_key, room_id, session_id, session_key
            )

    def verify_json(self, *arguments: object) -> bool:
        """Check a signature; malformed input is wrong, not a failure."""
        try:
            return bool(super().verify_json(*arguments))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return False

    def revive(self, keys: dict[str, Any]) -> set[str]:
        """Take back devices that an answer left out and a later one has; return whose they are.

        nio marks what is left out as deleted, and never looks at it again.
        """
        returned: dict[str, dict[str, OlmDevice]] = {}
        for user, devices in keys.items():
            for device_id in devices.keys() & self.device_store[user].keys():
                device = self.device_store[user][device_id]
                if device.deleted:
                    device.deleted = False
                    returned.setdefault(user, {})[device_id] = device
        self.store.save_device_keys(returned)
        return set(returned)

    def _handle_room_key_event(self, sender: str, sender_key: str, payload: JsonObject) -> object:
        if not self._admits(as_text(as_object(payload.get("content")).get("room_id")), sender):
            return None
        return super()._handle_room_key_event(sender, sender_key, payload)

    def _handle_forwarded_room_key_event(
        self, _: str, sender_key: str, payload: JsonObject
    ) -> None:
        """Take a key that its own device gives out again: that is as good as the first time.

        Anybody else's word on whose session it is counts for nothing.
        """
        content = as_object(payload.get("content"))
        room_id, session_id = as_text(content.get("room_id")), as_text(content.get("session_id"))
        signing_key = as_text(as_object(payload.get("keys")).get("ed25519"))
        own = (
            as_text(content.get("sender_key")) == sender_key
            and as_text(content.get("sender_claimed_ed25519_key")) == signing_key != ""
            and content.get("forwarding_curve25519_key_chain") in (None, [])
        )
        sender = as_text(payload.get("sender"))
        if not own or not self._admits(room_id, sender) or self.session(room_id, session_id):
            return
        session = InboundGroupSession.import_session(
            as_text(content.get("session_key")), signing_key, sender_key, room_id
        )
        if session.id == session_id:
            self.inbound_group_store.add(session)
            self.save_inbound_group_session(session)


def encrypted_file(chunks: Iterable[bytes]) -> Iterator[bytes | JsonObject]:
    """Yield the encrypted chunks of a file, and then what decrypts them (an ``EncryptedFile``)."""
    yield from encrypted_attachment_generator(chunks)


def _without_unsigned(value: JsonObject) -> JsonObject:
    return {key: item for key, item in value.items() if key != "unsigned"}


def _device(device: OlmDevice) -> Device:
    return Device(
        user_id=device.user_id,
        device_id=device.id,
        ed25519=device.ed25519,
        curve25519=device.curve25519,
        cross_signed=False,
    )


@contextmanager
def _writing() -> Iterator[None]:
    """Turn what nio raises on the way to the disk into our errors."""
    try:
        yield
    except PeeweeException as error:
        raise StoreDamaged(f"the Olm store can't be written ({error})") from error
    except (EncryptionError, OlmTrustError) as error:
        raise SendError(f"the message can't be encrypted ({type(error).__name__})") from error
