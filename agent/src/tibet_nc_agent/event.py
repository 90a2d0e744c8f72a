# SPDX-License-Identifier: MIT
"""What the homeserver tells the agent, as our own values, and how a message becomes one.

Everything in an event but the decrypted payload is the homeserver's word: event id, sender, time,
device, and every relation in the clear. What a value of ours says about encryption, the sender's
key and the ciphertext was established by decrypting.

A message may be in a ``thread``, named by the message that it began with. That is in the clear, and
so is the relation of the answer: who could tell us a wrong one could as well show it elsewhere.
"""

import re
from typing import Final

import msgspec

from tibet_nc_agent.canonical import JsonObject, as_count, as_object, as_text, whole
from tibet_nc_protocol.terms import Digest, EventId, RoomId, UserId


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them have in common: they don't change."""


class Origin(_Value, frozen=True, kw_only=True):
    """What decrypting a message showed: whose session it was, and which message of it.

    ``sender_key`` is the Curve25519 key of the device that shared the session; ``ciphertext``
    names this one message (SHA-256 over sender key, session id and message index).
    """

    sender_key: str
    session_id: str
    ciphertext: Digest


class TextMessage(_Value, frozen=True, kw_only=True, tag=True):
    """An ``m.text`` message.

    ``origin`` is None for one that was sent in plain text. ``device_id`` is a claim in the clear.
    ``body`` is without what a reply quotes. ``is_edit`` is set if it replaces another. Times are in
    milliseconds, by the homeserver's clock: ``sent_ms`` since 1970, ``age_ms`` since it was sent.
    """

    room_id: RoomId
    event_id: EventId
    sender: UserId
    sent_ms: int
    age_ms: int | None
    body: str
    is_edit: bool
    device_id: str | None
    origin: Origin | None
    thread: EventId | None = None

    @property
    def encrypted(self) -> bool:
        """Whether it was encrypted."""
        return self.origin is not None


class Undecryptable(_Value, frozen=True, kw_only=True, tag=True):
    """An encrypted message whose session key hasn't come; it comes again if the key does."""

    room_id: RoomId
    event_id: EventId
    sender: UserId
    sent_ms: int
    age_ms: int | None
    session_id: str
    thread: EventId | None = None


class Unreadable(_Value, frozen=True, kw_only=True, tag=True):
    """A message that can't be one of an honest client; ``reason`` says what is wrong with it."""

    room_id: RoomId
    event_id: EventId
    sender: UserId
    sent_ms: int
    age_ms: int | None
    reason: str
    thread: EventId | None = None


class Replayed(_Value, frozen=True, kw_only=True, tag=True):
    """A ciphertext that was seen before, in the event ``first_event_id``."""

    room_id: RoomId
    event_id: EventId
    sender: UserId
    sent_ms: int
    age_ms: int | None
    first_event_id: str
    thread: EventId | None = None


class VerificationEvent(_Value, frozen=True, kw_only=True, tag=True):
    """An event of a verification by emoji, encrypted or not: the verification itself proves it.

    ``content`` is JSON. The event that asks for one is a room message, and has its type here.
    """

    room_id: RoomId
    event_id: EventId
    sender: UserId
    sent_ms: int
    age_ms: int | None
    event_type: str
    content: dict[str, object]


class Invite(_Value, frozen=True, kw_only=True, tag=True):
    """An invitation to any room; ``sender`` is who the homeserver says it comes from."""

    room_id: RoomId
    sender: UserId


class MemberAdded(_Value, frozen=True, kw_only=True, tag=True):
    """Somebody has joined a configured room, or was invited to it (and may read it then).

    After a start it comes for every member that isn't allowed to be there.
    """

    room_id: RoomId
    user_id: UserId
    invited: bool


class MemberRemoved(_Value, frozen=True, kw_only=True, tag=True):
    """Somebody is no longer in a configured room; it may be the agent itself."""

    room_id: RoomId
    user_id: UserId


class RoomUnencrypted(_Value, frozen=True, kw_only=True, tag=True):
    """A configured room is not encrypted: nothing can be sent to it."""

    room_id: RoomId


class RoomReplaced(_Value, frozen=True, kw_only=True, tag=True):
    """A configured room was upgraded: another one has its place, as its state says."""

    room_id: RoomId
    replacement: str


class KeysChanged(_Value, frozen=True, kw_only=True, tag=True):
    """The homeserver says that the keys of a user who may be in our rooms have changed."""

    user_id: UserId


class Missed(_Value, frozen=True, kw_only=True, tag=True):
    """There are messages in a configured room that the homeserver didn't give out again."""

    room_id: RoomId


type Incoming = (
    TextMessage
    | Undecryptable
    | Unreadable
    | Replayed
    | VerificationEvent
    | Invite
    | MemberAdded
    | MemberRemoved
    | RoomUnencrypted
    | RoomReplaced
    | KeysChanged
    | Missed
)


class Batch(_Value, frozen=True, kw_only=True):
    """What one sync brought, oldest first; ``token`` may be saved once all of it is durable.

    ``initial`` is set for the first batch of a login: its messages may be old.
    """

    token: str
    events: tuple[Incoming, ...]
    initial: bool


_QUOTATION: Final = re.compile(r"\A> <@[^\n]*\n(?:> [^\n]*\n)*\n")
"""What older clients put before a reply (Client-Server API v1.12, §Fallbacks for rich replies).

To a shell ``> <`` is a syntax error. So a homeserver that adds the relation, or takes it away, as
it stands in the clear, makes no command that could run into another one.
"""

VERIFICATION_PREFIX: Final = "m.key.verification."


class Malformed(Exception):  # noqa: N818 - a state of an event, not a failure of ours
    """The envelope of an event has no usable id, sender or time."""


def text_message(
    room_id: str, event: JsonObject, payload: JsonObject, origin: Origin | None
) -> TextMessage | Unreadable | None:
    """Return the message in an event, or None if it holds no ``m.text`` message.

    ``payload`` is the decrypted event, or ``event`` itself if it was sent in plain text. Raises
    :class:`Malformed`.
    """
    content = as_object(payload.get("content"))
    if payload.get("type") != "m.room.message" or content.get("msgtype") != "m.text":
        return None
    if not isinstance(content.get("body"), str):
        return unreadable(room_id, event, "the message has no text")
    outer = as_object(event.get("content"))
    body = whole(as_text(content.get("body")))
    if _replies(outer) or _replies(content):
        body = _QUOTATION.sub("", body, count=1)
    return _made(
        TextMessage,
        room_id,
        event,
        body=body,
        is_edit=_replaces(outer) or _replaces(content) or "m.new_content" in content,
        device_id=as_text(outer.get("device_id")) or None,
        origin=origin,
        thread=_thread(event),
    )


def verification_event(
    room_id: str, event: JsonObject, payload: JsonObject
) -> VerificationEvent | None:
    """Return the event of a verification in an event, or None if it holds none.

    ``payload`` is the decrypted event, or ``event`` itself; what an event relates to is always in
    the clear. Raises :class:`Malformed`.
    """
    content = as_object(payload.get("content"))
    event_type = as_text(payload.get("type"))
    if event_type == "m.room.message":
        event_type = as_text(content.get("msgtype"))
    if not event_type.startswith(VERIFICATION_PREFIX):
        return None
    outer = as_object(event.get("content"))
    if "m.relates_to" in outer:
        content = {**content, "m.relates_to": outer["m.relates_to"]}
    return _made(VerificationEvent, room_id, event, event_type=event_type, content=content)


def undecryptable(room_id: str, event: JsonObject) -> Undecryptable:
    """Return the value for an event whose key is missing. Raises :class:`Malformed`."""
    session_id = as_text(as_object(event.get("content")).get("session_id"))
    return _made(Undecryptable, room_id, event, session_id=session_id, thread=_thread(event))


def unreadable(room_id: str, event: JsonObject, reason: str) -> Unreadable:
    """Return the value for an event that no honest client sends. Raises :class:`Malformed`."""
    return _made(Unreadable, room_id, event, reason=reason, thread=_thread(event))


def replayed(room_id: str, event: JsonObject, first_event_id: str) -> Replayed:
    """Return the value for a ciphertext that came before. Raises :class:`Malformed`."""
    thread = _thread(event)
    return _made(Replayed, room_id, event, first_event_id=first_event_id, thread=thread)


def checked[T](kind: type[T], **fields: object) -> T:
    """Return a value of ``kind`` with its identifiers checked. Raises :class:`Malformed`."""
    try:
        return msgspec.convert(fields, kind, strict=True)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error


def _made[T](kind: type[T], room_id: str, event: JsonObject, **fields: object) -> T:
    sent_ms = as_count(event.get("origin_server_ts"))
    age = as_object(event.get("unsigned")).get("age")
    return checked(
        kind,
        room_id=room_id,
        event_id=event.get("event_id"),
        sender=event.get("sender"),
        sent_ms=sent_ms,
        age_ms=as_count(age),
        **fields,
    )


def _thread(event: JsonObject) -> str | None:
    relation = as_object(as_object(event.get("content")).get("m.relates_to"))
    if relation.get("rel_type") != "m.thread":
        return None
    try:
        return msgspec.convert(relation.get("event_id"), EventId)
    except msgspec.ValidationError:
        return None


def _replies(content: JsonObject) -> bool:
    return "m.in_reply_to" in as_object(content.get("m.relates_to"))


def _replaces(content: JsonObject) -> bool:
    return as_object(content.get("m.relates_to")).get("rel_type") == "m.replace"
