# SPDX-License-Identifier: MIT
"""The chain with all that follows from it: journal and index (derived.py), and the newest records.

Whoever has something to record comes here.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tibet_nc_executor import segments
from tibet_nc_executor.derived import Derived
from tibet_nc_executor.durable import sync_directory
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.index import Index, Known
from tibet_nc_executor.journal import Gap
from tibet_nc_executor.ledger import Ledger, Place, Salted
from tibet_nc_executor.reserve import Reserve
from tibet_nc_protocol import note
from tibet_nc_protocol.layout import CHAIN, recording_name, remainder_name
from tibet_nc_protocol.limits import CHAIN_TAIL, TEXT_CHARACTERS
from tibet_nc_protocol.messages import Refuse, Run
from tibet_nc_protocol.records import (
    ERASED_BOTH,
    ERASED_TEXT,
    FORMAT,
    Aborted,
    Checkpoint,
    Genesis,
    Key,
    Record,
    Refusal,
    Remainder,
    Security,
    SecurityEvent,
    actor,
)
from tibet_nc_protocol.signing import Identity, PublicKey
from tibet_nc_protocol.terms import Reason, Stage, run_id

EMPTY_SHA256: Final = hashlib.sha256().hexdigest()


class Archive:
    """Everything that one executor has recorded."""

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        *,
        clock: Callable[[], float],
        segment_bytes: int,
        checkpoint_records: int,
    ) -> None:
        """Open the chain, within a running loop, and bring the index up to it.

        What the one before may not have sent to the journal is sent. Raises LedgerError.
        """
        self._chain = directory / CHAIN
        self._ledger = Ledger(
            directory, identity, clock=clock, segment_bytes=segment_bytes, after=self._recorded
        )
        self._torn = self._ledger.torn
        self._identity = identity
        self._handed_over = False
        self._origin = ""
        self._due = asyncio.Event()
        self.on_checkpoint: list[Callable[[Checkpoint], None]] = []
        """Called with each checkpoint that is on disk."""
        self._checkpoint_records = checkpoint_records
        self._since_checkpoint = 0
        self._derived: Final = Derived(
            directory, length=self._ledger.length, head=self._ledger.head, missed=self._tell
        )
        self._ledger.tree = self._derived.tree
        self._under_way: set[asyncio.Task[object]] = set()
        """What has to be done to its end, whoever waits for it."""
        self._refusing: dict[str, asyncio.Task[tuple[int, str]]] = {}
        """By the run that each event could have started."""
        start = max(0, self._ledger.length - CHAIN_TAIL)
        self.newest: Final = deque(segments.read_from(self._chain, start), maxlen=CHAIN_TAIL)
        """The newest records with their digests, oldest first."""
        self._gap: Security | None = None
        for record, _ in self.newest:
            self._note_gap(record)

    @property
    def length(self) -> int:
        """Number of records."""
        return self._ledger.length

    @property
    def head(self) -> str:
        """Digest of the last record."""
        return self._ledger.head

    @property
    def reserve(self) -> Reserve:
        """The room on the disk that is kept for what must be recorded."""
        return self._ledger.reserve

    @property
    def unjournaled(self) -> str | None:
        """What the journal lacks now, or the newest record that says so; None if there is none.

        Records from before the start count if they are among the newest.
        """
        if (gap := self._derived.unjournaled) is not None:
            return f"{gap} so far"
        return None if self._gap is None else f"record #{self._gap.seq}: {self._gap.detail}"

    @property
    def index(self) -> Index:
        """The index, brought up to the chain; raises LedgerError when that can't be done."""
        return self._derived.index

    def run(self, run: str) -> Known | None:
        """Return what the chain says about a run, also on a full disk; raises LedgerError."""
        return self._derived.run(run)

    @property
    def commands(self) -> int:
        """Number of commands that were ever begun."""
        return self._derived.counts.commands

    @property
    def refused(self) -> int:
        """Number of messages that were ever refused."""
        return self._derived.counts.refused

    async def begin(self, *, host: str, version: str, agent_key: PublicKey) -> None:
        """Record what the start found: a new chain, a torn line, commands that never ended."""
        if self.length == 0:
            await self.append(
                lambda place: Genesis(
                    seq=place.seq,
                    prev=place.prev,
                    time=place.time,
                    format=FORMAT,
                    host=host,
                    executor=self._identity.id,
                    key=self._identity.public_key.hex,
                    agent=agent_key.id,
                    agent_key=agent_key.hex,
                    version=version,
                )
            )
        first = next(segments.read_from(self._chain, 0))[0]
        if not isinstance(first, Genesis):
            raise LedgerError("the chain has no beginning: its first record is no genesis")
        self._origin = first.executor
        await self.own_up()
        for number, run in self.index.unfinished():
            await self.abort(number, run, "the executor ended while the command ran")
        for number, run, session in self.index.leftovers():
            await self._abort_remainder(number, run, session)

    async def own_up(self) -> None:
        """Record what was cut off the end when the chain was opened, once; raises LedgerError."""
        torn, self._torn = self._torn, None
        if torn is not None:
            await self.security(SecurityEvent.TORN_RECORD, str(torn))

    async def append[R: Record](
        self,
        make: Callable[[Place], R],
        *,
        text: Salted | None = None,
        before: Sequence[int] = (),
        critical: bool = True,
    ) -> tuple[R, str]:
        """Append a record as Ledger.append does; raises LedgerError.

        Without a whole index nobody can say whether an event ran before, so then only what is
        critical is recorded.
        """
        if not critical:
            self._derived.catch_up()
        return await self._ledger.append(make, text=text, before=before, critical=critical)

    async def security(
        self,
        what: SecurityEvent,
        detail: str,
        *,
        room: str | None = None,
        event: str | None = None,
        sender: str | None = None,
        uid: int | None = None,
        number: int | None = None,
    ) -> tuple[Security, str]:
        """Record something that an auditor must know; raises LedgerError."""
        return await self.append(
            lambda place: Security(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                what=what,
                detail=detail,
                room=room,
                event=event,
                sender=sender,
                uid=uid,
                number=number,
            )
        )

    async def refuse(
        self,
        message: Run | Refuse,
        *,
        stage: Stage,
        reason: str,
        family: str | None = None,
        command: str | None = None,
        text: Salted | None = None,
    ) -> tuple[int, str]:
        """Record that a message was refused, unless it was before; raises LedgerError.

        Return number and digest of the record. ``command`` is the commitment to ``text``.
        """
        run = run_id(message.room, message.event)
        if (known := await self.refusal(run)) is not None:
            return known

        async def record() -> tuple[int, str]:
            record, head = await self.append(
                lambda place: Refusal(
                    seq=place.seq,
                    prev=place.prev,
                    time=place.time,
                    room=message.room,
                    event=message.event,
                    sender=message.sender,
                    actor=actor(message.sender),
                    stage=stage,
                    detail=reason,
                    device=message.device,
                    family=family,
                    command=command,
                ),
                text=text,
            )
            return record.seq, head

        refusing = self._refusing[run] = self._keep(record())
        refusing.add_done_callback(lambda _: self._refusing.pop(run))
        return await asyncio.shield(refusing)

    async def refusal(self, run: str) -> tuple[int, str] | None:
        """Return number and digest of the record that refused an event, None if there is none.

        Waits only for one that is on its way to the disk. Raises LedgerError.
        """
        if (refusing := self._refusing.get(run)) is not None:
            return await asyncio.shield(refusing)
        return self.index.refusal(run)

    def read_refusal(self, number: int) -> Refusal:
        """Return a record that the index calls a refusal; raises LedgerError if it isn't one."""
        record = self.read(number)
        if not isinstance(record, Refusal):
            raise LedgerError(f"record {number} is no refusal; the index can be deleted")
        return record

    def read(self, number: int) -> Record:
        """Return a record of the chain; raises LedgerError."""
        return next(segments.read_from(self._chain, number))[0]

    async def abort(self, number: int, run: str, detail: str) -> None:
        """Record that nothing more will be known of a command; raises LedgerError."""
        await self.append(
            lambda place: Aborted(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                intent=number,
                run=run,
                detail=detail,
            )
        )

    async def _abort_remainder(self, number: int, run: str, session: str) -> None:
        await self.append(
            lambda place: Remainder(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                intent=number,
                run=run,
                session=session,
                reason=Reason.ABORTED,
                duration_ms=0,
                output_bytes=0,
                output_sha256=EMPTY_SHA256,
                recorded_bytes=0,
                recording="",
                killed=0,
            )
        )

    async def change_key(self, new: Identity) -> None:
        """Record that the chain goes on with another key; it must be opened anew with that one."""
        self._handed_over = True
        await self.append(
            lambda place: Key(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                executor=new.id,
                key=new.public_key.hex,
            )
        )

    async def erase(
        self, number: int, reason: str, recordings: Path | None
    ) -> tuple[Security, str]:
        """Erase the text that a record commits to, and its recording if its directory is given.

        It is recorded first: a crash in between leaves a text that is to be erased again, never
        one that vanished without a trace. Raises LookupError when there is nothing to erase, and
        LedgerError. What was begun is done, also if whoever has asked is gone.
        """
        return await asyncio.shield(self._keep(self._erase(number, reason, recordings)))

    async def _erase(
        self, number: int, reason: str, recordings: Path | None
    ) -> tuple[Security, str]:
        names = (recording_name(number), remainder_name(number))
        found = [] if recordings is None else [recordings / name for name in names]
        found = [path for path in found if path.exists()]
        if not self._ledger.has_text(number) and not found:
            raise LookupError(f"record {number} has no text or recording to erase")
        what = ERASED_BOTH if found else ERASED_TEXT
        record = await self.security(
            SecurityEvent.ERASED, f"{what} of #{number}: {reason}"[:TEXT_CHARACTERS], number=number
        )
        try:
            self._ledger.erase_text(number)
            for path in found:
                path.unlink(missing_ok=True)  # it may be kept no longer, since just now
                sync_directory(path.parent)
        except OSError as error:
            raise LedgerError(f"recorded, but not erased: {error.strerror}; do it again") from None
        return record

    async def checkpoint(self) -> None:
        """Record how large the chain is and what its root is; raises LedgerError."""
        self._since_checkpoint = 0

        def checkpoint(place: Place) -> Checkpoint:
            root = place.tree.root()
            noted = note.Checkpoint(origin=self._origin, size=place.seq, root=root)
            return Checkpoint(
                seq=place.seq,
                prev=place.prev,
                time=place.time,
                size=place.seq,
                root=root.hex(),
                note=note.sign_note(noted.text(), self._origin, self._identity),
            )

        await self.append(checkpoint)

    async def checkpoint_regularly(self, seconds: float) -> None:
        """Make a checkpoint after every so many records, and after so long without one."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._due.wait()
            self._due.clear()
            with suppress(LedgerError):  # whoever wants to run something is told
                await self.checkpoint()

    async def close(self) -> None:
        """Wait until all is on disk and in the journal, or on record as not being there.

        After a change of key nothing can be recorded any more: the key's record stays the last.
        """
        if self._under_way:
            await asyncio.wait(self._under_way)
        gap = await self._derived.end_journal()
        if gap is not None and not self._handed_over:
            with suppress(LedgerError):  # the disk is full as well
                await self.security(
                    SecurityEvent.JOURNAL,
                    f"{gap}, and none from there on until the executor ended",
                    number=gap.first,
                )
                self._derived.told(gap)
        await self._ledger.close()
        self._derived.close()

    def _note_gap(self, record: Record) -> None:
        if isinstance(record, Security) and record.what is SecurityEvent.JOURNAL:
            self._gap = record

    def _tell(self, gap: Gap) -> None:
        if not self._handed_over:
            self._keep(self._record_gap(gap))

    def _keep[T](self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _record_gap(self, gap: Gap) -> None:
        with suppress(LedgerError):  # whoever wants to run something is told
            await self.security(SecurityEvent.JOURNAL, str(gap), number=gap.first)
            self._derived.told(gap)

    def _recorded(self, record: Record, head: str) -> None:
        self.newest.append((record, head))
        self._note_gap(record)
        self._since_checkpoint += 1
        if self._since_checkpoint >= self._checkpoint_records:
            self._due.set()
        if isinstance(record, Checkpoint):
            for tell in self.on_checkpoint:
                tell(record)
        self._derived.add(record, head)
