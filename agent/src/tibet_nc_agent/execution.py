# SPDX-License-Identifier: MIT
"""One command: asked for, once, and its result made an answer (I1, I3, I12).

The command is noted as forwarded before the executor is asked. If the connection ends, the same
event is asked about again on the next one: the executor runs it at most once and gives the
recorded result whenever it is asked. Output that is too long for a message is fetched, attached,
and shown at both ends.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tibet_nc_agent import walls
from tibet_nc_agent.airlock import Message
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import with_block
from tibet_nc_agent.desk import Desk, deliver, log_decision, mention
from tibet_nc_agent.event import TextMessage
from tibet_nc_agent.excerpt import EDGE_BYTES, excerpt, lines_of, whole
from tibet_nc_agent.following import Following
from tibet_nc_agent.lanes import Turn
from tibet_nc_agent.link_error import LinkError
from tibet_nc_agent.matrix_errors import TooLarge
from tibet_nc_agent.render import OUTPUT_BUDGET, Attached
from tibet_nc_agent.spool import Spool
from tibet_nc_agent.units import counted
from tibet_nc_protocol.messages import Denied, Finished, Run, Started, Status, StatusReport
from tibet_nc_protocol.terms import DenialCode

STARTED_SECONDS: Final = 0.8
"""How long a command may take before the room is told that it started: within a second."""

MOST_FILES: Final = 100
"""Most files that one output is attached as: more are of no use to anybody in a room."""

WAITING_SECONDS: Final = 2.0
"""How long a message may wait for a command before it until that is told: longer than a burst of
short ones takes, which a notice each would only delay."""

log: Final = logging.getLogger(__name__)


class Command:
    """A command on its way from the airlock to its answer."""

    def __init__(
        self, desk: Desk, message: TextMessage, turn: Turn, *, device: str, command: str
    ) -> None:
        self._desk = desk
        self._message = message
        self._turn = turn
        self._device = device
        self._command = command

    async def perform(self, *, again: bool) -> JsonObject:
        """Return the final answer, when it is this command's turn to be answered.

        ``again`` says that the executor may have been asked before a restart.
        """
        message, desk = self._message, self._desk
        request = self._request()
        self._turn.command = self._command
        await self._turn.to_ask()
        await desk.executor_up(message.room_id)
        if not again:
            await desk.disk(desk.inbox.forwarded, message.room_id, message.event_id, self._device)
        log_decision(message, "asked again" if again else "passed")
        result = await self._run(request)
        self._turn.held.enter_context(desk.outbox.owing(message.room_id))
        if isinstance(result, Denied):
            log_decision(message, f"denied ({result.code})")
            await self._turn.to_answer()
            return desk.answerer.denied(message.event_id, result)
        log_decision(message, f"ran as #{result.number}")
        if desk.emitter is not None and result.token:
            desk.emitter.note(result, sender=message.sender)
        await self._turn.to_answer()
        return await self._answer(result)

    def _request(self) -> Callable[[int], Run]:
        message = self._message
        if message.origin is None:  # the airlock passes no plain text
            raise ValueError("a command that was not encrypted")
        ciphertext = message.origin.ciphertext
        return lambda number: Run(
            request=number,
            room=message.room_id,
            event=message.event_id,
            sender=message.sender,
            device=self._device,
            ciphertext=ciphertext,
            sent_ms=message.sent_ms,
            command=self._command,
        )

    async def _run(self, request: Callable[[int], Run]) -> Finished | Denied:
        """Ask until there is a result; meanwhile tell the room that the command has started.

        What must not be gone on after, raised over such a notice, is raised with the result.
        """
        started: asyncio.Future[Started | None] = asyncio.get_running_loop().create_future()
        ended = asyncio.Event()
        announcing = asyncio.create_task(self._announce(started, ended))
        try:
            result = await self._ask(request, started)
        except BaseException:  # the agent ends, and the homeserver may be away
            announcing.cancel()
            await asyncio.gather(announcing, return_exceptions=True)
            raise
        finally:
            self._turn.command = None
        ended.set()
        if not started.done():
            started.set_result(None)
        await announcing  # a notice that is being sent is not torn
        return result

    async def _ask(
        self, request: Callable[[int], Run], started: asyncio.Future[Started | None]
    ) -> Finished | Denied:
        def on_start(news: Started) -> None:
            self._turn.running = news.number
            if not started.done():  # after a new connection it is told again
                started.set_result(news)

        while True:
            await self._desk.executor_up(self._message.room_id)
            self._turn.asked()
            try:
                return await self._desk.link.execute(request, on_start)
            except LinkError as error:
                log.info("asking again for %s: %s", self._message.event_id, error)
            finally:
                self._turn.running = None

    async def _announce(
        self, started: asyncio.Future[Started | None], ended: asyncio.Event
    ) -> None:
        notice = None
        try:
            async with asyncio.timeout(WAITING_SECONDS):
                await asyncio.shield(started)
        except TimeoutError:
            notice = await tell_waiting(self._desk, self._message, self._turn)
        if (news := await started) is None:
            return
        try:
            async with asyncio.timeout(STARTED_SECONDS):
                await ended.wait()
        except TimeoutError:
            message = self._message
            content = self._desk.answerer.started(message.event_id, news)
            if notice is None:
                notice = await mention(self._desk, message, "started", content)
            else:
                await self._desk.outbox.edit(message.room_id, notice, content)
            if notice is not None:
                following = Following(self._desk, message, number=news.number, notice=notice)
                await following.until(ended)

    async def _answer(self, result: Finished) -> JsonObject:
        if result.recorded_bytes == len(result.output):
            text = whole(result.output, OUTPUT_BUDGET, self._desk.link.screen)
            if text is not None:
                wall = await self._wall(result, result.output)
                return self._desk.answerer.finished(self._message.event_id, result, text, wall=wall)
        while True:
            try:
                with Spool(self._desk.spool) as spool:
                    return await self._attach(result, spool, await self._fill(spool, result))
            except LinkError as error:
                log.info("fetching #%d again: %s", result.number, error)
                await self._desk.executor_up(self._message.room_id)
            except OSError as error:  # the agent's own disk is full: the answer comes all the same
                log.warning("the output of #%d can't be spooled: %s", result.number, error)
                return self._cut(result, str(error.strerror))

    async def _fill(self, spool: Spool, result: Finished) -> Denied | None:
        """Put the whole recorded output into the spool, or return why it can't be had."""
        if result.recorded_bytes == len(result.output):
            spool.write(result.output)
            return None
        return await self._desk.link.fetch_output(result.run, spool.write)

    async def _attach(self, result: Finished, spool: Spool, missing: Denied | None) -> JsonObject:
        message, answerer = self._message, self._desk.answerer
        if missing is not None:
            return self._cut(result, missing.reason, kept=missing.code is not DenialCode.UNKNOWN)
        limit = await self._desk.outbox.upload_limit()
        if isinstance(limit, str):
            return self._cut(result, limit)
        if limit and spool.size > limit * MOST_FILES:  # it may say anything
            takes = f"the homeserver takes {counted(limit, 'byte')} a file"
            return self._cut(result, f"{takes}, and it would be more than {MOST_FILES} files")
        pieces = spool.pieces(limit)
        problem = await self._upload(result, spool, pieces)
        if problem is not None:
            return self._cut(result, problem)
        name = answerer.file_names(result.number, len(pieces))
        view = excerpt(
            spool.head,
            spool.tail,
            self._desk.link.screen,
            size=spool.size,
            lines=spool.lines,
            budget=OUTPUT_BUDGET,
        )
        attached = Attached(excerpt=view, name=name, problem=None)
        wall = await self._wall(result, spool.tail)
        return answerer.finished(message.event_id, result, attached, wall=wall)

    async def _upload(
        self, result: Finished, spool: Spool, pieces: list[tuple[int, int]]
    ) -> str | None:
        """Attach the whole output, in pieces that the homeserver takes; return why it can't be."""
        message, answerer = self._message, self._desk.answerer
        for index, (offset, size) in enumerate(pieces, start=1):
            name = answerer.file_name(result.number, index, len(pieces))
            file = await self._desk.outbox.upload(spool.path, name=name, offset=offset, size=size)
            if isinstance(file, str):
                return file
            block = answerer.attachment_block(message.event_id, result)
            what = "output" if index == 1 else f"output {index}"
            try:
                await deliver(self._desk, message, what, with_block(block, file))
            except TooLarge as error:
                return str(error)
        return None

    async def _wall(self, result: Finished, ending: bytes) -> str | None:
        """Return the line that says which wall of the cage the command met, if it met one."""
        if not walls.suspected(result, ending):
            return None
        message = self._message
        try:
            report = await self._desk.link.ask(
                lambda number: Status(request=number, room=message.room_id, sender=message.sender),
                StatusReport,
            )
        except LinkError:  # an answer without this line is better than a later one
            return None
        return None if isinstance(report, Denied) else walls.met(result, ending, report)

    def _cut(self, result: Finished, problem: str, *, kept: bool = True) -> JsonObject:
        """Return the answer with what the executor sent along, and why there is no attachment.

        ``kept`` says whether the host still has the recording.
        """
        complete = len(result.output) == result.recorded_bytes
        view = excerpt(
            result.output[:EDGE_BYTES],
            result.output[-EDGE_BYTES:] if complete else b"",
            self._desk.link.screen,
            size=result.recorded_bytes,
            lines=lines_of(result.output) if complete else None,
            budget=OUTPUT_BUDGET,
        )
        answerer = self._desk.answerer
        name = answerer.file_names(result.number, 1)
        attached = Attached(excerpt=view, name=name, problem=problem, kept=kept)
        return answerer.finished(self._message.event_id, result, attached)


async def tell_waiting(desk: Desk, message: Message, turn: Turn) -> str | None:
    """Say which command a message waits for, if one runs; return the notice's event id."""
    number = turn.behind
    if number is None:
        return None
    content = desk.answerer.waits(message.event_id, number)
    return await mention(desk, message, "waits", content)
