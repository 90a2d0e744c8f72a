# SPDX-License-Identifier: MIT
"""The running agent: batches come in, are stored, and are dealt with; until it is stopped.

The sync loop takes a batch, stores what wants an answer together with the sync token, and starts a
task for each message. It lets them have the homeserver to themselves for a moment, sees that all is
on disk, and asks for the next batch: no command, however long, keeps a message from being seen.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_agent.airlock import Ignored, Message, addressed
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.event import (
    Batch,
    Incoming,
    MemberAdded,
    Replayed,
    RoomReplaced,
    RoomUnencrypted,
    TextMessage,
    Undecryptable,
    Unreadable,
    VerificationEvent,
)
from tibet_nc_agent.exchange import Exchanges
from tibet_nc_agent.homeserver import LONGEST_WAIT_SECONDS
from tibet_nc_agent.inbox import InboxError, Item, Waiting
from tibet_nc_agent.lanes import Lanes
from tibet_nc_agent.news import News, NotVerified, Telling
from tibet_nc_agent.supervision import Supervisor
from tibet_nc_agent.units import counted
from tibet_nc_agent.verification import Scene
from tibet_nc_agent.verifier import Verifier
from tibet_nc_agent.watch import Watch

LULL_SECONDS: Final = 0.1
"""How long the next batch isn't asked for while a message of the last one may get its answer. A
homeserver tells of each event to all who wait for one, one after the other; an agent that doesn't
wait yet doesn't keep it from telling the operator."""

TELL_SECONDS: Final = 1.0
"""How often the service manager is told why the agent isn't ready: the executor is away."""

log: Final = logging.getLogger(__name__)

_MESSAGES: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message.__value__)
_ENCODER: Final = msgspec.json.Encoder()


_SAID_ANEW: Final = MemberAdded | RoomReplaced | RoomUnencrypted
"""What the first batch of a start says of a room, whether it is new or not."""


class _StoppedError(Exception):
    """The way out of the task group when the agent is asked to stop."""


class Service:
    """An agent that is logged in and has its parts together; :meth:`run` is its life."""

    def __init__(self, desk: Desk, supervisor: Supervisor, state: Path) -> None:
        self._desk = desk
        self._supervisor = supervisor
        watch = Watch(desk)
        self._lanes = Lanes()
        self._exchanges = Exchanges(desk, watch, self._lanes)
        self._news = News(desk, watch)
        self._verifier = Verifier(
            Scene(rules=desk.rules, matrix=desk.matrix, alert=self._news.not_verified), state
        )
        self._synced = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then finish what is being sent.

        Raises MatrixError, InboxError or StalledError when it can't go on, in an ExceptionGroup.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._desk.link.run(), name="executor link")
                group.create_task(self._sync(group), name="sync")
                group.create_task(self._supervise(), name="supervision")
                group.create_task(self._verifier.serve(), name="console")
                group.create_task(self._news.publish(), name="announcements")
                group.create_task(self._announce(), name="start")
                if self._desk.emitter is not None:
                    group.create_task(self._desk.emitter.run(), name="emission")
                group.create_task(self._stop(stop), name="stop")
        except* _StoppedError:
            pass

    async def _stop(self, stop: asyncio.Event) -> None:
        """End all other tasks, by an exception, when the agent is asked to stop.

        A command that runs is not waited for: it is asked about again at the next start.
        """
        await stop.wait()
        self._supervisor.stopping()
        log.info("stopping")
        await self._desk.outbox.settle()
        raise _StoppedError

    async def _sync(self, group: asyncio.TaskGroup) -> None:
        desk = self._desk
        pending = await desk.disk(desk.inbox.pending)
        notes = await desk.disk(desk.inbox.news)
        token = await desk.disk(lambda: desk.inbox.token)
        async for batch in desk.matrix.batches(token):
            for waiting in pending:  # nothing can be said in a room before there was a batch
                self._start(group, waiting)
            kept = [(self._news.noted(note), note) for note in notes]
            for event, note in kept:
                group.create_task(self._news.take(event, note))
            pending, notes = [], []
            started = await self._take(group, batch, [event for event, _ in kept])
            self._supervisor.moved()
            self._verifier.moved()
            if not self._synced.is_set():
                self._synced.set()
                group.create_task(self._news.follow_pins(), name="pins")
            if started:
                await asyncio.wait(started, timeout=LULL_SECONDS)
            await desk.disk(desk.inbox.secure)

    async def _take(
        self,
        group: asyncio.TaskGroup,
        batch: Batch,
        kept: Sequence[Incoming | NotVerified | Telling],
    ) -> list[asyncio.Task[None]]:
        """Store a batch, then start what it asks for; return that.

        News that were ``kept`` from before the start are not news when a room is told of anew.
        """
        desk, rules = self._desk, self._desk.rules
        items: list[Item] = []
        news: list[Incoming] = []
        for event in batch.events:
            if isinstance(event, VerificationEvent):
                self._verifier.take(event)
                continue
            message = addressed(event, rules)
            if isinstance(message, Ignored):
                if isinstance(event, _SAID_ANEW) and event in kept:
                    continue
                if message is Ignored.NEWS or _talk_in_plain_text(message, event):
                    news.append(event)
            elif batch.initial and _unreadable_past(message, rules.timebox_ms):
                log.info("ignored: %s is from before this login", message.event_id)
            else:
                items.append(item_of(message))
                if isinstance(message, Replayed):
                    news.append(message)
        notes = [self._news.note(event) for event in news]
        kept_now = [note for note in notes if note is not None]
        new = await desk.disk(desk.inbox.accept, batch.token, items, kept_now)
        for event, note in zip(news, notes, strict=True):
            group.create_task(self._news.take(event, note))
        return [self._start(group, Waiting(item=item, device=None)) for item in new]

    def _start(self, group: asyncio.TaskGroup, waiting: Waiting) -> asyncio.Task[None]:
        item = waiting.item
        try:
            message = _MESSAGES.decode(item.content)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise InboxError(f"{item.event_id} can't be read back: {error}") from None
        turn = self._lanes.turn(message.room_id, message.sender)
        return group.create_task(
            self._exchanges.handle(
                message, turn, device=waiting.device, provisional=item.provisional
            )
        )

    async def _announce(self) -> None:
        """Tell the service manager when both sides have answered."""
        link = self._desk.link
        while True:
            try:
                async with asyncio.timeout(TELL_SECONDS):
                    welcome = await link.wait_up()
                break
            except TimeoutError:
                self._supervisor.waiting(str(link.failure), seconds=LONGEST_WAIT_SECONDS)
        await self._synced.wait()
        serving = f"{welcome.host}, {counted(len(self._desk.rules.rooms), 'room')}"
        tested = ", ".join(self._desk.given_up) or "all walls hold"
        self._supervisor.ready(f"serving {serving}; self-test: {tested}")
        log.info("ready: %s", serving)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(self._supervisor.interval_s)
            self._supervisor.beat()


def item_of(message: Message) -> Item:
    """Return a message as the inbox keeps it."""
    return Item(
        room_id=message.room_id,
        event_id=message.event_id,
        content=_ENCODER.encode(message),
        provisional=isinstance(message, Undecryptable),
    )


def _talk_in_plain_text(why: Ignored, event: Incoming) -> bool:
    """Whether a message that is no command came in plain text; a command is refused for that."""
    return why is Ignored.TALK and isinstance(event, TextMessage) and not event.encrypted


def _unreadable_past(message: Message, timebox_ms: int) -> bool:
    """Whether a message of the first batch can't be for this login: old, and without a key."""
    old = message.sent_ms < int(time.time() * 1000) - timebox_ms
    return old and isinstance(message, Undecryptable | Unreadable)
