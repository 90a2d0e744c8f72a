# SPDX-License-Identifier: MIT
"""One verification by emoji, from root's wish to its end: a state machine, a room, a console.

If the user has asked already, that is answered; otherwise the agent asks, in a room that both are
in. Whatever ends it is told on both sides: an event in the room, a line on the console.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast

from vodozemac import Sas

from tibet_nc_agent.airlock import Rules
from tibet_nc_agent.canonical import JsonObject, as_object
from tibet_nc_agent.console import (
    REASON_CHARACTERS,
    Asked,
    ConsoleError,
    Decision,
    Failed,
    Proved,
    Shown,
    Told,
    line,
    said,
)
from tibet_nc_agent.content import clip
from tibet_nc_agent.event import VerificationEvent
from tibet_nc_agent.identity import Identity, verify_identity
from tibet_nc_agent.matrix import Matrix
from tibet_nc_agent.matrix_errors import IdentityError, MatrixError, NotJoined
from tibet_nc_agent.sas import (
    REQUEST_MSGTYPE,
    Code,
    Compare,
    Effect,
    Ended,
    Handshake,
    Ours,
    Send,
    State,
    Verified,
)
from tibet_nc_agent.visible import one_line

VERIFICATION_SECONDS: Final = 600.0
"""How long a verification may take, people included; the specification's limit."""

JOIN_SECONDS: Final = 30.0
"""How long the homeserver may take to show us in a room that we have joined."""

GOODBYE_SECONDS: Final = 10.0
"""How long it may take to tell the room that a verification has taken too long."""

EVENTS: Final = 100
"""Most events that wait for a verification; an honest one has seven in all."""

MIDDLE: Final = frozenset({Code.COMMITMENT, Code.SAS, Code.KEY})
"""What a verification ends with when somebody is between the two."""

log: Final = logging.getLogger(__name__)


def is_request(event: VerificationEvent, user_id: str) -> bool:
    """Whether an event asks us to verify, and may still be answered."""
    now_ms = int(time.time() * 1000)
    fresh = abs(now_ms - event.sent_ms) <= VERIFICATION_SECONDS * 1000
    return event.event_type == REQUEST_MSGTYPE and event.content.get("to") == user_id and fresh


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where verifications take place, and how long one may take.

    ``alert`` records that somebody may be between the two: room, user, what was seen.
    """

    rules: Rules
    matrix: Matrix
    alert: Callable[[str, str, str], Awaitable[None]]
    seconds: float = VERIFICATION_SECONDS


class Verification:
    """The verification of ``user``, whom root has named at the other end of ``writer``.

    ``request`` is the user's own, if there is one that waits.
    """

    def __init__(
        self,
        scene: Scene,
        user: str,
        request: VerificationEvent | None,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.user: Final = user
        self._scene = scene
        self._handshake: Handshake | None = None
        self._request = request
        self._writer = writer
        self._inputs: asyncio.Queue[VerificationEvent | Decision | None] = asyncio.Queue(EVENTS)
        self._moved = asyncio.Event()
        self._room = ""

    def take(self, event: VerificationEvent) -> None:
        """Take an event of the user; too many are dropped, as the homeserver could have done."""
        with suppress(asyncio.QueueFull):
            self._inputs.put_nowait(event)

    def moved(self) -> None:
        """Note that the rooms may have changed."""
        self._moved.set()

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Verify, and tell the console how it ends; the console's end is the verification's."""
        log.info("%s is being verified", self.user)
        listening = asyncio.create_task(self._listen(reader))
        beginning = asyncio.create_task(self._begin())
        try:
            async with asyncio.timeout(self._scene.seconds):
                await asyncio.wait([listening, beginning], return_when=asyncio.FIRST_COMPLETED)
                if not beginning.done():
                    return  # root has left before anybody was asked
                handshake = await beginning
                while handshake.state not in {State.DONE, State.CANCELLED}:
                    await self._carry_out(self._step(handshake, await self._inputs.get()))
        except TimeoutError:
            with suppress(TimeoutError, MatrixError):  # the homeserver may be why
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await self._too_late()
        except MatrixError as error:
            await self._failed(str(error))
        finally:
            for task in (listening, beginning):
                task.cancel()
            await asyncio.wait([listening, beginning])

    async def _too_late(self) -> None:
        reason = f"it has taken longer than {self._scene.seconds:g} s"
        if self._handshake is None:
            await self._failed(f"the homeserver does not answer: {reason}")
        else:
            await self._carry_out(self._handshake.cancel(Code.TIMEOUT, reason))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Pass on what root decides, and the console's end."""
        with suppress(ConsoleError, ConnectionError, ValueError):  # too long a line is one
            while isinstance(word := said(await reader.readline()), Decision):
                await self._inputs.put(word)
        await self._inputs.put(None)

    # --- before -------------------------------------------------------------------------------

    async def _identity(self) -> Identity:
        answer = await self._scene.matrix.keys_of(self.user)
        return verify_identity(answer, self.user, pinned=None)

    async def _meeting(self) -> str:
        """Return a room that the user is in, too, after joining it if the user has invited us."""
        rules, matrix = self._scene.rules, self._scene.matrix
        rooms = sorted(rules.rooms, key=lambda room: (room != rules.dedicated_room, room))
        for room in rooms:
            if self.user in matrix.members(room):
                return room
        for room, sender in (await matrix.invitations()).items():
            if sender == self.user:
                await matrix.join(room)
                with suppress(TimeoutError):
                    async with asyncio.timeout(JOIN_SECONDS):
                        while self.user not in matrix.members(room):
                            self._moved.clear()
                            await self._moved.wait()
                return room
        raise NotJoined(
            f"{self.user} is in no room with the agent: have that account invite"
            f" {rules.user_id} to {rules.dedicated_room}"
        )

    def _between(self, theirs: Identity) -> Handshake:
        matrix = self._scene.matrix
        if matrix.master is None:
            raise IdentityError("the agent's own device is not cross-signed: see the agent's log")
        ours = Ours(
            user_id=self._scene.rules.user_id,
            device_id=matrix.device_id,
            ed25519=matrix.ed25519,
            master=matrix.master,
        )
        return Handshake(ours=ours, theirs=theirs, sas=Sas())

    # --- in the room --------------------------------------------------------------------------

    async def _begin(self) -> Handshake:
        """Answer the user's request, or make one."""
        handshake = self._handshake = self._between(await self._identity())
        if self._request is not None:
            self._room = self._request.room_id
            await self._tell(Asked(room=self._room, by_user=True))
            await self._carry_out(handshake.answer(self._request.event_id, _content(self._request)))
        else:
            self._room = await self._meeting()
            handshake.requested(await self._send(REQUEST_MSGTYPE, handshake.request()))
            await self._tell(Asked(room=self._room, by_user=False))
        return handshake

    def _step(
        self, handshake: Handshake, word: VerificationEvent | Decision | None
    ) -> list[Effect]:
        match word:
            case None:
                return handshake.cancel(Code.USER, "the host's console has gone away")
            case Decision(matches=matches):
                return handshake.decide(matches=matches)
            case VerificationEvent(room_id=room_id, event_type=event_type):
                content = _content(word)
                relation = as_object(content.get("m.relates_to"))
                if (room_id, relation.get("event_id")) != (self._room, handshake.transaction_id):
                    return []  # of another verification
                return handshake.receive(event_type, content)

    async def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(event_type=event_type, content=content):
                    await self._send(event_type, content)
                case Compare(emoji=emoji, decimals=decimals):
                    await self._tell(Shown(emoji=emoji, decimals=decimals))
                case Verified(master=master):
                    log.info("%s is verified", self.user)
                    await self._tell(Proved(master_key=master))
                case Ended(code=code, reason=reason, by_them=by_them):
                    who = self.user if by_them else "here"
                    told = await self._failed(f"cancelled by {who}: {reason} ({code})")
                    if code in MIDDLE:
                        await self._scene.alert(self._room, self.user, told)

    async def _send(self, event_type: str, content: JsonObject) -> str:
        return await self._scene.matrix.send_verification(
            self._room, event_type, content, secrets.token_hex(16)
        )

    # --- at the console -----------------------------------------------------------------------

    async def _failed(self, reason: str) -> str:
        text = clip(one_line(reason), REASON_CHARACTERS)
        log.warning("%s was not verified: %s", self.user, text)
        await self._tell(Failed(reason=text))
        return text

    async def _tell(self, news: Told) -> None:
        self._writer.write(line(news))
        with suppress(ConnectionError):  # its end is noticed where it is listened to
            await self._writer.drain()


def _content(event: VerificationEvent) -> JsonObject:
    """Return the content as what it was made from: JSON."""
    return cast("JsonObject", event.content)
