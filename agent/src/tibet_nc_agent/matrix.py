# SPDX-License-Identifier: MIT
"""The agent on Matrix: one login that receives in batches, and sends a room's messages in order.

The life of a batch. :meth:`Matrix.batches` fetches a sync answer, fills its gaps, and decrypts:
room keys first, then messages. It yields the batch. Only when the caller asks for the next,
having stored this one, does a later token go to the homeserver. A crash at any point leads to the
same batch again, and everything in it decrypts again: only a ciphertext under another event id
is a replay.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tibet_nc_agent import sync
from tibet_nc_agent.admission import Admission
from tibet_nc_agent.canonical import JsonObject, as_text
from tibet_nc_agent.crosssign import CrossSigning, Use, bootstrap, query
from tibet_nc_agent.event import (
    Batch,
    Incoming,
    KeysChanged,
    Missed,
    TextMessage,
    Undecryptable,
)
from tibet_nc_agent.homeserver import CLIENT, Homeserver, quoted, waits
from tibet_nc_agent.identity import Device
from tibet_nc_agent.keyring import Ask, Keyring
from tibet_nc_agent.login import LOGIN_NAME, Login, log_in
from tibet_nc_agent.matrix_errors import (
    AnswerTooLarge,
    IdentityError,
    NotJoined,
    Refused,
    Strangers,
    TooLarge,
    Unencrypted,
    Unreachable,
)
from tibet_nc_agent.media import Media
from tibet_nc_agent.olm import OlmMachine
from tibet_nc_agent.olm_messages import ToDevice
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.receiver import Receiver
from tibet_nc_agent.replay import ReplayGuard
from tibet_nc_agent.rooms import Room
from tibet_nc_agent.sas import REQUEST_MSGTYPE
from tibet_nc_agent.statefile import DirectoryLock

EVENT_BYTES: Final = 63 * 1024
"""Largest encrypted content; an event has 64 KiB in all, with its envelope."""

HURRY_SECONDS: Final = 1.0
"""A sync that brings no new token is held for longer than this by a homeserver (sync.POLL_MS); by a
cache in front of it, it isn't."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MatrixSettings:
    """Who the agent is, where it listens, and where it keeps its keys.

    ``store`` is a directory for the agent alone, ``proxy`` the URL of an HTTP proxy.
    ``timeline_events`` is the most that one sync brings of one room.
    """

    homeserver: str
    user_id: str
    device_name: str
    rooms: tuple[str, ...]
    store: Path
    proxy: str | None = None
    timeline_events: int = sync.TIMELINE_EVENTS


class Matrix:
    """A login that receives and sends; made by :meth:`open`, ended by :meth:`close`."""

    def __init__(
        self,
        *,
        settings: MatrixSettings,
        login: Login,
        homeserver: Homeserver,
        machine: OlmMachine,
        receiver: Receiver,
        rooms: Mapping[str, Room],
        keyring: Keyring,
        operators: Operators,
        admission: Admission,
        resources: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._operators = operators
        self._admission = admission
        self._login = login
        self._homeserver = homeserver
        self._machine = machine
        self._receiver = receiver
        self._rooms = rooms
        self._keyring = keyring
        self._resources = resources
        self._sending = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._master: str | None = None
        self._media = Media(homeserver)

    @classmethod
    async def open(
        cls,
        settings: MatrixSettings,
        *,
        access_token: str | None,
        password: str | None,
        pickle_key: bytes,
        operators: Operators,
        renew: bool = False,
    ) -> Self:
        """Restore the saved login, or make one, and see that its keys are the homeserver's.

        ``pickle_key`` (32 bytes) encrypts the store. Only a device that a pinned operator has
        signed gets keys from us. Nothing is tried twice. Raises any :class:`MatrixError`; nothing
        is open or locked then.
        """
        async with AsyncExitStack() as resources:
            lock = DirectoryLock(settings.store)
            resources.callback(lock.release)
            homeserver = Homeserver(settings.homeserver, proxy=settings.proxy)
            resources.push_async_callback(homeserver.close)
            login = await log_in(
                homeserver,
                user_id=settings.user_id,
                device_name=settings.device_name,
                file=settings.store / LOGIN_NAME,
                access_token=access_token,
                password=password,
                renew=renew,
            )
            rooms: dict[str, Room] = {}
            admission = Admission(settings.rooms, operators)
            machine = OlmMachine.open(settings.store, login, pickle_key, admits=admission.admits)
            resources.callback(machine.close)
            replay = ReplayGuard.open(settings.store / "replay.db")
            resources.callback(replay.close)
            receiver = Receiver(
                user_id=login.user_id,
                machine=machine,
                replay=replay,
                rooms=rooms,
                members=operators.members,
                hears=admission.hears,
            )
            keyring = Keyring(
                store=settings.store,
                login=login,
                homeserver=homeserver,
                machine=machine,
                rooms=rooms,
                master_key=operators.master_key,
            )
            await keyring.check_own()
            return cls(
                settings=settings,
                login=login,
                homeserver=homeserver,
                machine=machine,
                receiver=receiver,
                rooms=rooms,
                keyring=keyring,
                operators=operators,
                admission=admission,
                resources=resources.pop_all(),
            )

    async def close(self) -> None:
        """End everything and give the store back."""
        await self._resources.aclose()

    def admitting(self, user_id: str) -> AbstractContextManager[None]:
        """Take room keys of a user, who may encrypt a verification, for the length of a block."""
        return self._admission.guest(user_id)

    @property
    def device_id(self) -> str:
        """The agent's own device."""
        return self._login.device_id

    @property
    def ed25519(self) -> str:
        """The key of the agent's own device, as a client shows it."""
        return self._machine.ed25519

    @property
    def master(self) -> str | None:
        """The master key of the agent's own identity, None unless it vouches for this device."""
        return self._master

    @property
    def skew_ms(self) -> int | None:
        """How far the homeserver's clock is ahead of ours; None before the first answer."""
        return self._homeserver.skew.milliseconds

    def members(self, room_id: str) -> frozenset[str]:
        """Who is in a room, or invited to it, as far as is known; empty if the agent isn't."""
        room = self._rooms.get(room_id)
        return frozenset() if room is None else frozenset(room.members)

    def strangers(self, room_id: str) -> tuple[str, ...]:
        """Return the members of a room because of whom nothing is sent there."""
        room = self._rooms.get(room_id)
        expected = self._operators.members() | {self._login.user_id}
        return () if room is None else room.strangers(expected)

    # --- receiving ----------------------------------------------------------------------------

    async def batches(self, since: str | None) -> AsyncGenerator[Batch]:
        """Yield what happens from a saved token on, for ever.

        Ask for the next batch only when this one is stored. Waits out whatever may pass. Raises
        :class:`TokenRevoked`, :class:`Refused`, :class:`StoreDamaged` or :class:`StoreMismatch`,
        and can't go on then.
        """
        full_state, pauses, clock = True, waits(), asyncio.get_running_loop().time
        timeline_events = self._settings.timeline_events
        while True:
            asked = clock()
            try:
                answer = await sync.fetch(
                    self._homeserver,
                    user_id=self._login.user_id,
                    since=since,
                    full_state=full_state,
                    timeline_events=timeline_events,
                )
            except AnswerTooLarge as error:  # what it leaves out then is asked for in pages
                _log.warning("%s", error)
                timeline_events = max(1, timeline_events // 2)
                await asyncio.sleep(next(pauses))
                continue
            except Unreachable as error:  # an answer without a token
                _log.warning("%s", error)
                await asyncio.sleep(next(pauses))
                continue
            hurried = answer.token == since and not full_state and clock() - asked < HURRY_SECONDS
            updates, events = await self._whole(answer.rooms, since)
            self._machine.count_keys(
                one_time_keys=answer.one_time_keys, has_fallback_key=answer.has_fallback_key
            )
            self._keyring.changed(answer.changed_users)
            events += self._receiver.take_in(answer, updates)
            changed = self._operators.members() & set(answer.changed_users)
            events += [KeysChanged(user_id=user) for user in sorted(changed)]
            yield Batch(token=answer.token, events=tuple(events), initial=since is None)
            since, full_state = answer.token, False
            await self._keyring.keep()
            if hurried:
                pause = next(pauses)
                _log.warning("a sync came at once and moved nothing on; waiting %.1f s", pause)
                await asyncio.sleep(pause)
            else:
                pauses = waits()
            timeline_events = self._settings.timeline_events

    async def _whole(
        self, updates: tuple[sync.RoomUpdate, ...], since: str | None
    ) -> tuple[list[sync.RoomUpdate], list[Incoming]]:
        """Fetch what a sync answer left out of the configured rooms."""
        user_id = self._login.user_id
        whole: list[sync.RoomUpdate] = []
        missed: list[Incoming] = []
        until = asyncio.get_running_loop().time() + sync.GAP_SECONDS
        for update in updates:
            if update.room_id not in self._settings.rooms:
                continue
            filled, complete = update, since is None or not update.cut
            if update.gap_start is not None and since is not None and complete:
                filled, complete = await sync.fill_gap(
                    self._homeserver, update, user_id=user_id, since=since, until=until
                )
            if not complete:
                missed.append(Missed(room_id=update.room_id))
            whole.append(sync.after_own_join(filled, user_id))
        return whole, missed

    async def device_of(self, message: TextMessage) -> Device:
        """Return the device of the operator that a message came from; see Keyring.device_of.

        Raises :class:`IdentityError`, also while we don't know the room to be encrypted: its
        state was withheld then, since the message is.
        """
        room = self._rooms.get(message.room_id)  # after a start, messages may come before rooms
        known = self._machine.encrypted_rooms() if room is None else set[str]()
        if not (message.room_id in known if room is None else room.encrypted):
            raise IdentityError("the homeserver doesn't say that the room is encrypted")
        return await self._keyring.device_of(message)

    async def keys_of(self, user_id: str) -> JsonObject:
        """Ask for a user's keys anew; return the answer, which is for ``verify_identity``."""
        return await self._keyring.keys_of(user_id)

    async def account_keys(self) -> JsonObject:
        """Return what the homeserver says of the agent's own account, asked once."""
        return await query(self._homeserver, self._login.user_id)

    async def cross_sign(
        self, keys: CrossSigning, *, password: str | None, replacing: str | None = None
    ) -> None:
        """Give the account its identity and have it vouch for this device; see ``bootstrap``."""
        await bootstrap(
            self._homeserver,
            keys,
            user_id=self._login.user_id,
            device_id=self._login.device_id,
            device_key=self._machine.ed25519,
            device_sign=self._machine.sign,
            password=password,
            replacing=replacing,
        )
        self._master = keys.public_key(Use.MASTER)

    # --- sending ------------------------------------------------------------------------------

    async def send(
        self,
        room_id: str,
        content: JsonObject,
        txn_id: str,
        *,
        also: str | None = None,
        patient: bool = True,
    ) -> str:
        """Send an ``m.room.message``, encrypted, and return its event id.

        Also the member ``also`` may read this one message, pinned or not.

        The messages of a room are sent one at a time, in the order of the calls. Waits out whatever
        may pass; the homeserver takes the same ``txn_id`` once only. Not ``patient``, it tries once
        and raises :class:`Unreachable` or :class:`RateLimited`. Raises :class:`SendError` when it
        must not be sent (not in the room, not encrypted, strangers there, nobody who could read it,
        too large), :class:`Refused` or :class:`TokenRevoked`.
        """
        async with self._sending[room_id]:
            async with self._keyring.lock:
                await self._keyring.ready(self._sendable(room_id), also)
                room = self._sendable(room_id)  # somebody may have come in the meantime
                encrypted = self._machine.encrypt(room.room_id, "m.room.message", content)
            size = len(json.dumps(encrypted))
            if size > EVENT_BYTES:
                text = f"the message has {size} bytes, and the homeserver takes {EVENT_BYTES}"
                raise TooLarge(text, size=size, limit=EVENT_BYTES)
            ask = self._homeserver.request if patient else self._homeserver.once
            return await self._put(ask, room_id, "m.room.encrypted", encrypted, txn_id)

    async def send_verification(
        self, room_id: str, event_type: str, content: JsonObject, txn_id: str
    ) -> str:
        """Send an event of a verification and return its event id.

        It is the one kind of event that goes in the clear, as Element sends it: there is no secret
        in it, and who is to read it isn't trusted with a room key yet. Waits and raises as
        :meth:`send`, but for who else is in the room.
        """
        self._encrypted_room(room_id)
        if event_type == REQUEST_MSGTYPE:
            event_type = "m.room.message"
        ask = self._homeserver.request
        return await self._put(ask, room_id, event_type, content, txn_id)

    async def _put(
        self, ask: Ask, room_id: str, event_type: str, content: JsonObject, txn_id: str
    ) -> str:
        path = f"{CLIENT}/rooms/{quoted(room_id)}/send/{event_type}/{quoted(txn_id)}"
        try:
            answer = await ask("PUT", path, content)
        except Refused as error:
            if error.status != 413:
                raise
            text = "the homeserver takes no message as large as this"
            raise TooLarge(text, size=len(json.dumps(content)), limit=0) from error
        event_id = as_text(answer.get("event_id"))
        if not event_id:
            raise Unreachable("the homeserver's answer to a message has no event id")
        return event_id

    async def upload_limit(self) -> int | None:
        """Return how long a file the homeserver takes, in bytes; None if it doesn't say."""
        return await self._media.limit()

    async def upload(self, path: Path, name: str, *, offset: int, size: int) -> JsonObject:
        """Encrypt and upload part of a text; see :meth:`Media.upload`."""
        return await self._media.upload(path, name, offset=offset, size=size)

    async def request_key(self, message: Undecryptable) -> None:
        """Ask the sender's devices for the key of a message; raises as :meth:`Homeserver.once`.

        Only the device that made the key is believed when it gives it out again (I5).
        """
        content: JsonObject = {
            "action": "request",
            "body": {
                "algorithm": "m.megolm.v1.aes-sha2",
                "room_id": message.room_id,
                "session_id": message.session_id,
            },
            "request_id": message.session_id,
            "requesting_device_id": self._login.device_id,
        }
        await self._keyring.send_to_devices(
            ToDevice(event_type="m.room_key_request", messages={message.sender: {"*": content}})
        )

    async def invitations(self) -> dict[str, str]:
        """Return who invited the agent to each configured room that it has not joined."""
        rooms = [room_id for room_id in self._settings.rooms if room_id not in self._rooms]
        if not rooms:
            return {}
        return await sync.invitations(self._homeserver, rooms, self._login.user_id)

    async def join(self, room_id: str) -> None:
        """Accept an invitation; the room's messages come with the next batches."""
        await self._homeserver.request("POST", f"{CLIENT}/join/{quoted(room_id)}", {})

    def _encrypted_room(self, room_id: str) -> Room:
        room = self._rooms.get(room_id)
        if room is None:
            raise NotJoined(f"the agent is not in {room_id}")
        if not room.encrypted:
            raise Unencrypted(f"{room_id} is not encrypted: nothing is sent there")
        return room

    def _sendable(self, room_id: str) -> Room:
        """Return the room if something may be sent there now, else raise :class:`SendError`."""
        room = self._encrypted_room(room_id)
        strangers = self.strangers(room_id)
        if strangers:
            names = ", ".join(strangers[:3])
            raise Strangers(
                f"{room_id} has members that are no operators: {names}", users=strangers
            )
        return room
