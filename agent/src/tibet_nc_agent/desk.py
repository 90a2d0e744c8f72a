# SPDX-License-Identifier: MIT
"""The parts that every message passes, and how the executor is asked with patience."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tibet_nc_agent.airlock import Message, Rules
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import Part, clip, in_thread, transaction
from tibet_nc_agent.disk import Disk
from tibet_nc_agent.emitter import Emitter
from tibet_nc_agent.executor_link import ExecutorLink
from tibet_nc_agent.inbox import Inbox
from tibet_nc_agent.link_error import LinkError
from tibet_nc_agent.matrix import Matrix
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.outbox import Outbox
from tibet_nc_agent.progress import Pace
from tibet_nc_agent.render import REASON_CHARACTERS, Answerer
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.messages import Alert, Denied, Recorded, Request, Response

SILENT_SECONDS: Final = 5.0
"""How long the executor may be away before the room is told."""

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The parts that every message passes; ``given_up`` are the walls that the agent lacks."""

    rules: Rules
    operators: Operators
    matrix: Matrix
    link: ExecutorLink
    inbox: Inbox
    disk: Disk
    outbox: Outbox
    answerer: Answerer
    spool: Path
    given_up: tuple[str, ...]
    listening_since_ms: int
    emitter: Emitter | None = None
    pace: Pace = field(default_factory=Pace)
    up_since_s: float = field(default_factory=time.monotonic)
    """By a clock that nobody sets."""
    _told: set[str] = field(default_factory=set)

    async def executor_up(self, room_id: str) -> None:
        """Wait until the executor can be asked; tell the room, once, if that takes long."""
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                await self.link.wait_up()
        except TimeoutError:
            if room_id not in self._told:
                self._told.add(room_id)
                await self._tell_down(room_id)
            await self.link.wait_up()
        self._told.discard(room_id)

    async def insist[R: Response](
        self, room_id: str, make: Callable[[int], Request], kind: type[R]
    ) -> R | Denied:
        """Ask the executor until it answers; only for what may be asked twice."""
        while True:
            await self.executor_up(room_id)
            try:
                return await self.link.ask(make, kind)
            except LinkError as error:
                log.info("asking again: %s", error)

    async def alert(
        self,
        what: str,
        detail: str,
        *,
        room: str | None = None,
        sender: str | None = None,
        event: str | None = None,
    ) -> Recorded | Denied:
        """Have the executor record what an auditor must know of; a refusal of that is logged."""
        recorded = await self.insist(
            room or self.rules.dedicated_room,
            lambda number: Alert(
                request=number,
                what=what,
                detail=detail[:TEXT_CHARACTERS],
                room=room,
                event=event,
                sender=sender,
            ),
            Recorded,
        )
        if isinstance(recorded, Denied):
            log.error("an alert could not be recorded: %s", recorded.reason)
        return recorded

    async def _tell_down(self, room_id: str) -> None:
        seconds = self.rules.timebox_ms / 1000
        notice = self.answerer.told(
            None,
            Part(
                "the executor does not answer: "
                f"{clip(one_line(str(self.link.failure)), REASON_CHARACTERS)}"
            ),
            Part(
                "what you sent waits and was not run yet; "
                f"what is older than {seconds:g} s by then will be refused, not run"
            ),
            final=False,
        )
        await self.outbox.mention(room_id, notice, secrets.token_hex(16))


def log_decision(message: Message, decision: str) -> None:
    """Write the one line of a decision: who, where, which event; never what it said (I10)."""
    log.info("%s %s %s: %s", message.room_id, message.sender, message.event_id, decision)


async def deliver(
    desk: Desk, message: Message, what: str, content: JsonObject, *, shortest: bool = False
) -> None:
    """Send a message about a message; exactly once, however often it is tried (I4).

    See :meth:`Outbox.deliver`.
    """
    txn_id = _transaction(message, what)
    content = _beside(message, content)
    await desk.outbox.deliver(message.room_id, content, txn_id, shortest=shortest)


async def mention(
    desk: Desk, message: Message, what: str, content: JsonObject, *, also: str | None = None
) -> str | None:
    """Send a message about a message that nobody depends on; see :meth:`Outbox.mention`."""
    txn_id = _transaction(message, what)
    return await desk.outbox.mention(message.room_id, _beside(message, content), txn_id, also=also)


def _beside(message: Message, content: JsonObject) -> JsonObject:
    """Return what is said about a message as it is said in the same thread."""
    return content if message.thread is None else in_thread(content, message.thread)


def _transaction(message: Message, what: str) -> str:
    """Return the transaction id of the one message of this kind about a message."""
    return transaction(message.room_id, message.event_id, what)
