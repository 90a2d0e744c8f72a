# SPDX-License-Identifier: MIT
"""Who has which keys: ours kept on the homeserver, others' devices, and the key of each room.

A room key goes to those devices of the members that a pinned identity has signed, and to no others.
What a user's devices are is asked anew whenever the homeserver says that they have changed, and
before a command is judged by an answer that is not fresh.
"""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from tibet_nc_agent.canonical import JsonObject, as_object
from tibet_nc_agent.crosssign import query
from tibet_nc_agent.event import TextMessage
from tibet_nc_agent.homeserver import CLIENT, Homeserver
from tibet_nc_agent.identity import Device, Identity, verify_identity
from tibet_nc_agent.login import Login
from tibet_nc_agent.matrix_errors import (
    IdentityError,
    MatrixError,
    NobodyCanRead,
    Refused,
    StoreDamaged,
    StoreMismatch,
    TokenRevoked,
    start_anew,
)
from tibet_nc_agent.olm import OlmMachine
from tibet_nc_agent.olm_messages import ToDevice
from tibet_nc_agent.rooms import Room
from tibet_nc_agent.units import counted

RESHARE_SECONDS: Final = 60.0
"""How long a device that has run out of one-time keys waits for the next offer of our key."""

FRESH_SECONDS: Final = 60.0
"""How old an answer about a user's keys may be that a command is judged by. The homeserver tells of
changes by itself; this is for the case that such a notice was lost."""

FORGET_SECONDS: Final = 3600.0
"""How often room keys that are of no use any more are looked for."""

_EXISTS: Final = re.compile("One time key .* already exists")
"""What Synapse says of another one-time key with the name of one that it was given. The
specification has no code for that."""

type MasterKey = Callable[[str], str | None]
"""The pinned master key of a user, None if there is none."""

type Ask = Callable[[str, str, JsonObject], Awaitable[JsonObject]]
"""One of the homeserver's two ways to send a request: once, or until it is answered."""

_log = logging.getLogger(__name__)


class _Answer:
    """What the homeserver said of users' keys, and when."""

    def __init__(self, body: JsonObject) -> None:
        self.body: Final = body
        self._received = time.monotonic()
        self._identities: dict[tuple[str, str | None], Identity] = {}

    @property
    def age_s(self) -> float:
        """How many seconds ago it came."""
        return time.monotonic() - self._received

    def identity(self, user_id: str, pinned: str | None) -> Identity:
        """Return a user's identity as ``verify_identity`` does, which is asked once for each."""
        known = self._identities.get((user_id, pinned))
        if known is None:
            known = self._identities[user_id, pinned] = verify_identity(
                self.body, user_id, pinned=pinned
            )
        return known

    def signed(self, device: Device, pinned: str | None) -> bool:
        """Whether the user's identity has signed a device, whatever others say about that."""
        try:
            devices = self.identity(device.user_id, pinned).devices
        except IdentityError:
            return False
        return replace(device, cross_signed=True) in devices


class Keyring:
    """The keys of one login. ``lock`` is held while a room key is made ready and used.

    ``store`` is where our own are, for whoever reads that they don't fit.
    """

    def __init__(
        self,
        *,
        store: Path,
        login: Login,
        homeserver: Homeserver,
        machine: OlmMachine,
        rooms: Mapping[str, Room],
        master_key: MasterKey,
    ) -> None:
        self._store = store
        self._login = login
        self._homeserver = homeserver
        self._machine = machine
        self._rooms = rooms
        self._master_key = master_key
        self._answers: dict[str, _Answer] = {}
        self._changed: set[str] = set()
        self._lacking: dict[str, float] = {}
        self._forget_at = time.monotonic()
        self.lock: Final = asyncio.Lock()

    # --- our own keys -------------------------------------------------------------------------

    async def check_own(self) -> None:
        """See that the homeserver has our device's keys, uploading them the first time.

        Raises :class:`StoreMismatch` if it has others, or has lost those it was given.
        """
        user_id, device_id, machine = self._login.user_id, self._login.device_id, self._machine
        answer = await query(self._homeserver, user_id)
        devices = as_object(as_object(answer.get("device_keys")).get(user_id))
        found = as_object(devices.get(device_id)).get("keys")
        ours = {
            f"ed25519:{device_id}": machine.ed25519,
            f"curve25519:{device_id}": machine.curve25519,
        }
        if found != ours and (machine.announced or found is not None):
            raise StoreMismatch(
                f"the homeserver knows other keys for our device {device_id} than the store in"
                f" {self._store}, which was lost or replaced: restore it, or"
                f" {start_anew(self._store)}"
            )
        if not machine.announced:
            await self._upload(self._homeserver.once)

    async def keep(self) -> None:
        """Do what is due between two batches; what fails is tried again after the next.

        Raises :class:`TokenRevoked`, :class:`StoreDamaged` or :class:`StoreMismatch`.
        """
        once = self._homeserver.once
        self._forget()
        try:
            await self._upload(once)
            if not self.lock.locked():  # a message on its way does this, and may take long
                async with self.lock:
                    users = {user for room in self._rooms.values() for user in room.members}
                    await self._query(self._machine.users_to_query(users), once)
                    await self._claim((), once)
            for ticket, message in self._machine.to_send():
                with suppress(Refused):
                    await self._send_to_devices(message, once)
                self._machine.sent(ticket)
        except (TokenRevoked, StoreDamaged, StoreMismatch):
            raise
        except MatrixError as error:
            _log.warning("keys could not be kept up: %s", error)

    def _forget(self) -> None:
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_SECONDS
        if count := self._machine.forget_old_keys(time.time()):
            _log.info("%s forgotten", counted(count, "old room key"))

    async def _upload(self, ask: Ask) -> None:
        keys = self._machine.keys_to_upload()
        if keys is None:
            return
        try:
            answer = await ask("POST", f"{CLIENT}/keys/upload", keys)
        except Refused as error:
            if not _EXISTS.search(str(error)):
                raise
            # What was put back from a copy makes keys anew that it has given out before.
            raise StoreMismatch(
                f"the store in {self._store} is older than the keys that our device"
                f" {self._login.device_id} has used: it was put back from a backup, or a snapshot."
                f" Clients can't read what it encrypts: {start_anew(self._store)}"
            ) from error
        self._machine.keys_uploaded(answer)

    # --- others' devices ----------------------------------------------------------------------

    def changed(self, users: Collection[str]) -> None:
        """Note that users' keys have changed."""
        self._machine.must_query(users)
        self._changed.update(users)
        for user in users:
            self._answers.pop(user, None)

    async def keys_of(self, user_id: str) -> JsonObject:
        """Ask for a user's keys anew; return the answer."""
        return (await self._answer_about(user_id, fresh=True)).body

    async def _answer_about(self, user_id: str, *, fresh: bool = False) -> _Answer:
        async with self.lock:
            known = None if fresh else self._answers.get(user_id)
            if known is None or known.age_s > FRESH_SECONDS:
                return _Answer(await self._query((user_id,), self._homeserver.request))
            return known

    async def device_of(self, message: TextMessage) -> Device:
        """Return the device of the operator that a message came from (I5).

        Raises :class:`IdentityError` if the sender is not pinned or has another identity now, if
        it was sent in plain text, if no device that the identity has signed owns the key that sent
        it, or if the session's key is no more there or names another device.
        """
        pinned = self._master_key(message.sender)
        if pinned is None:
            raise IdentityError(f"{message.sender} is not pinned")
        known = message.sender in self._answers
        try:
            return self._owner(await self._answer_about(message.sender), message, pinned)
        except IdentityError:
            if not known:
                raise
        answer = await self._answer_about(message.sender, fresh=True)
        return self._owner(answer, message, pinned)

    def _owner(self, answer: _Answer, message: TextMessage, pinned: str) -> Device:
        origin, sender = message.origin, message.sender
        if origin is None:
            raise IdentityError("the message was sent in plain text")
        signer = self._machine.session_signer(message.room_id, origin.session_id)
        if signer is None:
            raise IdentityError("the key of this message is not there any more")
        device = answer.identity(sender, pinned).device_with(origin.sender_key)
        if not device.cross_signed:
            raise IdentityError(f"device {device.device_id} is not signed by {sender}")
        if device.ed25519 != signer:
            raise IdentityError(f"the session names another key than device {device.device_id}")
        return device

    async def _query(self, users: Collection[str], ask: Ask) -> JsonObject:
        if not users:
            return {}
        self._changed.clear()
        wanted: JsonObject = {user: [] for user in users}
        answer = await ask("POST", f"{CLIENT}/keys/query", {"device_keys": wanted})
        renewed = self._machine.learn_devices(answer, users)
        self._answers |= {user: _Answer(answer) for user in users}
        self.changed(tuple(self._changed))  # while we asked
        self._discard_room_keys(renewed)
        return answer

    def _discard_room_keys(self, users: Collection[str]) -> None:
        """Have new keys for all rooms where one of these users is, whose devices have changed."""
        for room in self._rooms.values():
            if not room.members.keys().isdisjoint(users):
                self._machine.discard_room_key(room.room_id)

    # --- room keys ----------------------------------------------------------------------------

    async def ready(self, room: Room, also: str | None = None) -> None:
        """Give the key for the room's next message to every trusted device of its members.

        The user ``also``, if not pinned, is trusted with this one message, on devices signed by
        whichever identity is shown now; the next has another key. The caller holds ``lock``. Raises
        :class:`NobodyCanRead` if there is no trusted device: a homeserver that hides the members
        must not make us say something to nobody.
        """
        ask = self._homeserver.request
        claimed: tuple[str, ...] = ()
        while True:
            users = tuple(room.members)
            unknown = self._unknown(users)
            while unknown:
                await self._query(unknown, ask)
                unknown = set(users) - self._answers.keys()  # changed while we asked
            trusted, changed = self._machine.trust(users, partial(self._may_have_keys, also))
            self._discard_room_keys(changed)
            if self._must_offer_again(room.room_id):
                self._machine.discard_room_key(room.room_id)
            if not trusted:
                raise NobodyCanRead(f"no device in {room.room_id} is trusted with our messages")
            if not self._machine.needs_room_key(room.room_id):
                return
            # Each answer may take the homeserver hours. By then somebody may have come, left, been
            # unpinned or changed devices, so it is seen to anew who gets the key, and who has it.
            if claimed != users or changed:
                await self._claim(users, ask)
                claimed = users
            else:
                for share in self._machine.room_key_shares(room.room_id, users):
                    await self._send_to_devices(share, ask)
                if self._machine.lacks_sessions(users):
                    self._lacking[room.room_id] = time.monotonic()
                claimed = ()

    def _must_offer_again(self, room_id: str) -> bool:
        lacking_since = self._lacking.get(room_id)
        if lacking_since is None or time.monotonic() < lacking_since + RESHARE_SECONDS:
            return False
        del self._lacking[room_id]
        return True

    def _unknown(self, users: Collection[str]) -> set[str]:
        """Return the users whose keys have to be asked for; what nio kept is no answer."""
        return {*self._machine.users_to_query(users), *(set(users) - self._answers.keys())}

    def _may_have_keys(self, also: str | None, device: Device) -> bool:
        user, pinned = device.user_id, self._master_key(device.user_id)
        answer = self._answers.get(user)
        if answer is None or (pinned is None and user != also):
            return False
        return answer.signed(device, pinned)

    async def send_to_devices(self, message: ToDevice) -> None:
        """Send a message to devices, once; raises as :meth:`Homeserver.once`."""
        await self._send_to_devices(message, self._homeserver.once)

    async def _claim(self, users: Collection[str], ask: Ask) -> None:
        claim = self._machine.keys_to_claim(users)
        if claim is not None:
            self._machine.keys_claimed(await ask("POST", f"{CLIENT}/keys/claim", claim))

    async def _send_to_devices(self, message: ToDevice, ask: Ask) -> None:
        path = f"{CLIENT}/sendToDevice/{message.event_type}/{secrets.token_hex(16)}"
        await ask("PUT", path, {"messages": message.messages})
