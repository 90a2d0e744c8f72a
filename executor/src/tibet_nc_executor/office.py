# SPDX-License-Identifier: MIT
"""Who answers which request. What may be asked, and when, the monitor has decided before."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tibet_nc_executor import VERSION
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.journal import summary
from tibet_nc_executor.ledger import Salted
from tibet_nc_executor.output import OutputReader
from tibet_nc_executor.printing import say
from tibet_nc_executor.run import DeniedError, Tools
from tibet_nc_executor.runs import Runs
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.messages import (
    Alert,
    Cage,
    ChainEntry,
    ChainReport,
    ChainTail,
    Chunk,
    CloseSession,
    Control,
    Denied,
    Done,
    Erase,
    Fetch,
    Hello,
    Input,
    Jobs,
    JobsReport,
    Limits,
    Recorded,
    Refuse,
    Request,
    Response,
    Run,
    Status,
    StatusReport,
    Stop,
    Tail,
    TailReport,
    Welcome,
)
from tibet_nc_protocol.records import Outcome, SecurityEvent
from tibet_nc_protocol.signing import Identity
from tibet_nc_protocol.terms import DenialCode, run_id

READERS: Final = 16
"""Recordings that are held open between two requests for their pieces. One that nobody asks for
any more must not keep its file open for ever, and one that was closed is only read anew."""

type Send = Callable[[Response], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is told of this executor and doesn't change while it runs."""

    host: str
    rows: int
    columns: int
    identity: Identity
    cage: Cage
    limits: Limits


class Office:
    """Answers requests; one for all connections."""

    def __init__(self, *, facts: Facts, archive: Archive, runs: Runs, tools: Tools) -> None:
        self._facts = facts
        self._archive = archive
        self._runs = runs
        self._tools = tools
        self._since = time.monotonic()
        self._unrecorded: str | None = None
        self._reading: dict[str, OutputReader] = {}

    async def answer(self, request: Request, request_sha256: str, send: Send) -> None:
        """Answer one request; a refusal is an answer too. Never raises for what was asked."""
        try:
            await self._answer(request, request_sha256, send)
            self._say_recorded(request)
        except (DeniedError, LedgerError) as error:
            if isinstance(request, Hello):
                raise
            if isinstance(error, LedgerError):  # I7
                error = DeniedError(DenialCode.UNRECORDED, str(error))
            if error.code is DenialCode.UNRECORDED:
                self._say_unrecorded(error.reason)
            await send(
                Denied(
                    request=request.request,
                    code=error.code,
                    reason=error.reason[:TEXT_CHARACTERS],
                    number=error.number,
                )
            )

    def _say_unrecorded(self, reason: str) -> None:
        """Tell the log, once, what a room is told that refers to it."""
        if self._unrecorded != reason:
            say(reason)
        self._unrecorded = reason

    def _say_recorded(self, request: Request) -> None:
        if self._unrecorded is not None and isinstance(request, Run | Refuse):
            say("commands are recorded again")
            self._unrecorded = None

    async def _answer(self, request: Request, request_sha256: str, send: Send) -> None:
        match request:
            case Hello():
                await send(self._welcome())
            case Run():
                await self._runs.run(request, request_sha256, send)
            case Refuse():
                await send(await self._refuse(request))
            case Alert():
                await send(await self._alert(request))
            case Control():
                self._runs.control(request)
                await send(Done(request=request.request, count=1))
            case Input():
                self._runs.write(request)
                await send(Done(request=request.request, count=1))
            case Stop():
                await send(Done(request=request.request, count=self._runs.kill_all(request)))
            case Tail():
                size, data = self._runs.tail(request.number)
                await send(
                    TailReport(
                        request=request.request,
                        number=request.number,
                        output_bytes=size,
                        data=data,
                    )
                )
            case CloseSession():
                number, head = await self._runs.close_session(request.room, request.sender)
                await send(Recorded(request=request.request, number=number, head=head))
            case Fetch():
                await send(self._fetch(request))
            case Status():
                await send(self._status(request))
            case ChainTail():
                await send(self._chain(request))
            case Erase():
                await send(await self._erase(request))
            case Jobs():
                await send(JobsReport(request=request.request, jobs=self._runs.jobs()))

    def _welcome(self) -> Welcome:
        facts = self._facts
        return Welcome(
            host=facts.host,
            records=self._archive.length,
            head=self._archive.head,
            rows=facts.rows,
            columns=facts.columns,
        )

    async def _refuse(self, request: Refuse) -> Recorded:
        run = run_id(request.room, request.event)
        self._runs.check_not_run(run)
        if (known := await self._archive.refusal(run)) is not None:
            return self._refused_before(request, *known)
        text = None if request.command is None else Salted.of(request.command)
        number, head = await self._archive.refuse(
            request,
            stage=request.stage,
            reason=request.reason,
            family=request.family,
            command=None if text is None else text.commitment,
            text=text if self._tools.keep_text else None,
        )
        return Recorded(request=request.request, number=number, head=head)

    def _refused_before(self, request: Refuse, number: int, head: str) -> Recorded:
        """Return the record of a refusal, or raise DeniedError with what that says if it differs.

        Else the room would be told what the record doesn't say.
        """
        record = self._archive.read_refusal(number)
        if (record.stage, record.family) != (request.stage, request.family):
            raise DeniedError(DenialCode.REFUSED, record.detail, number)
        return Recorded(request=request.request, number=number, head=head)

    async def _alert(self, request: Alert) -> Recorded:
        record, head = await self._archive.security(
            SecurityEvent.AGENT,
            f"{request.what}: {request.detail}"[:TEXT_CHARACTERS],
            room=request.room,
            event=request.event,
            sender=request.sender,
        )
        return Recorded(request=request.request, number=record.seq, head=head)

    async def _erase(self, request: Erase) -> Recorded:
        try:
            record, head = await self._archive.erase(
                request.number,
                request.reason,
                self._tools.recordings if request.recording else None,
            )
        except LookupError as error:
            raise DeniedError(DenialCode.UNKNOWN, str(error.args[0])) from None
        finally:
            self._reading.clear()  # what is open can still be read, and keeps its place on the disk
        return Recorded(request=request.request, number=record.seq, head=head)

    def _fetch(self, request: Fetch) -> Chunk:
        known = self._archive.run(request.run)
        if known is None or not isinstance(known.ending, Outcome):
            raise DeniedError(DenialCode.UNKNOWN, "no finished command has this id")
        if not known.ending.recorded_bytes:
            return Chunk(request=request.request, offset=request.offset, data=b"", last=True)
        reader = self._reading.pop(request.run, None)
        if reader is None:
            if len(self._reading) >= READERS:
                del self._reading[next(iter(self._reading))]
            reader = OutputReader(self._tools.recordings / known.ending.recording)
        try:
            data, last = reader.read(request.offset)
        except FileNotFoundError:
            reason = "the recording is kept no longer"
            raise DeniedError(DenialCode.UNKNOWN, reason) from None
        except (OSError, DecodeError) as error:
            raise DeniedError(DenialCode.UNKNOWN, f"the recording can't be read: {error}") from None
        if not last:
            self._reading[request.run] = reader
        return Chunk(request=request.request, offset=request.offset, data=data, last=last)

    def _status(self, request: Status) -> StatusReport:
        facts = self._facts
        session = self._runs.session_of(request.room, request.sender)
        return StatusReport(
            request=request.request,
            host=facts.host,
            version=VERSION,
            uptime_s=int(time.monotonic() - self._since),
            records=self._archive.length,
            head=self._archive.head,
            runs=self._archive.commands,
            refusals=self._archive.refused,
            running=self._runs.running,
            session=None if session is None else session.id,
            session_commands=0 if session is None else session.commands,
            directory=None if session is None or session.shell is None else session.shell.directory,
            denial=self._runs.denial(request.room, request.sender),
            journal=self._archive.unjournaled,
            cage=facts.cage,
            limits=facts.limits,
        )

    def _chain(self, request: ChainTail) -> ChainReport:
        newest = list(self._archive.newest)[-request.limit :]
        return ChainReport(
            request=request.request,
            records=self._archive.length,
            head=self._archive.head,
            executor=self._facts.identity.id,
            key=self._facts.identity.public_key.hex,
            entries=tuple(
                ChainEntry(
                    number=record.seq,
                    kind=type(record).__name__.lower(),
                    time=record.time,
                    digest=head,
                    summary=summary(record)[:TEXT_CHARACTERS],
                )
                for record, head in newest
            ),
        )
