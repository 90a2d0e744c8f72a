# SPDX-License-Identifier: MIT
"""The operators' sessions: one for each operator in each room, until they or a limit end it.

A session is state, not a process: what one command leaves to the next, and what it left running.
Two limits end it: so long without a command, and so long in all. Both are announced before, and
then recorded; with a session ends everything that its commands left running.

A command that ends the session's shell (`exit`, `exec`) ends the session as well. What waits behind
it runs all the same, in order and in the session that comes next.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tibet_nc_executor.archive import Archive
from tibet_nc_executor.deadline import Deadline, Expiry
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.leftover import Leftover
from tibet_nc_executor.run import Execution
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.messages import SessionNotice
from tibet_nc_protocol.records import Session, SessionState, actor

LEFT_BY_OPERATOR: Final = "ended by the operator"
_STOPPED: Final = "the executor stopped"


@dataclass(frozen=True, kw_only=True)
class SessionLimits:
    """How long a session lasts, and how long before its end that is told; in seconds."""

    idle_s: float
    total_s: float
    warning_s: float


class OperatorSession:
    """One operator's shell session in one room."""

    def __init__(
        self, room: str, sender: str, turn: asyncio.Lock, limits: SessionLimits, now: float
    ) -> None:
        self.id: Final = secrets.token_hex(8)
        self.room: Final = room
        self.sender: Final = sender
        self.turn: Final = turn
        """Held by the command that runs; the operator's next session in the room has the same."""
        self.shell: SessionShell | None = None
        """Its state and home, which the first command gets it."""
        self.recorded = False
        self.commands = 0
        self.executions: dict[Execution, asyncio.Task[None]] = {}
        """Commands that run or wait for their turn."""
        self.leftovers: dict[Leftover, asyncio.Task[None]] = {}
        self.notes: tuple[str, ...] = ()
        """What the answer to its next command says besides."""
        self._successor: OperatorSession | None = None
        self._limits: Final = limits
        self._clock: Final = Deadline(now=now, idle_s=limits.idle_s, total_s=limits.total_s)
        self._warning_s: Final = min(limits.warning_s, limits.idle_s / 2, limits.total_s / 2)
        self._warned = False

    @property
    def work(self) -> tuple[Execution | Leftover, ...]:
        """Its commands, and what they have left running."""
        return (*self.executions, *self.leftovers)

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """Whatever has to come to its end before the session does."""
        return (*self.executions.values(), *self.leftovers.values())

    @property
    def newest(self) -> "OperatorSession":
        """The session in which a command runs that was meant for this one."""
        return self if self._successor is None else self._successor.newest

    def begin(self, execution: Execution, task: asyncio.Task[None]) -> None:
        """Note a command; while there is one the session is not idle."""
        self.executions[execution] = task
        self._clock.hold()

    def end(self, execution: Execution, now: float) -> None:
        """Note that a command is over."""
        self.executions.pop(execution, None)
        if not self.executions:
            self._clock.release(now)
            self._warned = False

    def tell(self, note: str) -> None:
        """Have the answer to the command that runs say something besides, or else the next one."""
        running = next((work for work in self.executions if work.is_running), None)
        if running is None:
            self.notes += (note,)
        else:
            running.note(note)

    def hand_over(self, successor: "OperatorSession") -> None:
        """Give every command that waits to the session that comes next."""
        self._successor = successor
        for execution, task in self.executions.items():
            successor.begin(execution, task)
        self.executions.clear()

    def due(self) -> float:
        """Return when something has to be told or done, unless a command comes before."""
        return self._clock.due() - (0 if self._warned else self._warning_s)

    def look(self, now: float) -> tuple[int, str] | None:
        """Return what is to be told now: how many seconds are left, 0 for none, and why."""
        limits = self._limits
        if (expiry := self._clock.expired(now)) is not None:
            return 0, _why(expiry, limits)
        if self._warned or now < self.due():
            return None
        self._warned = True
        due = self._clock.due()
        expiry = self._clock.expired(due) or Expiry.TOTAL
        return max(1, round(due - now)), _why(expiry, limits)


def _why(expiry: Expiry, limits: SessionLimits) -> str:
    if expiry is Expiry.IDLE:
        return f"no command for {limits.idle_s:g} s"
    return f"a session lasts {limits.total_s:g} s at most"


class Sessions:
    """All sessions; `on_notice` is told of each that ends soon or has met a limit."""

    def __init__(self, archive: Archive, shell: Shell, limits: SessionLimits) -> None:
        self._archive: Final = archive
        self._shell: Final = shell
        self._limits: Final = limits
        self._sessions: dict[tuple[str, str], OperatorSession] = {}
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}  # as many as operators and rooms
        self._ending: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.on_notice: list[Callable[[SessionNotice], None]] = []
        self._past = _past(archive)
        """Why an operator's last session ended, if not by the operator."""

    def open(self, room: str, sender: str) -> OperatorSession:
        """Return the session of an operator in a room, a new one if there is none."""
        key = (room, sender)
        session = self._sessions.get(key)
        if session is None:
            turn = self._turns.setdefault(key, asyncio.Lock())
            session = OperatorSession(room, sender, turn, self._limits, time.monotonic())
            if (why := self._past.pop(key, None)) is not None:
                session.notes = (f"this is a new session: the last one has ended ({why})",)
            self._sessions[key] = session
            self._changed.set()
        return session

    def get(self, room: str, sender: str) -> OperatorSession | None:
        """Return the session of an operator in a room, if there is one."""
        return self._sessions.get((room, sender))

    def command_ended(self, session: OperatorSession, execution: Execution) -> None:
        """Note that a command is over."""
        session.end(execution, time.monotonic())
        self._changed.set()

    async def enter(self, session: OperatorSession) -> SessionShell:
        """Return a session's shell; at first that is made, and the session recorded.

        Raises ShellError if it can't be made, LedgerError if it can't be recorded.
        """
        if session.shell is None:
            session.shell = self._shell.open_session()
        if not session.recorded:
            await self._record(session, SessionState.OPENED, "first command", critical=False)
            session.recorded = True
        return session.shell

    async def bury(self, session: OperatorSession, why: str) -> None:
        """End a session whose shell is dead, in the turn of the command that has ended it.

        Commands that wait for their turn run in a new one.
        """
        key = (session.room, session.sender)
        if self._sessions.get(key) is not session:  # a limit was met meanwhile, and it ends already
            return
        del self._sessions[key]
        self._past[key] = why
        if session.executions:
            session.hand_over(self.open(*key))
        with suppress(LedgerError):  # whoever wants to run something is told
            await self.close(session, why)

    async def close(self, session: OperatorSession, why: str) -> tuple[int, str] | None:
        """End a session and everything of it; return number and digest of the record.

        None if its beginning was not recorded either. Raises LedgerError if it can't be recorded;
        it has ended all the same.
        """
        if self._sessions.get((session.room, session.sender)) is session:
            del self._sessions[session.room, session.sender]
        while session.tasks:
            # Again and again, since a command that ends may leave something at the last moment.
            for work in session.work:
                work.cancel(f"the session has ended: {why}")
            await asyncio.wait(session.tasks, return_when=asyncio.FIRST_COMPLETED)
        if session.shell is not None:
            await self._shell.end_session(session.shell)
        if not session.recorded:
            return None
        return await self._record(session, SessionState.CLOSED, why, critical=True)

    async def close_all(self) -> None:
        """End all sessions, since the executor stops; what can't be recorded ends all the same."""
        if self._ending:
            await asyncio.wait(self._ending)
        for session in list(self._sessions.values()):
            with suppress(LedgerError):
                await self.close(session, _STOPPED)

    async def keep_limits(self) -> None:
        """Warn of limits and end what has met one, for ever."""
        while True:
            self._changed.clear()
            due = min((session.due() for session in self._sessions.values()), default=None)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - time.monotonic()):
                    await self._changed.wait()
            for session in list(self._sessions.values()):
                self._look(session)

    def _look(self, session: OperatorSession) -> None:
        found = session.look(time.monotonic())
        if found is None:
            return
        seconds, why = found
        if seconds:
            self._tell(session, seconds, why)
            return
        del self._sessions[session.room, session.sender]
        self._past[session.room, session.sender] = why
        task = asyncio.create_task(self._expire(session, why))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _expire(self, session: OperatorSession, why: str) -> None:
        with suppress(LedgerError):  # whoever wants to run something is told
            await self.close(session, why)
        self._tell(session, 0, why)

    def _tell(self, session: OperatorSession, seconds: int, why: str) -> None:
        notice = SessionNotice(
            room=session.room,
            sender=session.sender,
            session=session.id,
            seconds=seconds,
            reason=why,
        )
        for tell in self.on_notice:
            tell(notice)

    async def _record(
        self, session: OperatorSession, state: SessionState, detail: str, *, critical: bool
    ) -> tuple[int, str]:
        record, head = await self._archive.append(
            lambda place: Session(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                session=session.id,
                state=state,
                room=session.room,
                sender=session.sender,
                actor=actor(session.sender),
                detail=detail,
            ),
            critical=critical,
        )
        return record.seq, head


def _past(archive: Archive) -> dict[tuple[str, str], str]:
    """Return what the newest records say of sessions that others than their operators ended."""
    past: dict[tuple[str, str], str] = {}
    for record, _ in archive.newest:
        if not isinstance(record, Session):
            continue
        key = (record.room, record.sender)
        if record.state is SessionState.OPENED:
            past[key] = "the executor ended"
        elif record.detail == LEFT_BY_OPERATOR:
            past.pop(key, None)
        else:
            past[key] = record.detail
    return past
