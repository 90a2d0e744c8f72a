# SPDX-License-Identifier: MIT
"""nio's Olm machine and its store, closed against strangers. The only module that imports nio.

Nothing here touches the network. These faults of nio 0.26 are closed, here and by how olm.py uses
it: one bad event, device or key ends it; one-time keys at 0 are never made anew and there is no
fallback key; a failed key share blocks every later send; a lost room key when it dies between two
writes; room keys taken from anyone for any room, and a later key of a session replacing the
first in its table; encrypted state events and another room's id inside a ciphertext honoured;
events without the deprecated ``sender_key`` refused; a device that one answer left out shut out for
ever; the unsigned part of device keys taken for sound.
"""

import logging
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self, cast

from peewee import PeeweeException

from tibet_nc_agent.canonical import JsonObject, as_object, as_text
from tibet_nc_agent.identity import Device
from tibet_nc_agent.login import Login
from tibet_nc_agent.matrix_errors import SendError, StoreDamaged, start_anew
from tibet_nc_agent.olm_messages import SIGNED_CURVE25519
from tibet_nc_agent.statedatabase import CACHE, unwritable
from tibet_nc_agent.statefile import make_private

# Where there is cffi, nio's pycryptodome has it parse C declarations, a tenth of the agent's start;
# where there is none (which is how imports take None) it uses ctypes for the same.
_modules = cast("dict[str, ModuleType | None]", sys.modules)
_hides = _modules.setdefault("cffi", None) is None
try:
    from nio.crypto import InboundGroupSession, Olm, OlmDevice
    from nio.crypto.attachments import encrypted_attachment_generator
    from nio.events import OlmEvent, ToDeviceEvent
    from nio.exceptions import EncryptionError, OlmTrustError
    from nio.responses import (
        KeysClaimResponse,
        KeysQueryResponse,
        KeysUploadResponse,
        ToDeviceResponse,
    )
    from nio.store import SqliteStore
finally:
    if _hides:
        del _modules["cffi"]

DATABASE: Final = "olm.db"

KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""How long a room key is kept when its device has a newer one: much longer than a message that may
still be obeyed is on its way."""

_FOUND: Final = """
create table if not exists room_key_found (
    session_id text primary key references megolminboundsessions(session_id) on delete cascade,
    found_s real not null
) without rowid
"""

# nio logs whole answers at DEBUG and strangers' text at WARNING and ERROR.
logging.getLogger("nio").setLevel(logging.CRITICAL)

_log = logging.getLogger(__name__)


class NioMachine(Olm):
    """nio's Olm machine, closed against what strangers send."""

    def __init__(self, login: Login, store: "_Store", admits: Callable[[str, str], bool]) -> None:
        self._store = store
        self._admits = admits
        self.needs_fallback_key = False
        super().__init__(login.user_id, login.device_id, store)

    @classmethod
    def open(
        cls, directory: Path, login: Login, pickle_key: bytes, admits: Callable[[str, str], bool]
    ) -> Self:
        """Read the account of a device, or make one; raises StoreDamaged, and nothing is open."""
        make_private(directory / DATABASE)  # SQLite gives its journal the same mode
        try:
            store = _Store(
                login.user_id, login.device_id, str(directory), pickle_key.hex(), DATABASE
            )
            with ExitStack() as undo:
                undo.callback(store.database.close)
                machine = cls(login, store, admits)
                undo.pop_all()
        except (PeeweeException, ValueError) as error:  # vodozemac's are ValueErrors
            if unwritable(error):
                raise StoreDamaged(
                    f"the Olm store in {directory} can't be written ({error})"
                ) from error
            raise StoreDamaged(
                f"the Olm store in {directory} can't be read ({type(error).__name__}):"
                f" restore it with its pickle key, or {start_anew(directory)}"
            ) from error
        return machine

    # --- what the homeserver answered ---------------------------------------------------------

    def keys_uploaded(self, count: int) -> None:
        """Take note of an upload, after which the homeserver has so many one-time keys."""
        self.handle_response(KeysUploadResponse(0, count))
        self.needs_fallback_key = False

    def message_sent(self, message: object) -> None:
        """Take note that a message to devices was sent."""
        self.handle_response(ToDeviceResponse(message))

    def devices_found(self, keys: dict[str, Any]) -> set[str]:
        """Take over the devices of users; return who has new ones."""
        response = KeysQueryResponse(keys, {})
        self.handle_response(response)
        return set(response.changed) | self._revive(keys)

    def key_claimed(self, user: str, device_id: str, keys: object) -> None:
        """Make a session with a device by a key of its own; drop a key that isn't sound."""
        try:
            self.handle_response(KeysClaimResponse({user: {device_id: keys}}, {}))
        except PeeweeException:
            raise
        except Exception as error:  # a stranger's key; nio checks little
            _log.warning("a claimed key was dropped (%s)", type(error).__name__)

    # --- devices ------------------------------------------------------------------------------

    def judge(self, user: str, trusts: Callable[[Device], bool]) -> tuple[int, bool]:
        """Decide which of a user's devices get keys; return how many, and whether any changed."""
        trusted, changed = 0, False
        for device in list(self.device_store.active_user_devices(user)):
            if device.id == self.device_id and user == self.user_id:
                continue
            # What nio calls verified gets keys. It is asked only if it has to change: nio looks a
            # device up in the database, a millisecond for each.
            if trusts(_device(device)):
                trusted += 1
                changed |= not device.verified and self.verify_device(device)
            else:
                changed |= not device.blacklisted and self.blacklist_device(device)
        return trusted, changed

    def without_session(self, user: str) -> list[OlmDevice]:
        """Return a user's trusted devices that there is no Olm session with."""
        return [
            device
            for device in self.device_store.active_user_devices(user)
            if device.verified and not self.session_store.get(device.curve25519)
        ]

    # --- messages to this device, and our keys ------------------------------------------------

    def receive(self, event: JsonObject) -> None:
        """Take one message to this device in; drop what is wrong with it."""
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
        """Return the body of an upload if one is due; the private halves are on disk by then."""
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
        """Keep the first key of a session: nio's table lets one that comes later replace it."""
        if self.session(room_id, session_id) is None:
            super().create_group_session(
                sender_key, sender_fp_key, room_id, session_id, session_key
            )

    def forget_old_keys(self, now_s: float) -> int:
        """Forget the room keys whose device has had a newer one for KEPT_SECONDS; return how many.

        A device encrypts with its newest key and with no other, so that what an old one opens was
        said long ago. Of keys that were found at the same time none counts as the newer one.
        """
        found = self._store.room_keys_found(now_s)
        old: list[tuple[dict[str, InboundGroupSession], str]] = []
        for room in self.inbound_group_store._entries.values():
            for sessions in room.values():
                # One key given for two rooms has one row in the table, which may be gone.
                times = {key: found.get(key, now_s) for key in sessions}
                settled = (time for time in times.values() if time <= now_s - KEPT_SECONDS)
                newest = max(settled, default=0.0)
                old += [(sessions, key) for key, time in times.items() if time < newest]
        self._store.forget_room_keys([key for _, key in old])
        for sessions, key in old:
            del sessions[key]
        return len(old)

    def verify_json(self, *arguments: object) -> bool:
        """Check a signature; malformed input is wrong, not a failure."""
        try:
            return bool(super().verify_json(*arguments))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return False

    def _revive(self, keys: dict[str, Any]) -> set[str]:
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

        Anybody else's word on whose session it is counts for nothing, so that no session here ever
        has a chain of devices which passed it on.
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


class _Store(SqliteStore):
    """nio's store, which lets go of a file that isn't one, and knows when room keys were found."""

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
            self.database.pragma("cache_size", CACHE, permanent=True)
            self.database.execute_sql(_FOUND)
        except PeeweeException:
            self.database.close()
            raise

    def room_keys_found(self, now_s: float) -> dict[str, float]:
        """Return when each room key was first found by this method, which is now for new ones."""
        find = (
            "insert or ignore into room_key_found select session_id, ? from megolminboundsessions"
        )
        with self.database.atomic():
            self.database.execute_sql(find, (now_s,))
            return dict(self.database.execute_sql("select session_id, found_s from room_key_found"))

    def forget_room_keys(self, session_ids: Iterable[str]) -> None:
        """Take room keys out of the file; SQLite overwrites what it deletes (``secure_delete``)."""
        with self.database.atomic():
            for session_id in session_ids:
                delete = "delete from megolminboundsessions where session_id = ?"
                self.database.execute_sql(delete, (session_id,))


def encrypted_file(chunks: Iterable[bytes]) -> Iterator[bytes | JsonObject]:
    """Yield the encrypted chunks of a file, and then what decrypts them (an ``EncryptedFile``)."""
    yield from encrypted_attachment_generator(chunks)


def _device(device: OlmDevice) -> Device:
    return Device(
        user_id=device.user_id,
        device_id=device.id,
        ed25519=device.ed25519,
        curve25519=device.curve25519,
        cross_signed=False,
    )


@contextmanager
def writing() -> Generator[None]:
    """Turn what nio raises on the way to the disk into our errors."""
    try:
        yield
    except PeeweeException as error:
        raise StoreDamaged(f"the Olm store can't be written ({error})") from error
    except (EncryptionError, OlmTrustError) as error:
        raise SendError(f"the message can't be encrypted ({type(error).__name__})") from error
