# SPDX-License-Identifier: MIT
"""What a sync answer means to the agent: decrypted messages, members, invitations; no network.

Keys are taken in first, then the rooms in the order of their events, then messages that waited
for a key. Everything that a later batch relies on is on disk when :meth:`Receiver.take_in`
returns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from tibet_nc_agent.canonical import JsonObject, as_object, as_text
from tibet_nc_agent.event import (
    Incoming,
    Invite,
    Malformed,
    MemberAdded,
    MemberRemoved,
    Origin,
    RoomReplaced,
    RoomUnencrypted,
    checked,
    replayed,
    text_message,
    undecryptable,
    unreadable,
    verification_event,
)
from tibet_nc_agent.extract import OVERSIZED, cost
from tibet_nc_agent.olm import OlmMachine
from tibet_nc_agent.olm_messages import KeyMissing, NotReadable
from tibet_nc_agent.replay import ReplayGuard, ciphertext_digest
from tibet_nc_agent.rooms import Room
from tibet_nc_agent.sync import RoomUpdate, Sync

PENDING_EVENTS: Final = 1_000
"""Most undecryptable messages that wait for a key; an older one is refused, to be sent again."""

PENDING_COST: Final = 8 * 1024 * 1024
"""Most memory that they take, in bytes."""

SESSION_ID_CHARACTERS: Final = 255
"""Longer than the id of a session may be: those are keys, of 43 characters."""


class Receiver:
    """Takes sync answers in; it keeps ``rooms``, the configured rooms that the agent is in.

    ``members`` tells who may be there beside the agent, ``hears`` from whom room keys are taken.
    """

    def __init__(
        self,
        *,
        user_id: str,
        machine: OlmMachine,
        replay: ReplayGuard,
        rooms: dict[str, Room],
        members: Callable[[], frozenset[str]],
        hears: Callable[[str], bool],
    ) -> None:
        self._user_id = user_id
        self._members = members
        self._hears = hears
        self._machine = machine
        self._replay = replay
        self._rooms = rooms
        self._pending: dict[str, tuple[str, JsonObject]] = {}
        self._pending_cost = 0

    def take_in(self, answer: Sync, updates: Iterable[RoomUpdate]) -> list[Incoming]:
        """Apply an answer, with ``updates`` in place of its own rooms; return what it means.

        Raises :class:`StoreDamaged` when it can't be made durable.
        """
        events: list[Incoming] = []
        # What strangers send to the device is of no use, and each first message would be a session.
        heard = [event for event in answer.to_device if self._hears(as_text(event.get("sender")))]
        if heard:
            self._machine.receive(heard)
        invited = [room_id for room_id, _ in answer.invites]  # who is invited anew was removed
        events.extend(
            MemberRemoved(room_id=room_id, user_id=self._user_id)
            for room_id in (*answer.left, *invited)
            if self._rooms.pop(room_id, None) is not None
        )
        events.extend(_invitations(answer.invites))
        for update in updates:
            events.extend(self._room(update))
        if heard:  # only then can a key have come
            events.extend(self._retry())
        self._replay.commit()
        return events

    def _room(self, update: RoomUpdate) -> Iterator[Incoming]:
        room = self._rooms.get(update.room_id)
        first = room is None
        if room is None:
            known = update.room_id in self._machine.encrypted_rooms()
            room = self._rooms[update.room_id] = Room(update.room_id, encrypted=known)
        was_encrypted, replaced = room.encrypted, room.replacement
        before = dict(room.members)
        room.apply(update.state)
        for event in update.timeline:
            if "state_key" in event:
                room.apply([event])
            elif event.get("sender") != self._user_id:
                with suppress(Malformed):  # without an id there is nothing to answer
                    yield from self._message(room.room_id, event)
        if room.encrypted and not was_encrypted:
            self._machine.remember_encrypted(room.room_id)
        if first and not room.encrypted:
            yield RoomUnencrypted(room_id=room.room_id)
        if room.replacement is not None and room.replacement != replaced:
            yield RoomReplaced(room_id=room.room_id, replacement=room.replacement)
        if room.members.keys() != before.keys():
            self._machine.discard_room_key(room.room_id)
        if first:  # what changed while we were away isn't known, but who shouldn't be there is
            expected = self._members() | {self._user_id}
            before = {user: room.members[user] for user in room.members.keys() & expected}
        yield from _member_changes(room, before)

    def _retry(self) -> Iterator[Incoming]:
        for event_id, (room_id, event) in list(self._pending.items()):
            session_id = as_text(as_object(event.get("content")).get("session_id"))
            if self._machine.has_session(room_id, session_id):
                self._forget(event_id)
                yield from self._message(room_id, event)

    def _message(self, room_id: str, event: JsonObject) -> Iterator[Incoming]:
        """Yield what a room event means: nothing, or one value."""
        message: Incoming | None = verification_event(room_id, event, event)
        if OVERSIZED in event:
            if event.get("type") in {"m.room.encrypted", "m.room.message"}:
                message = unreadable(room_id, event, "the message is larger than any may be")
        elif event.get("type") == "m.room.encrypted" and event.get("content"):  # not redacted
            message = self._decrypted(room_id, event)
        elif message is None:
            message = text_message(room_id, event, event, None)
        if message is not None:
            yield message

    def _keep(self, event_id: str, room_id: str, event: JsonObject) -> None:
        """Keep a message until its key comes, in the place of the oldest ones if need be."""
        self._forget(event_id)
        self._pending[event_id] = (room_id, event)
        self._pending_cost += cost(event)
        while len(self._pending) > PENDING_EVENTS or self._pending_cost > PENDING_COST:
            self._forget(next(iter(self._pending)))

    def _forget(self, event_id: str) -> None:
        if event_id in self._pending:
            self._pending_cost -= cost(self._pending.pop(event_id)[1])

    def _decrypted(self, room_id: str, event: JsonObject) -> Incoming | None:
        event_id = as_text(event.get("event_id"))
        try:
            opened = self._machine.decrypt(room_id, event)
        except KeyMissing:
            waiting = undecryptable(room_id, event)
            if len(waiting.session_id) > SESSION_ID_CHARACTERS:
                return unreadable(room_id, event, "the message names no session")
            self._keep(event_id, room_id, event)
            return waiting
        except NotReadable as error:
            return unreadable(room_id, event, str(error))
        ciphertext = ciphertext_digest(opened.sender_key, opened.session_id, opened.index)
        first_event_id = self._replay.first_event(ciphertext, event_id)
        if first_event_id != event_id:
            return replayed(room_id, event, first_event_id)
        verification = verification_event(room_id, event, opened.payload)
        if verification is not None:
            return verification
        origin = Origin(
            sender_key=opened.sender_key, session_id=opened.session_id, ciphertext=ciphertext
        )
        return text_message(room_id, event, opened.payload, origin)


def _invitations(invites: Iterable[tuple[str, str]]) -> Iterator[Incoming]:
    for room_id, sender in invites:
        with suppress(Malformed):
            yield checked(Invite, room_id=room_id, sender=sender)


def _member_changes(room: Room, before: Mapping[str, bool]) -> Iterator[Incoming]:
    for user, invited in room.members.items():
        if before.get(user) != invited:
            with suppress(Malformed):
                yield checked(MemberAdded, room_id=room.room_id, user_id=user, invited=invited)
    for user in sorted(before.keys() - room.members.keys()):
        with suppress(Malformed):
            yield checked(MemberRemoved, room_id=room.room_id, user_id=user)
