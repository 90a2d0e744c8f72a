# SPDX-License-Identifier: MIT
"""All commands: one event starts at most one (I3), one session runs one at a time, in order.

An event that comes again joins the command that it started, or gets the recorded result; one that
was refused is not run later. That holds across restarts, since the chain is asked and not memory.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, NoReturn

from tibet_nc_executor.archive import EMPTY_SHA256
from tibet_nc_executor.errors import LedgerError, ShellError
from tibet_nc_executor.leftover import Leftover
from tibet_nc_executor.policy import Refused, Rules, admit, decide
from tibet_nc_executor.recording import read_output
from tibet_nc_executor.run import DeniedError, Execution, Result, Tools
from tibet_nc_executor.sessions import LEFT_BY_OPERATOR, OperatorSession, Sessions
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.limits import BACKGROUND_RUNS, INLINE_BYTES, NOTES, OPEN_RUNS
from tibet_nc_protocol.messages import (
    Control,
    Finished,
    Input,
    Job,
    Run,
    SessionNotice,
    Started,
    Stop,
)
from tibet_nc_protocol.records import (
    Aborted,
    Outcome,
    SecurityEvent,
)
from tibet_nc_protocol.terms import DenialCode, Reason, Stage, run_id

READY_AFTER_S: Final = 0.02
"""How long nothing must run before the executor makes ready for the next command: its work should
not delay the answer to the last one, which is still on its way."""

JOB_COMMAND_CHARACTERS: Final = 120

DENIALS: Final = 1000
"""So many denials without a record are known: more than are asked about again while fresh."""

UNENDED: Final = (
    "it was run and is not run again; how it ended could not be recorded, which the next start of "
    "the executor records"
)

type Send = Callable[[Started | Finished], Awaitable[None]]


class Runs:
    """What runs, what ran, and in which sessions."""

    def __init__(
        self, tools: Tools, rules: Rules, sessions: Sessions, clock: Callable[[], float]
    ) -> None:
        self._tools = tools
        self._archive = tools.archive
        self._rules = rules
        self._clock = clock
        self._active: dict[str, Execution] = {}
        self._denied: dict[str, tuple[DenialCode, str]] = {}
        """By run what was denied without a record: it must not run after what came behind it."""
        self._leftovers: set[Leftover] = set()
        """Also those of a session that is ending, until their remainder is on record."""
        self._tasks: set[asyncio.Task[object]] = set()
        self._sessions = sessions
        self._stopping = False
        self._next: OperatorSession | None = None
        self._readying: asyncio.Task[None] | None = None
        sessions.on_notice.append(self._noticed)

    # --- one request ------------------------------------------------------------------------------

    async def run(self, request: Run, request_sha256: str, send: Send) -> None:
        """Run a command, or join it, or give its recorded result; raises DeniedError."""
        run = run_id(request.room, request.event)
        repeated = True
        if run not in self._active:
            try:
                known = self._archive.run(run)
                if known is None:
                    await self._admit(request, run)
            except LedgerError as error:  # I3, I7: nobody can say whether it ran before
                denied = DeniedError(DenialCode.UNRECORDED, f"nothing was run: {error}")
                self._remember(run, denied)
                raise denied from None
            if known is not None:
                if known.ending is None:  # recording its end has failed
                    raise DeniedError(DenialCode.UNRECORDED, UNENDED, known.number)
                await send(self._recorded(request.request, known.number, known.ending, known.head))
                return
            self._begin(request, run, request_sha256)
            repeated = False
        execution = self._active[run]
        number, head = await asyncio.shield(execution.started)
        await send(Started(request=request.request, run=run, number=number, head=head))
        result = await asyncio.shield(execution.done)
        await send(_finished(request.request, result, repeated=repeated))

    def check_not_run(self, run: str) -> None:
        """Raise DeniedError if an event runs or ran, so that it can't be refused any more.

        Raises LedgerError if that can't be told.
        """
        if (known := self._archive.run(run)) is not None:
            raise DeniedError(DenialCode.RAN, "this message was run", known.number)
        if run in self._active:
            raise DeniedError(DenialCode.RAN, "this message waits to be run")

    async def _admit(self, request: Run, run: str) -> None:
        """Raise DeniedError, with the record of it if there can be one, unless it may run.

        It waits only when it is going to raise. Otherwise `run` begins the command in the same step
        of the event loop, so that the same event can't get in between (I3).
        """
        decision = decide(request, self._rules.now(), int(self._clock() * 1000))
        if isinstance(decision, Refused):
            if decision.code is DenialCode.STALE:
                await self._refuse(request, Stage.FRESHNESS, decision.code, decision.reason)
            await self._alarm(request, SecurityEvent.POLICY, decision.code, decision.reason)
        if (denied := self._denied.get(run)) is not None:
            raise DeniedError(*denied)
        if self._is_replay(request.ciphertext):
            await self._alarm(
                request,
                SecurityEvent.REPLAY,
                DenialCode.REPLAY,
                "this very ciphertext was already given to run under another event id",
            )
        if (refused := await self._archive.refusal(run)) is not None:
            number, _ = refused
            reason = self._archive.read_refusal(number).detail
            raise DeniedError(DenialCode.REFUSED, reason, number)
        if busy := self._busy():
            await self._refuse(request, Stage.CHAIN, DenialCode.BUSY, busy)

    def _is_replay(self, ciphertext: str) -> bool:
        """Whether a ciphertext ran, or is about to: what waits for its turn has no intent yet."""
        if any(known.request.ciphertext == ciphertext for known in self._active.values()):
            return True
        return self._archive.index.run_of_ciphertext(ciphertext) is not None

    def _busy(self) -> str | None:
        """Return why nothing more can run now, None if something can."""
        if self._stopping:
            return "the executor is stopping"
        return f"{OPEN_RUNS} commands run or wait" if len(self._active) >= OPEN_RUNS else None

    def denial(self, room: str, sender: str) -> str | None:
        """Return why a command of an operator in a room would be denied now, None if it wouldn't.

        Nothing is recorded. What depends on the event itself is not known before there is one.
        """
        admitted = admit(sender, room, self._rules.now())
        return admitted.reason if isinstance(admitted, Refused) else self._busy()

    async def _refuse(self, request: Run, stage: Stage, code: DenialCode, reason: str) -> NoReturn:
        number, _ = await self._archive.refuse(request, stage=stage, reason=reason)
        raise DeniedError(code, reason, number)

    async def _alarm(
        self, request: Run, what: SecurityEvent, code: DenialCode, reason: str
    ) -> NoReturn:
        record, _ = await self._archive.security(
            what, reason, room=request.room, event=request.event, sender=request.sender
        )
        raise DeniedError(code, reason, record.seq)

    def _remember(self, run: str, denied: DeniedError | None) -> None:
        if denied is not None and denied.number is None:
            if len(self._denied) >= DENIALS:
                del self._denied[next(iter(self._denied))]
            self._denied[run] = denied.code, denied.reason

    def _begin(self, request: Run, run: str, request_sha256: str) -> None:
        session = self._sessions.open(request.room, request.sender)
        execution = Execution(
            request,
            run=run,
            request_sha256=request_sha256,
            tools=self._tools,
            may_leave=self._may_leave,
        )
        self._active[run] = execution
        session.begin(execution, self._keep(self._in_turn(execution, session)))

    def _keep[T](self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _may_leave(self) -> bool:
        return len(self._leftovers) < BACKGROUND_RUNS

    async def _in_turn(self, execution: Execution, session: OperatorSession) -> None:
        async with session.turn:
            session = session.newest
            try:
                await self._perform(execution, session)
                if execution.leftover is not None:
                    self._go_on(execution.leftover, session)
            finally:
                del self._active[execution.run]
                self._remember(execution.run, execution.denied)
                self._sessions.command_ended(session, execution)
            if execution.death is not None:
                await self._sessions.bury(session, execution.death)
            self.make_ready(session)

    async def _perform(self, execution: Execution, session: OperatorSession) -> None:
        try:
            shell = await self._sessions.enter(session)
        except LedgerError as error:
            execution.fail(DenialCode.UNRECORDED, f"nothing was run: {error}")
        except ShellError as error:
            execution.fail(DenialCode.SHELL, f"nothing was run: {error}")
        else:
            for note in session.notes:
                execution.note(note)
            session.notes = ()
            session.commands += 1
            await execution.perform(session.id, shell)

    def _go_on(self, leftover: Leftover, session: OperatorSession) -> None:
        self._leftovers.add(leftover)
        session.leftovers[leftover] = self._keep(self._to_its_end(leftover, session))

    async def _to_its_end(self, leftover: Leftover, session: OperatorSession) -> None:
        try:
            for note in await leftover.perform(self._archive):
                session.tell(note)
        except LedgerError:  # whoever wants to run something is told, and the next start records it
            return
        finally:
            session.leftovers.pop(leftover, None)
            self._leftovers.discard(leftover)

    def make_ready(self, session: OperatorSession | None = None) -> None:
        """Have the executor make ready for the next command when nothing runs.

        It is expected from whom the last one was, in that session or a new one.
        """
        self._next = session
        if self._readying is None or self._readying.done():
            self._readying = asyncio.create_task(self._make_ready())

    async def _make_ready(self) -> None:
        await asyncio.sleep(READY_AFTER_S)
        last = self._next
        session = None if last is None else self._sessions.get(last.room, last.sender)
        if not self._active and not self._stopping:
            await self._tools.shell.prepare(None if session is None else session.shell)

    # --- sessions ---------------------------------------------------------------------------------

    def session_of(self, room: str, sender: str) -> OperatorSession | None:
        """Return the session of an operator in a room."""
        return self._sessions.get(room, sender)

    async def close_session(self, room: str, sender: str) -> tuple[int, str]:
        """End an operator's session; return number and digest of the record.

        Raises DeniedError, or LedgerError if the end, which is one all the same, isn't recorded.
        """
        self._check_operator(room, sender)
        session = self._sessions.get(room, sender)
        if session is not None and session.executions:
            raise DeniedError(DenialCode.BUSY, "a command is running in this session")
        # Whoever asked may be gone before it has ended.
        closed = None if session is None else await asyncio.shield(self._keep(self._leave(session)))
        if closed is None:
            raise DeniedError(DenialCode.UNKNOWN, "there is no session to end")
        return closed

    async def _leave(self, session: OperatorSession) -> tuple[int, str] | None:
        try:
            return await self._sessions.close(session, LEFT_BY_OPERATOR)
        finally:
            self._session_gone()

    def _noticed(self, notice: SessionNotice) -> None:
        if not notice.seconds:
            self._session_gone()

    def _session_gone(self) -> None:
        """Make ready again if what was ready has gone with its session."""
        coming = self._readying is not None and not self._readying.done()
        if not (self._tools.shell.is_ready or coming):
            self.make_ready()

    # --- what runs --------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many commands run or wait for their turn."""
        return len(self._active)

    def jobs(self) -> tuple[Job, ...]:
        """Return what runs, oldest first."""
        now = time.monotonic()
        running = sorted(self._numbered(), key=lambda work: work.number)
        return tuple(
            Job(
                number=work.number,
                sender=work.request.sender,
                seconds=int(now - work.since),
                output_bytes=work.output_bytes,
                command=work.request.command[:JOB_COMMAND_CHARACTERS],
                left=work.left,
            )
            for work in running[: OPEN_RUNS + BACKGROUND_RUNS]
        )

    def control(self, request: Control) -> None:
        """Signal a running command for an operator; raises DeniedError."""
        self._check_operator(request.room, request.sender)
        self._started(request.number).signal(request.signal, request.sender)

    def write(self, request: Input) -> None:
        """Type into a running command for an operator; raises DeniedError."""
        self._check_operator(request.room, request.sender)
        running = self._started(request.number)
        if isinstance(running, Leftover):
            raise DeniedError(
                DenialCode.UNKNOWN, f"#{request.number} has ended; what it left reads no input"
            )
        running.write(request.text, end=request.end, sender=request.sender)

    def tail(self, number: int) -> tuple[int, bytes]:
        """Return how much a running command printed, and the last of it; raises DeniedError."""
        execution = self._started(number)
        return execution.output_bytes, execution.newest

    def kill_all(self, request: Stop) -> int:
        """Kill everything that runs, for an operator; return how many commands that are."""
        self._check_operator(request.room, request.sender)
        running = self._everything()
        for work in running:
            work.cancel(f"stopped by {request.sender}")
        return len(running)

    def _everything(self) -> list[Execution | Leftover]:
        return [*self._active.values(), *self._leftovers]

    def _numbered(self) -> list[Execution | Leftover]:
        """Return what has a number; a command that waits for its turn has none yet."""
        started = (execution for execution in self._active.values() if execution.is_started)
        return [*started, *self._leftovers]

    def _check_operator(self, room: str, sender: str) -> None:
        admitted = admit(sender, room, self._rules.now())
        if isinstance(admitted, Refused):
            raise DeniedError(admitted.code, admitted.reason)

    def _started(self, number: int) -> Execution | Leftover:
        for work in self._numbered():
            if work.number == number:
                return work
        raise DeniedError(DenialCode.UNKNOWN, f"#{number} is not running")

    async def stop(self) -> None:
        """Kill what runs, record how it ended, and end all sessions."""
        self._stopping = True
        for work in self._everything():
            work.cancel("the executor was stopped")
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._readying is not None:
            await self._readying
        await self._sessions.close_all()
        await self._tools.shell.shut()

    # --- what ran ---------------------------------------------------------------------------------

    def _recorded(
        self, request: int, number: int, ending: Outcome | Aborted, head: str
    ) -> Finished:
        if isinstance(ending, Aborted):
            return Finished(
                request=request,
                run=ending.run,
                number=number,
                outcome=ending.seq,
                head=head,
                exit=None,
                signal=None,
                reason=Reason.ABORTED,
                duration_ms=0,
                output_bytes=0,
                output_sha256=EMPTY_SHA256,
                recorded_bytes=0,
                output=b"",
                leftover=0,
                token="",
                notes=(ending.detail,),
                repeated=True,
            )
        beginning = bytearray()
        notes = ending.notes
        if ending.recorded_bytes:
            try:
                for data in read_output(self._tools.recordings / ending.recording):
                    beginning += data[: INLINE_BYTES - len(beginning)]
                    if len(beginning) == INLINE_BYTES:
                        break
            except (OSError, DecodeError):
                notes = (*notes, "the recording can't be read any more")[:NOTES]
        result = Result(outcome=ending, head=head, beginning=bytes(beginning))
        return _finished(request, result, repeated=True, notes=notes)


def _finished(
    request: int, result: Result, *, repeated: bool, notes: tuple[str, ...] | None = None
) -> Finished:
    outcome = result.outcome
    return Finished(
        request=request,
        run=outcome.run,
        number=outcome.intent,
        outcome=outcome.seq,
        head=result.head,
        exit=outcome.exit,
        signal=outcome.signal,
        reason=outcome.reason,
        duration_ms=outcome.duration_ms,
        output_bytes=outcome.output_bytes,
        output_sha256=outcome.output_sha256,
        recorded_bytes=outcome.recorded_bytes,
        output=result.beginning[: outcome.recorded_bytes],
        leftover=outcome.leftover,
        token=outcome.token,
        notes=outcome.notes if notes is None else notes,
        repeated=repeated,
    )
