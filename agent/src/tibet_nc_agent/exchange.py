# SPDX-License-Identifier: MIT
"""One message, start to end: judged, recorded, run, answered, each step once (I1, I3, I4).

    received ─ judged ─┬─ refused ── recorded ──┐
                       ├─ an inquiry ───────────┼─ answered ─ noted
                       └─ a command ── run ─────┘

A refusal is in the executor's chain before the room hears of it. The final answer has a
transaction id made from the event's, so that sending it again after a crash is sending it once.
"""

import asyncio
import logging
import time
import traceback
from typing import Final

from tibet_nc_agent.action import Execute, action_of
from tibet_nc_agent.airlock import (
    Ignored,
    Message,
    Passed,
    Refused,
    Situation,
    command_of,
    decide,
)
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import Part
from tibet_nc_agent.desk import Desk, deliver, log_decision, mention
from tibet_nc_agent.event import TextMessage, Undecryptable
from tibet_nc_agent.execution import Command
from tibet_nc_agent.inbox import InboxError
from tibet_nc_agent.inquiry import Inquiry, interrupted
from tibet_nc_agent.lanes import Lanes, Turn
from tibet_nc_agent.matrix_errors import (
    IdentityChanged,
    IdentityError,
    MatrixError,
    RateLimited,
    TooLarge,
    Unreachable,
)
from tibet_nc_agent.matrix_errors import Refused as RefusedByHomeserver
from tibet_nc_agent.operators import Standing
from tibet_nc_agent.visible import one_line
from tibet_nc_agent.watch import Watch
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.messages import Denied, Recorded, Refuse
from tibet_nc_protocol.terms import DenialCode

FINAL: Final = "final"

KEY_SECONDS: Final = 2.0
"""How long the key of a message may come after it before that is worth a word; a sender's client
sends it before."""

TOLD_SECONDS: Final = 3600.0
"""How often somebody who may not command is told so."""

_MOST_TOLD: Final = 1000

log: Final = logging.getLogger(__name__)


class Exchanges:
    """Takes messages from their arrival to the note that they were answered."""

    def __init__(self, desk: Desk, watch: Watch, lanes: Lanes) -> None:
        self._desk = desk
        self._watch = watch
        self._lanes = lanes
        self._told: dict[tuple[str, Standing], float] = {}
        self._open = 0

    async def handle(
        self, message: Message, turn: Turn, *, device: str | None, provisional: bool
    ) -> None:
        """Deal with one message; ``device`` is set if it was forwarded before a restart.

        Raises MatrixError and InboxError, after which the agent must not go on. Any other fault
        is answered as such, so that one message can't end the agent at each of its starts.
        """
        desk = self._desk
        self._open += 1
        try:
            if provisional and not await self._settled(message, turn):
                return
            content = await self._contained(message, turn, device)
            if content is not None:
                try:
                    await deliver(desk, message, FINAL, content)
                except TooLarge as error:
                    content = self._fault(message, error)
                    await deliver(desk, message, FINAL, content, shortest=True)
            await desk.disk(desk.inbox.answered, message.room_id, message.event_id)
        finally:
            self._open -= 1
            turn.done()

    async def _settled(self, message: Message, turn: Turn) -> bool:
        """Wait for a key that is late; False if the message came with it, as another one.

        An operator's is asked for, and waited for as long as the command would be fresh. What the
        operator sends next doesn't wait for it.
        """
        desk = self._desk
        await asyncio.sleep(KEY_SECONDS)
        waits = await desk.disk(desk.inbox.provisional, message.room_id, message.event_id)
        operator = desk.operators.standing(message.sender) is Standing.OPERATOR
        if waits and operator and isinstance(message, Undecryptable):
            rest_ms = message.sent_ms + desk.rules.timebox_ms - int(time.time() * 1000)
            rest_ms = min(rest_ms, desk.rules.timebox_ms)
            if rest_ms > 0:
                turn.done()
                await self._ask_for_key(message, rest_ms)
                await asyncio.sleep(rest_ms / 1000)
        return await desk.disk(desk.inbox.settle, message.room_id, message.event_id)

    async def _ask_for_key(self, message: Undecryptable, rest_ms: int) -> None:
        desk, sender = self._desk, one_line(message.sender)
        log_decision(message, "its key has not come yet and is asked for")
        notice = desk.answerer.told(
            message.event_id,
            Part(f"could not decrypt a message from {sender} yet: its key has not come"),
            Part(
                f"it was asked for; if it comes within {rest_ms / 1000:.0f} s the command is run, "
                "and otherwise not"
            ),
            final=False,
        )
        await mention(desk, message, "key", notice)
        try:
            await desk.matrix.request_key(message)
        except (Unreachable, RateLimited, RefusedByHomeserver) as error:
            log.warning("the key of %s was not asked for: %s", message.event_id, error)

    async def _contained(
        self, message: Message, turn: Turn, device: str | None
    ) -> JsonObject | None:
        try:
            return await self._answer(message, turn, device)
        except (MatrixError, InboxError):
            raise
        except Exception as error:
            return self._fault(message, error)

    async def _answer(self, message: Message, turn: Turn, device: str | None) -> JsonObject | None:
        """Return the final answer, None when there is nobody to answer."""
        desk = self._desk
        if device is not None and isinstance(message, TextMessage):
            text = command_of(message)
            if action_of(text) is not None:
                log_decision(message, "was being done when the agent ended")
                return interrupted(desk, message)
            command = Command(desk, message, turn, device=device, command=text)
            return await command.perform(again=True)
        situation = await self._situation(message)
        decision = decide(message, situation, desk.rules)
        match decision:
            case Ignored():
                log_decision(message, f"ignored: {decision.value}")
                return None
            case Refused():
                return await self._refuse(message, situation, decision, turn)
            case Passed(action=Execute(command=text)):
                if situation.device is None or not isinstance(message, TextMessage):
                    raise ValueError("a command without a device passed the airlock")
                command = Command(desk, message, turn, device=situation.device, command=text)
                return await command.perform(again=False)
            case Passed(action=action):
                log_decision(message, type(action).__name__.lower())
                inquiry = Inquiry(
                    desk,
                    message,
                    turn,
                    lanes=self._lanes,
                    unanswered=self._open - 1,
                    situation=situation,
                )
                return await inquiry.answer(action)

    async def _situation(self, message: Message) -> Situation:
        """Look up whose device a message came from; only an operator's is asked for (I5)."""
        desk, device = self._desk, None
        standing = desk.operators.standing(message.sender)
        problem = desk.operators.pause_reason(message.sender)
        if (
            standing is Standing.OPERATOR
            and isinstance(message, TextMessage)
            and message.origin is not None
        ):
            try:
                device = (await desk.matrix.device_of(message)).device_id
            except IdentityChanged as error:
                await self._watch.pause(message.sender, error)
                standing = desk.operators.standing(message.sender)
                problem = str(error)
            except (IdentityError, RefusedByHomeserver) as error:
                problem = str(error)
        return Situation(
            now_ms=int(time.time() * 1000),
            listening_since_ms=desk.listening_since_ms,
            skew_ms=desk.matrix.skew_ms,
            standing=standing,
            pins_problem=desk.operators.problem,
            device=device,
            device_problem=problem,
            strangers=desk.matrix.strangers(message.room_id),
        )

    async def _refuse(
        self, message: Message, situation: Situation, refusal: Refused, turn: Turn
    ) -> JsonObject | None:
        desk, device = self._desk, situation.device
        recorded = await desk.insist(
            message.room_id,
            lambda number: Refuse(
                request=number,
                room=message.room_id,
                event=message.event_id,
                sender=message.sender,
                device=device,
                command=refusal.command,
                stage=refusal.stage,
                family=str(refusal.family),
                reason=refusal.reason[:TEXT_CHARACTERS],
            ),
            Recorded,
        )
        answerer = desk.answerer
        answer = answerer.refused(message.event_id, refusal, number=None, head=None)
        match recorded:
            case Recorded(number=number, head=head):
                answer = answerer.refused(message.event_id, refusal, number=number, head=head)
            case Denied(code=DenialCode.RAN):
                # It was forwarded, and that was lost in a crash: the answer is what came of it.
                if device is not None and isinstance(message, TextMessage):
                    text = command_of(message)
                    command = Command(desk, message, turn, device=device, command=text)
                    return await command.perform(again=True)
                log.warning("%s is refused, but was run: #%s", message.event_id, recorded.number)
                answer = answerer.denied(message.event_id, recorded)
            case Denied(code=DenialCode.REFUSED):
                # It was recorded for another reason, and that was told to nobody before a crash.
                log_decision(message, f"was refused before, as #{recorded.number}")
                answer = answerer.denied(message.event_id, recorded)
            case Denied():
                log.error("a refusal could not be recorded: %s", recorded.reason)
        log_decision(message, f"refused at {refusal.stage} ({refusal.family})")
        if situation.standing is Standing.OPERATOR:
            return answer
        if not self._may_be_told(message.sender, situation.standing):
            return None
        await mention(desk, message, FINAL, answer, also=message.sender)
        return None

    def _may_be_told(self, sender: str, standing: Standing) -> bool:
        """Whether to tell somebody that he may not command: not again and again.

        It may be a program that answers every answer.
        """
        now = time.monotonic()
        told = self._told.get((sender, standing))
        if told is not None and now - told < TOLD_SECONDS:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[sender, standing] = now
        return True

    def _fault(self, message: Message, error: Exception) -> JsonObject:
        """Log a fault of ours, without its text, which could repeat a command; return an answer."""
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("fault at %s: %s\n%s", message.event_id, type(error).__name__, where)
        return self._desk.answerer.failed(
            message.event_id,
            f"the agent failed over this message ({type(error).__name__})",
            "see `chain` for what was recorded of it, and tell the administrator",
        )
