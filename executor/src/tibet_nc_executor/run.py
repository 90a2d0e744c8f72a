# SPDX-License-Identifier: MIT
"""One command, start to end.

    intent on disk → started → output recorded as it comes → ended → token and outcome on disk

The command starts when its intent is durable, and its result is told when its outcome is (I1). A
shell gets ready for it meanwhile, and runs nothing of it if the intent fails.
Whatever fails on the way, the intent gets its end: an outcome, or an ``aborted`` record.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from tibet_nc_executor import provenance
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.command import Command, InputError
from tibet_nc_executor.door import Door
from tibet_nc_executor.ending import Ending, Status, described
from tibet_nc_executor.errors import ExecutorError, LedgerError, ShellError
from tibet_nc_executor.ledger import Place, Salted
from tibet_nc_executor.leftover import NOTE_CHARACTERS, Leftover
from tibet_nc_executor.provenance import AppendStore
from tibet_nc_executor.recording import Recorder
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.layout import recording_name, remainder_name
from tibet_nc_protocol.limits import NOTES
from tibet_nc_protocol.messages import Run
from tibet_nc_protocol.records import Intent, Outcome, actor
from tibet_nc_protocol.terms import DenialCode, Signal, Stage, ending_of


class DeniedError(ExecutorError):
    """A request that is refused; ``number`` is the record of that, if there is one."""

    def __init__(self, code: DenialCode, reason: str, number: int | None = None) -> None:
        self.code = code
        self.reason = reason
        self.number = number
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What every command needs of the executor."""

    archive: Archive
    tokens: AppendStore
    recordings: Path
    shell: Shell
    host: str
    keep_text: bool
    recording_bytes: int
    columns: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """A command that ended: its outcome, as recorded, and the beginning of its output."""

    outcome: Outcome
    head: str
    beginning: bytes


class Execution:
    """One command that was admitted; ``perform`` takes it from its intent to its outcome."""

    left: Final = 0
    """Processes that go on after it; as long as it runs none."""

    def __init__(
        self,
        request: Run,
        *,
        run: str,
        request_sha256: str,
        tools: Tools,
        may_leave: Callable[[], bool],
    ) -> None:
        self.request: Final = request
        self.run: Final = run
        self._session = ""
        self._request_sha256 = request_sha256
        self._tools = tools
        self._may_leave = may_leave
        self.leftover: Leftover | None = None
        """What the command left running, once it is done."""
        self.death: str | None = None
        """How the command ended the shell of its session, if it did, once it is done."""
        self.denied: DeniedError | None = None
        """Why there is no result, once it is done without one."""
        self._door: Door | None = None
        self._command: Command | None = None
        self._recorder: Recorder | None = None
        self._notes: list[str] = []
        self._typed: dict[str, int] = {}
        """How many bytes each operator has typed into the command."""
        self._commitment = ""
        self._cancelled: str | None = None
        self.since = 0.0
        """When the command's turn came, once the intent is on disk."""
        self.started: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        """Number and digest of the intent, when the command is about to start."""
        self.done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        """The result, or DeniedError."""

    @property
    def output_bytes(self) -> int:
        """How much was printed so far."""
        return 0 if self._recorder is None else self._recorder.bytes

    @property
    def newest(self) -> bytes:
        """The last of what was printed so far."""
        return b"" if self._recorder is None else bytes(self._recorder.newest)

    def write(self, text: str, *, end: bool, sender: str) -> None:
        """Type something into the command for an operator; raises DeniedError if it can't take it.

        That it was is recorded, and not what: it may be a password.
        """
        command = self._running()
        try:
            data = text.encode()
            command.write(data, end=end)
            self._typed[sender] = self._typed.get(sender, 0) + len(data)
        except InputError as error:
            raise DeniedError(DenialCode.BUSY, f"nothing was typed: {error}") from None

    @property
    def is_started(self) -> bool:
        """Whether the intent is on disk."""
        return self.started.done() and self.started.exception() is None

    @property
    def number(self) -> int:
        """The number of the intent, once it is on disk."""
        return self.started.result()[0]

    @property
    def is_running(self) -> bool:
        """Whether the command itself runs now, so that its outcome is still open."""
        return self._command is not None

    def fail(self, code: DenialCode, reason: str) -> None:
        """Give up before anything was recorded of this command."""
        self._deny(DeniedError(code, reason))

    def signal(self, signal: Signal, sender: str) -> None:
        """Interrupt or kill the command for an operator; raises DeniedError if it doesn't run."""
        command = self._running()
        self.note(f"{signal} by {sender}")
        if signal is Signal.INTERRUPT:
            command.interrupt()
        else:
            command.kill()

    def _running(self) -> Command:
        if self._command is None or self._command.is_over:
            reason = f"#{self.number} is just beginning or ending"
            raise DeniedError(DenialCode.UNKNOWN, reason)
        return self._command

    def note(self, note: str) -> None:
        """Have the outcome and the answer say something besides."""
        if note[:NOTE_CHARACTERS] not in self._notes:
            self._notes.append(note[:NOTE_CHARACTERS])

    def cancel(self, why: str) -> None:
        """Kill the command, or keep it from starting; may be called again."""
        self._cancelled = why
        if self._command is not None:
            self.note(why)
            self._command.kill()

    async def perform(self, session: str, shell: SessionShell) -> None:
        """Run the command in a session; the futures tell how it goes.

        Raises what is a fault of ours, after it was told as such: nobody must wait for ever.
        """
        self._session = session
        try:
            if self._cancelled is not None:
                await self._refuse_cancelled()
            self._door = await self._tools.shell.approach(self.request.command, shell)
            number = await self._intend()
            result = await self._run(number, shell)
        except DeniedError as error:
            self._deny(error)
        except Exception as error:
            what = f"the executor failed over this command ({type(error).__name__})"
            self._deny(DeniedError(DenialCode.UNRECORDED, f"{what}; nobody knows how it ended"))
            raise
        else:
            self.done.set_result(result)
        finally:
            if self._recorder is not None:
                self._recorder.close()
            if self._door is not None:  # nothing went through
                await self._door.shut()

    async def _refuse_cancelled(self, intent: int | None = None) -> NoReturn:
        """Deny a command that was cancelled before it started, so that it is on record.

        Else it would run if it is asked for again, since its answer was lost.
        """
        reason, number = f"nothing was run: {self._cancelled}", intent
        if intent is None:
            with suppress(LedgerError):  # the disk is full as well
                number, _ = await self._tools.archive.refuse(
                    self.request, stage=Stage.CHAIN, reason=reason
                )
        raise DeniedError(DenialCode.CANCELLED, reason, number)

    def _deny(self, error: DeniedError) -> None:
        self.denied = error
        for future in (self.started, self.done):
            if not future.done():
                future.set_exception(error)
                future.exception()  # it counts as seen, though nobody may be left to ask

    async def _intend(self) -> int:
        request = self.request
        text = Salted.of(request.command)
        self._commitment = text.commitment

        def intent(place: Place) -> Intent:
            return Intent(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                run=self.run,
                room=request.room,
                event=request.event,
                sender=request.sender,
                actor=actor(request.sender),
                device=request.device,
                session=self._session,
                ciphertext=request.ciphertext,
                command=self._commitment,
                request=self._request_sha256,
            )

        try:
            record, head = await self._tools.archive.append(
                intent, text=text if self._tools.keep_text else None, critical=False
            )
        except LedgerError as error:  # I7
            raise DeniedError(DenialCode.UNRECORDED, f"nothing was run: {error}") from None
        self.since = time.monotonic()
        self.started.set_result((record.seq, head))
        return record.seq

    async def _run(self, number: int, shell: SessionShell) -> Result:
        tools = self._tools
        if self._cancelled is not None:
            await self._abort(number, f"it had not started: {self._cancelled}")
            await self._refuse_cancelled(number)
        recorder = self._recorder = self._new_recorder(recording_name(number), number)
        later = self._new_recorder(remainder_name(number), number)
        door, self._door = self._door, None
        try:
            command = self._command = await tools.shell.start(
                self.request.command,
                shell,
                recorder.feed,
                later.feed,
                door=door,
                may_leave=self._may_leave,
            )
            ending = await command.wait()
        except ShellError as error:
            await self._abort(number, f"the shell could not be started: {error}")
            raise DeniedError(DenialCode.SHELL, str(error), number) from None
        finally:
            self._command = None
        if ending.death is not None:
            how = described(ending.death, Status(exit=ending.exit, signal=ending.signal))
            self.death = f"#{number} ended its shell: {how}"
            self.note(f"this ended your session ({how}): the next command begins a new one")
        if command.background is not None:
            self.leftover = Leftover(
                self.request,
                number=number,
                run=self.run,
                session=self._session,
                background=command.background,
                recorder=later,
            )
        try:
            return await self._conclude(number, ending, recorder)
        except Exception as error:
            if command.background is not None:  # without an outcome there is no remainder either
                self.leftover = None
                command.background.kill()
                await command.background.wait()
                later.close()
            if not isinstance(error, LedgerError | OSError):
                raise
            raise DeniedError(
                DenialCode.UNRECORDED,
                f"the command ran, but its outcome could not be recorded: {error}",
                number,
            ) from None

    def _new_recorder(self, name: str, number: int) -> Recorder:
        tools = self._tools
        return Recorder(
            tools.recordings / name,
            title=f"#{number}",
            columns=tools.columns,
            rows=tools.rows,
            limit_bytes=tools.recording_bytes,
        )

    async def _abort(self, number: int, detail: str) -> None:
        try:
            await self._tools.archive.abort(number, self.run, detail)
        except LedgerError as error:
            raise DeniedError(DenialCode.UNRECORDED, f"{detail}; {error}", number) from None

    async def _conclude(self, number: int, ending: Ending, recorder: Recorder) -> Result:
        tools = self._tools
        recorder.finish(ending_of(ending.exit, ending.signal))
        await recorder.settle()
        typed = (
            f"{counted(count, 'byte')} of input by {sender}"
            for sender, count in self._typed.items()
        )
        # First: nothing else is on record of it, and there is room for so many notes only.
        notes = [*typed, *self._notes, *ending.notes]
        if recorder.failure is not None:
            notes.append(recorder.failure)
        token = provenance.resolved(
            token_id=f"tibet_{self.run}",
            timestamp=datetime.now(UTC).isoformat(),
            actor=actor(self.request.sender),
            content={
                "command": self._commitment,
                "exit": ending.exit,
                "signal": ending.signal,
                "reason": ending.reason,
                "output_sha256": recorder.sha256,
            },
            references=[self.request.event, self.run, recorder.name],
            context={
                "host": tools.host,
                "room": self.request.room,
                "device": self.request.device,
                "session": self._session,
                "seq": number,
            },
            parent_id=tools.tokens.last_id,
        )
        try:
            token_sha256 = tools.archive.reserve.spend(partial(tools.tokens.add, token))
        except OSError as error:
            raise LedgerError(f"the token can't be written: {error.strerror}") from None
        files = [tools.tokens.descriptor]
        if recorder.descriptor is not None:
            files.append(recorder.descriptor)

        def outcome(place: Place) -> Outcome:
            return Outcome(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                intent=number,
                run=self.run,
                session=self._session,
                reason=ending.reason,
                duration_ms=ending.duration_ms,
                output_bytes=recorder.bytes,
                output_sha256=recorder.sha256,
                recorded_bytes=recorder.recorded,
                recording=recorder.name,
                leftover=ending.leftover,
                token=token.token_id,
                token_sha256=token_sha256,
                exit=ending.exit,
                signal=ending.signal,
                notes=tuple(note[:NOTE_CHARACTERS] for note in notes[:NOTES]),
            )

        record, head = await tools.archive.append(outcome, before=files)
        return Result(outcome=record, head=head, beginning=bytes(recorder.beginning))
