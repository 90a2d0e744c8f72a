# SPDX-License-Identifier: MIT
"""What an operator asks of the agent itself: reports, signals to what runs, the end of a session.

None of this waits for the operator's commands, but for the end of the session, which comes after
them. When the executor can't be asked, that is the answer.

What acts is noted as forwarded, on disk, before the executor is asked: unlike a command, it would
be done again if it were asked again. So a restart before the answer leaves it at that.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from tibet_nc_agent import VERSION, preview, reports
from tibet_nc_agent.action import (
    Action,
    Control,
    Execute,
    Explain,
    Leave,
    Misused,
    Peek,
    StopAll,
    Tell,
    Type,
    action_of,
)
from tibet_nc_agent.action import Report as Topic
from tibet_nc_agent.airlock import Message, Situation, judged
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import Part, clip
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.execution import WAITING_SECONDS, tell_waiting
from tibet_nc_agent.lanes import Lanes, Turn
from tibet_nc_agent.link_error import LinkError
from tibet_nc_agent.preview import Preview
from tibet_nc_agent.render import REASON_CHARACTERS
from tibet_nc_agent.units import counted
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.messages import (
    ChainReport,
    ChainTail,
    CloseSession,
    Denied,
    Done,
    Input,
    Jobs,
    JobsReport,
    Recorded,
    Request,
    Response,
    Status,
    StatusReport,
    Stop,
    Tail,
    TailReport,
)
from tibet_nc_protocol.messages import Control as ControlRequest
from tibet_nc_protocol.terms import DenialCode, Signal

_SENT: Final = {
    Signal.INTERRUPT: "interrupted #{0}; its answer says how it ended, !kill {0} ends what goes on",
    Signal.KILL: "killed #{0} and everything it started; its answer says how it ended",
}

_NEXT: Final[Mapping[tuple[type, DenialCode], str]] = {
    # It is the terminal that takes no more, whatever else runs.
    (Type, DenialCode.BUSY): "type less at once, or wait until what was typed is read",
}
"""What to do next after a denial, where it isn't what the code alone says."""


class _DeniedError(Exception):
    """The executor refuses what was asked of it."""

    def __init__(self, denial: Denied) -> None:
        super().__init__(denial.reason)
        self.denial = denial


class Inquiry:
    """One message that asks for something else than a command."""

    def __init__(
        self,
        desk: Desk,
        message: Message,
        turn: Turn,
        *,
        lanes: Lanes,
        unanswered: int,
        situation: Situation,
    ) -> None:
        self._desk = desk
        self._message = message
        self._turn = turn
        self._lanes = lanes
        self._unanswered = unanswered
        self._situation = situation

    async def answer(self, action: Action) -> JsonObject:
        """Return the final answer."""
        try:
            return await self._answer(action)
        except _DeniedError as error:
            next_step = _NEXT.get((type(action), error.denial.code), "")
            return self._desk.answerer.denied(self._message.event_id, error.denial, next_step)
        except LinkError as error:
            text = clip(one_line(str(error)), REASON_CHARACTERS)
            return self._told(Part(f"the executor can't be asked: {text}"))

    async def _answer(self, action: Action) -> JsonObject:
        match action:
            case Explain(command=command):
                return await self._preview(command)
            case Misused(hint=hint):
                return self._told(Part(hint))
            case Tell(report=topic):
                return await self._report(topic)
            case Control(number=number, signal=signal):
                return await self._control(number, signal)
            case Type():
                return await self._type(action)
            case Peek(number=number):
                return await self._peek(number)
            case StopAll():
                return await self._stop_all()
            case Leave():
                return await self._leave()
            case Execute():
                raise ValueError("a command is no inquiry")

    async def _act[R: Response](self, make: Callable[[int], Request], kind: type[R]) -> R:
        """Ask for what must not be done twice; raises _DeniedError and LinkError."""
        desk, message, device = self._desk, self._message, self._situation.device
        if device is None:
            raise ValueError("what acts has passed the airlock without a device")
        await desk.disk(desk.inbox.forwarded, message.room_id, message.event_id, device)
        await desk.disk(desk.inbox.secure)
        return await self._ask(make, kind)

    async def _ask[R: Response](self, make: Callable[[int], Request], kind: type[R]) -> R:
        """Return the executor's response; raises _DeniedError and LinkError."""
        answer = await self._desk.link.ask(make, kind)
        if isinstance(answer, Denied):
            raise _DeniedError(answer)
        return answer

    async def _report(self, topic: Topic) -> JsonObject:
        match topic:
            case Topic.HELP:
                dedicated = self._message.room_id == self._desk.rules.dedicated_room
                return self._told(*reports.help_text(dedicated=dedicated))
            case Topic.STATUS:
                return await self._status()
            case Topic.CHAIN:
                limit = reports.CHAIN_ENTRIES
                chain = await self._ask(
                    lambda number: ChainTail(request=number, limit=limit), ChainReport
                )
                return self._told(*reports.chain(chain))
            case Topic.JOBS:
                jobs = await self._ask(lambda number: Jobs(request=number), JobsReport)
                return self._told(*reports.jobs(jobs, self._lanes.waiting()))

    async def _status(self) -> JsonObject:
        desk = self._desk
        agent = reports.AgentFacts(
            version=VERSION,
            device=desk.matrix.device_id,
            uptime_ms=int((time.monotonic() - desk.up_since_s) * 1000),
            timebox_ms=desk.rules.timebox_ms,
            skew_ms=desk.matrix.skew_ms,
            waiting=self._unanswered,
            given_up=desk.given_up,
            emission="" if desk.emitter is None else desk.emitter.state,
        )
        return self._told(*reports.status(agent, await self._executor_status()))

    async def _executor_status(self) -> StatusReport | str:
        """Return how the executor is, or why it can't be asked."""
        message = self._message
        try:
            return await self._ask(
                lambda number: Status(request=number, room=message.room_id, sender=message.sender),
                StatusReport,
            )
        except (_DeniedError, LinkError) as error:
            return str(error)

    async def _preview(self, command: str) -> JsonObject:
        if action_of(command) is not None:
            text = "that is a word to the agent itself: it would never reach the shell"
            return self._told(Part(text))
        desk = self._desk
        subject = Preview(
            command=command,
            judged=judged(command, desk.rules),
            sender=self._message.sender,
            device=self._situation.device,
            age_ms=self._situation.now_ms - self._message.sent_ms,
            timebox_ms=desk.rules.timebox_ms,
            report=await self._executor_status(),
        )
        return self._told(*preview.parts(subject))

    async def _control(self, number: int, signal: Signal) -> JsonObject:
        message = self._message
        await self._act(
            lambda request: ControlRequest(
                request=request,
                room=message.room_id,
                sender=message.sender,
                number=number,
                signal=signal,
            ),
            Done,
        )
        return self._told(Part(_SENT[signal].format(number)))

    async def _type(self, action: Type) -> JsonObject:
        message = self._message
        await self._act(
            lambda request: Input(
                request=request,
                room=message.room_id,
                sender=message.sender,
                number=action.number,
                text=action.text,
                end=action.end,
            ),
            Done,
        )
        what = "the input was ended of" if action.end else "typed into"
        if action.text == "\n":
            what = "just Enter was typed into"
        return self._told(Part(f"{what} #{action.number}; !tail {action.number} shows its output"))

    async def _peek(self, number: int) -> JsonObject:
        report = await self._ask(lambda request: Tail(request=request, number=number), TailReport)
        return self._told(*reports.tail(report, self._desk.link.screen))

    async def _stop_all(self) -> JsonObject:
        message = self._message
        done = await self._act(
            lambda request: Stop(request=request, room=message.room_id, sender=message.sender),
            Done,
        )
        return self._told(Part(f"stopped {counted(done.count, 'command')}"))

    async def _leave(self) -> JsonObject:
        message = self._message
        try:
            async with asyncio.timeout(WAITING_SECONDS):
                await self._turn.to_answer()
        except TimeoutError:
            await tell_waiting(self._desk, message, self._turn)
            await self._turn.to_answer()
        try:
            ended = await self._act(
                lambda number: CloseSession(
                    request=number, room=message.room_id, sender=message.sender
                ),
                Recorded,
            )
        except _DeniedError as error:
            if error.denial.code is not DenialCode.UNKNOWN:
                raise
            return self._told(Part("you have no session here; the next command opens one"))
        return self._told(
            Part(f"your session here is ended · #{ended.number}"),
            Part("the next command opens a new one"),
        )

    def _told(self, *parts: Part) -> JsonObject:
        return self._desk.answerer.told(self._message.event_id, *parts)


def interrupted(desk: Desk, message: Message) -> JsonObject:
    """Return the final answer to what acts, and what an agent was about when it ended."""
    return desk.answerer.told(
        message.event_id,
        Part("the agent ended over this, and doesn't know whether it was done"),
        Part("next: see !jobs, and !tail N of what runs; then send it again if it is needed"),
    )
