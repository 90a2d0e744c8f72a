# SPDX-License-Identifier: MIT
"""What happens in the rooms beside messages: who comes and goes, what is missing, who invites.

An auditor must know of the parts that touch who may read or command, so those go into the chain.
They wait in the inbox until the executor has recorded them; what it doesn't take, the next start
of the agent asks for again. What the room is to be told of one waits there then, and is told under
one transaction id, so that it comes once.
"""

import asyncio
import logging
import secrets
from typing import Final

import msgspec

from tibet_nc_agent import reports
from tibet_nc_agent.content import Part
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.event import (
    Incoming,
    Invite,
    KeysChanged,
    MemberAdded,
    MemberRemoved,
    Missed,
    Replayed,
    RoomReplaced,
    RoomUnencrypted,
    TextMessage,
)
from tibet_nc_agent.inbox import InboxError, Note
from tibet_nc_agent.matrix_errors import RateLimited, Refused, SendError, Unreachable
from tibet_nc_agent.operators import Standing
from tibet_nc_agent.visible import one_line
from tibet_nc_agent.watch import Watch
from tibet_nc_protocol.messages import Announcement, Recorded, SessionNotice
from tibet_nc_protocol.pins import Pins

PINS_SECONDS: Final = 2.0
"""How often the operators' file is looked at while nobody commands: invitations wait for it."""

_MAY: Final = {
    Standing.OPERATOR: "may command, from devices that the pinned identity has signed",
    Standing.PAUSED: "is paused, commands nothing and reads nothing",
    Standing.READER: "may read, and commands nothing",
    Standing.UNPINNED: "is not pinned on this host, commands nothing and reads nothing",
    Standing.STRANGER: "is no operator of this host",
}

log: Final = logging.getLogger(__name__)


class NotVerified(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A verification ended as it does when somebody is in between."""

    room_id: str
    user_id: str
    detail: str


class Telling(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a room is to be told of a piece of news that is recorded."""

    room_id: str
    lines: tuple[str, ...]


type _Noted = (
    MemberAdded
    | MemberRemoved
    | Missed
    | NotVerified
    | Replayed
    | RoomReplaced
    | RoomUnencrypted
    | Telling
    | TextMessage
)

_NOTED: Final[msgspec.json.Decoder[_Noted]] = msgspec.json.Decoder(_Noted.__value__)


class News:
    """Takes note of one piece of news after the other."""

    def __init__(self, desk: Desk, watch: Watch) -> None:
        self._desk = desk
        self._watch = watch
        self._joining: set[str] = set()
        self._plain_in: set[str] = set()

    def note(self, event: Incoming | NotVerified) -> Note | None:
        """Return what is to be kept of a piece of news until it is recorded, None if nothing.

        Of what is said in plain text, it is the first of a room, without its text.
        """
        match event:
            case TextMessage(room_id=room_id, origin=None):
                if room_id in self._plain_in:
                    return None
                self._plain_in.add(room_id)
                event = msgspec.structs.replace(event, body="")
            case MemberAdded(invited=invited, user_id=user):
                ours = user == self._desk.rules.user_id
                if (invited or ours) and not self._is_stranger(user):
                    return None
            case MemberRemoved(user_id=user):
                if user != self._desk.rules.user_id:
                    return None
            case Missed() | NotVerified() | Replayed() | RoomReplaced() | RoomUnencrypted():
                pass
            case _:
                return None
        return _note(event)

    def noted(self, note: Note) -> Incoming | NotVerified | Telling:
        """Return the news in a note of an agent before this one; raises InboxError."""
        try:
            event = _NOTED.decode(note.content)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise InboxError(f"a piece of news can't be read back: {error}") from None
        if isinstance(event, TextMessage):
            self._plain_in.add(event.room_id)
        return event

    async def take(self, event: Incoming | NotVerified | Telling, note: Note | None) -> None:
        """Do what a piece of news asks for; raises TokenRevoked and InboxError.

        What it asks to be recorded is kept in ``note`` until it is.
        """
        rules = self._desk.rules
        match event:
            case Invite(room_id=room_id, sender=sender):
                await self._invited(room_id, sender)
            case MemberAdded(room_id=room_id, user_id=user) if self._is_stranger(user):
                log.warning("%s: %s is no operator; nothing is sent there", room_id, user)
                what = "was invited" if event.invited else "joined"
                await self._record(note, "stranger", f"{what}: {user}", room=room_id, sender=user)
            case MemberAdded(room_id=room_id, user_id=user, invited=False) if user != rules.user_id:
                await self._arrived(note, room_id, user)
            case TextMessage(origin=None) if note is not None:
                await self._plain(note, event)
            case MemberRemoved(room_id=room_id, user_id=user) if user == rules.user_id:
                log.error("%s: the agent is no longer in this room", room_id)
                await self._record(
                    note, "left", "the agent is no longer in this room", room=room_id
                )
            case RoomUnencrypted(room_id=room_id):
                log.error("%s is not encrypted: nothing runs and nothing is sent there", room_id)
                await self._record(note, "unencrypted", "the room is not encrypted", room=room_id)
            case RoomReplaced(room_id=room_id):
                new = one_line(event.replacement)
                log.error("%s was upgraded: set %s in its place in both settings", room_id, new)
                await self._record(note, "upgraded", f"its place has {new}", room=room_id)
            case KeysChanged(user_id=user):
                await self._watch.look_at(user)
            case Missed(room_id=room_id):
                await self._missed(note, room_id)
            case Replayed(room_id=room_id, event_id=event_id, sender=sender):
                first = one_line(event.first_event_id)  # as the homeserver named it
                log.error("%s: %s is a replay of %s", room_id, event_id, first)
                await self._record(
                    note,
                    "replay",
                    f"the ciphertext of {first} came again",
                    room=room_id,
                    sender=sender,
                    event=event_id,
                )
            case Telling() if note is not None:
                await self._tell(event, note)
            case NotVerified(room_id=room_id, user_id=user):
                await self._record(note, "verification", event.detail, room=room_id, sender=user)
            case _ if note is not None:  # of somebody who may be here by now
                await self._desk.disk(self._desk.inbox.recorded, note)
            case _:
                pass

    async def publish(self) -> None:
        """Tell what the executor announces, for ever; raises TokenRevoked.

        A session that ends is told in its room. A checkpoint goes into the dedicated room: whoever
        can read that then holds a head of the chain that the host can't take back (I8). One that
        can't be sent is not kept, and one that waits isn't sent if there is a newer one, which
        covers it.
        """
        desk = self._desk
        while True:
            announced = [await desk.link.announcements.get()]
            while not desk.link.announcements.empty():  # of the time when nothing could be sent
                announced.append(desk.link.announcements.get_nowait())
            for ended in announced:
                if isinstance(ended, SessionNotice) and ended.room in desk.rules.rooms:
                    notice = desk.answerer.told(None, *reports.session(ended), final=False)
                    await desk.outbox.mention(ended.room, notice, secrets.token_hex(16))
            for newest in [each for each in announced if isinstance(each, Announcement)][-1:]:
                content = desk.answerer.told(None, *reports.checkpoint(newest), final=False)
                await desk.outbox.mention(desk.rules.dedicated_room, content, newest.root)

    async def join_invited(self) -> None:
        """Join the configured rooms that an operator has invited the agent to.

        Raises TokenRevoked.
        """
        try:
            invitations = await self._desk.matrix.invitations()
        except (Refused, Unreachable, RateLimited) as error:
            log.warning("invitations can't be asked for: %s", error)
            return
        async with asyncio.TaskGroup() as group:  # a room's own server may be away
            for room_id, sender in invitations.items():
                group.create_task(self._invited(room_id, sender))

    async def follow_pins(self) -> None:
        """Act on the pins as they are and on each change, for ever; raises TokenRevoked."""
        operators = self._desk.operators
        known: Pins | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                pins = operators.pins()
                if pins != known:
                    log.info("operators: %s", ", ".join(pins) or "nobody is pinned")
                    group.create_task(self.join_invited())
                    for user_id, pin in pins.items():
                        if known is None or pin != known.get(user_id):
                            group.create_task(self._watch.look_at(user_id))
                    known = pins
                await asyncio.sleep(PINS_SECONDS)

    def _is_stranger(self, user_id: str) -> bool:
        return user_id != self._desk.rules.user_id and user_id not in self._desk.operators.members()

    async def _record(
        self,
        note: Note | None,
        what: str,
        detail: str,
        *,
        room: str,
        sender: str | None = None,
        event: str | None = None,
        lines: tuple[str, ...] = (),
    ) -> None:
        """Have the executor record a piece of news, forget it then, and tell the room the lines."""
        desk = self._desk
        telling = Telling(room_id=room, lines=lines)
        untold = _note(telling) if lines else None
        answer = await desk.alert(what, detail, room=room, sender=sender, event=event)
        if note is not None and isinstance(answer, Recorded):
            await desk.disk(desk.inbox.recorded, note, untold)
        if untold is not None:
            await self._tell(telling, untold)

    async def _arrived(self, note: Note | None, room_id: str, user_id: str) -> None:
        """Tell that somebody has come who may be here."""
        standing = self._desk.operators.standing(user_id)
        log.info("%s: %s joined (%s)", room_id, user_id, standing.value)
        here = f"{one_line(user_id)} is here now: {_MAY[standing]}"
        await self._record(
            note, "member", f"joined: {user_id}", room=room_id, sender=user_id, lines=(here,)
        )

    async def _plain(self, note: Note, message: TextMessage) -> None:
        """Tell that something was said in plain text where all is encrypted."""
        room_id = message.room_id
        log.error("%s: %s was not encrypted", room_id, message.event_id)
        await self._record(
            note,
            "plaintext",
            "a message in an encrypted room was not encrypted",
            room=room_id,
            event=message.event_id,
            sender=message.sender,
            lines=(
                f"a message in the name of {one_line(message.sender)} was not encrypted: the "
                "homeserver can have made it up; such a message is never run",
            ),
        )

    async def _tell(self, telling: Telling, note: Note) -> None:
        """Tell a room once, and forget that it is to be told."""
        desk = self._desk
        notice = desk.answerer.told(None, *map(Part, telling.lines), final=False)
        await desk.outbox.mention(telling.room_id, notice, note.key)
        await desk.disk(desk.inbox.recorded, note)

    async def not_verified(self, room_id: str, user_id: str, detail: str) -> None:
        """Record that a verification ended as it does when somebody is in between."""
        event = NotVerified(room_id=room_id, user_id=user_id, detail=detail)
        note = self.note(event)
        if note is not None:
            await self._desk.disk(self._desk.inbox.note, note)
        await self.take(event, note)

    async def _invited(self, room_id: str, sender: str) -> None:
        if room_id not in self._desk.rules.rooms:
            log.warning(
                "ignored: an invitation to %s by %s: matrix.rooms doesn't name it", room_id, sender
            )
        elif self._desk.operators.standing(sender) is not Standing.OPERATOR:
            log.warning(
                "an invitation to %s by %s waits: who invites must be pinned"
                " (on the host, as root: tibet-nc-agent trust %s)",
                room_id,
                sender,
                sender,
            )
        elif room_id not in self._joining:
            await self._join(room_id)

    async def _join(self, room_id: str) -> None:
        self._joining.add(room_id)  # one invitation is told by the sync and found by asking
        try:
            await self._desk.matrix.join(room_id)
        except (SendError, Refused, Unreachable) as error:
            log.warning("%s can't be joined (invite the agent there): %s", room_id, error)
        else:
            log.info("joined %s", room_id)
        finally:
            self._joining.discard(room_id)

    async def _missed(self, note: Note | None, room_id: str) -> None:
        log.error("%s: the homeserver left messages out; they were not seen", room_id)
        await self._record(
            note,
            "gap",
            "the homeserver left messages out",
            room=room_id,
            lines=(
                "the homeserver left messages out, and no command in them was run",
                "next: whatever has no answer by now, send it again",
            ),
        )


def _note(event: Incoming | NotVerified | Telling) -> Note:
    return Note(key=secrets.token_hex(16), content=msgspec.json.encode(event))
