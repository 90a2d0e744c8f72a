# SPDX-License-Identifier: MIT
"""The chain as people think of it: one entry for each command, from intent to outcome.

Entries come in the order of their records. A command that still runs holds back those after it,
up to a number of entries; from then on it comes when it ends. Nothing here is verified but that
each text is the one its record commits to: whether the records are to be believed is what
``verify`` says.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import Final, Self

import msgspec

from tibet_nc_audit.errors import UnreadableError
from tibet_nc_audit.lookahead import DiffersError, Lookahead
from tibet_nc_audit.payloads import LINE_BYTES, read_payload
from tibet_nc_audit.reader import LineFile, State
from tibet_nc_audit.unread import Unread
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name
from tibet_nc_protocol.limits import OPEN_RUNS, RECORD_BYTES
from tibet_nc_protocol.records import (
    RECORDS,
    Aborted,
    Checkpoint,
    Genesis,
    Intent,
    Key,
    Outcome,
    Refusal,
    Remainder,
    Security,
    SecurityEvent,
    Session,
    SessionState,
    digest,
)
from tibet_nc_protocol.terms import Reason, Stage

type Beginning = Genesis | Intent | Remainder | Refusal | Security | Session | Checkpoint | Key
"""Records that begin an entry; the others end one."""

type TakeText = Callable[[int, str], str | None]
"""Gives the text for a number and a commitment, or None; raises DiffersError, UnreadableError."""

HOLD: Final = 10_000
"""Entries that a command that still runs can hold back, about 10 MB with ordinary texts."""

HOLD_CHARACTERS: Final = 16 * 1024 * 1024
"""Most characters of texts in what is held back."""

LATE: Final = 16 * OPEN_RUNS
"""Commands that hold nothing back any more and are still waited for: no more can run at once, so
with more of them a chain is wrong, and then they come without their end."""


class Kind(StrEnum):
    """What an entry is about."""

    COMMAND = "command"
    REMAINDER = "remainder"
    """What a command had left running has ended."""
    REFUSAL = "refusal"
    SECURITY = "security"
    SESSION = "session"
    GENESIS = "genesis"
    CHECKPOINT = "checkpoint"
    KEY = "key"
    DAMAGED = "damaged"
    """A line that is no record, or not the one that belongs there."""
    UNREADABLE = "unreadable"
    """Records that can't be read, or texts; of the others nothing is missed that may be there."""


class Verdict(StrEnum):
    """What became of a message."""

    RAN = "ran"
    REFUSED = "refused"
    ABORTED = "aborted"
    RUNNING = "running"


class Text(StrEnum):
    """What is left of a command's text."""

    KEPT = "kept"
    ERASED = "erased"
    """It isn't there any more, or never was (audit.command_text)."""
    DIFFERS = "differs"
    """What is there isn't what the record commits to."""
    UNREADABLE = "unreadable"


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry; the names are those of the records, ``ended`` is the outcome's time."""

    seq: int
    kind: Kind
    time: str = ""
    digest: str = ""
    verdict: Verdict | None = None
    operator: str | None = None
    command: str | None = None
    text: Text | None = None
    exit: int | None = None
    signal: int | None = None
    reason: Reason | None = None
    outcome: int | None = None
    ended: str | None = None
    duration_ms: int | None = None
    output_bytes: int | None = None
    output_sha256: str | None = None
    recorded_bytes: int | None = None
    recording: str | None = None
    leftover: int | None = None
    killed: int | None = None
    token: str | None = None
    notes: tuple[str, ...] = ()
    room: str | None = None
    event: str | None = None
    device: str | None = None
    session: str | None = None
    run: str | None = None
    stage: Stage | None = None
    family: str | None = None
    what: SecurityEvent | None = None
    state: SessionState | None = None
    uid: int | None = None
    number: int | None = None
    note: str | None = None
    detail: str | None = None


def entries(
    state: State, *, hold: int = HOLD, wait: Callable[[], None] | None = None
) -> Iterator[Entry]:
    """Yield the entries of a chain, as far as it can be read; raises AuditError.

    With ``wait`` the end of the chain isn't the end: it is called, and then looked for more.
    """
    joiner = _Joiner(hold)
    segments = deque(state.segments())
    while segments:
        number = first = segments.popleft()
        name = segment_name(first)
        with _Texts(state, name, growing=not segments) as texts:
            if texts.unread is not None:
                yield Entry(seq=first, kind=Kind.UNREADABLE, detail=str(texts.unread))
            try:
                with state.open(name, RECORD_BYTES, CHAIN) as file:
                    for line in _lines(state, file, first, wait):
                        yield from joiner.take(number, line, texts.take)
                        number += 1
            except UnreadableError as error:
                yield from joiner.lose(number, str(error))
        if not segments:
            segments.extend(later for later in state.segments() if later > first)
    yield from joiner.finish()


def _lines(
    state: State, file: LineFile, first: int, wait: Callable[[], None] | None
) -> Iterator[bytes]:
    while True:
        # What was in this segment before there was a later one is all that it will ever hold.
        complete = wait is None or state.segments()[-1] > first
        yield from file
        if complete or wait is None:
            return
        wait()


class _Texts:
    """The texts of one segment, also when the executor makes or replaces their file meanwhile.

    Only those of the last segment may be added meanwhile, be it to another file of that name.
    """

    def __init__(self, state: State, name: str, *, growing: bool) -> None:
        self._state = state
        self._name = name
        self._growing = growing
        self.unread: UnreadableError | None = None
        """Why none of them can be read."""
        self._files = ExitStack()
        self._file: LineFile | None = None
        self._lookahead = Lookahead(None, read_payload)

    def __enter__(self) -> Self:
        try:
            self._reopen()
        except UnreadableError as error:
            self.unread = error
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def take(self, number: int, commitment: str) -> str | None:
        """Return a record's text, None if it isn't there.

        Raises DiffersError, UnreadableError.
        """
        if self.unread is not None:
            raise self.unread
        text = self._lookahead.take(number, commitment)
        if text is None and self._growing and self._reopen():
            text = self._lookahead.take(number, commitment)
        return text

    def _reopen(self) -> bool:
        """Open the file that has the name now, if it is another one than before."""
        with ExitStack() as files:
            file = files.enter_context(self._state.open_if_there(self._name, LINE_BYTES, PAYLOADS))
            before = None if self._file is None else self._file.identity
            if file is None or file.identity == before:
                return False
            self._files.close()
            self._files = files.pop_all()
        self._file = file
        self._lookahead = Lookahead(file, read_payload)
        return True


class _Joiner:
    """Puts intents and what ended them together."""

    def __init__(self, hold: int) -> None:
        self._hold = hold
        self._waiting: dict[int, Entry] = {}
        """Entries in their order, the first of which isn't complete."""
        self._characters = 0
        self._late: dict[int, Entry] = {}
        """Commands that hold nothing back any more."""
        self._unread = Unread()

    def take(self, number: int, line: bytes, texts: TakeText) -> Iterator[Entry]:
        """Take the line in the place of a record; yield the entries that are complete by it."""
        self._unread.go_on(number)
        try:
            record = RECORDS.decode(line)
        except DecodeError as error:
            yield from self._add(Entry(seq=number, kind=Kind.DAMAGED, detail=str(error)))
            return
        if record.seq != number:
            detail = f"in its place stands a record with the number {record.seq}"
            yield from self._add(Entry(seq=number, kind=Kind.DAMAGED, detail=detail))
            return
        if not isinstance(record, Outcome | Aborted):
            yield from self._add(begun(record, digest(line), texts))
            return
        command = self._waiting.get(record.intent) or self._late.pop(record.intent, None)
        if command is None or command.verdict is not Verdict.RUNNING:
            kind, why = Kind.DAMAGED, "is not open"
            if record.intent in self._unread:
                kind, why = Kind.UNREADABLE, "can't be read"
            detail = f"ends command {record.intent}, which {why}"
            yield from self._add(Entry(seq=number, kind=kind, detail=detail))
        elif command.seq in self._waiting:
            self._waiting[command.seq] = ended(command, record)
            yield from self._release()
        else:
            yield ended(command, record)

    def lose(self, number: int, why: str) -> Iterator[Entry]:
        """Pass over the records from a number on, to the end of their file."""
        self._unread.lose(number)
        return self._add(Entry(seq=number, kind=Kind.UNREADABLE, detail=why))

    def finish(self) -> Iterator[Entry]:
        """Yield the rest: commands that run, and what they held back."""
        yield from self._late.values()
        yield from self._waiting.values()

    def _add(self, entry: Entry) -> Iterator[Entry]:
        self._waiting[entry.seq] = entry
        self._characters += len(entry.command or "")
        return self._release()

    def _release(self) -> Iterator[Entry]:
        while self._waiting:
            first = next(iter(self._waiting.values()))
            running = first.verdict is Verdict.RUNNING
            full = len(self._waiting) > self._hold or self._characters > HOLD_CHARACTERS
            if running and not full:
                return
            del self._waiting[first.seq]
            self._characters -= len(first.command or "")
            if not running:
                yield first
                continue
            self._late[first.seq] = first
            if len(self._late) > LATE:
                yield self._late.pop(next(iter(self._late)))


def begun(record: Beginning, head: str, texts: TakeText) -> Entry:
    """Return the entry of a record that ends no command; ``head`` is its digest."""
    match record:
        case Intent():
            command, text = _text(record.seq, record.command, texts)
            return Entry(
                seq=record.seq,
                kind=Kind.COMMAND,
                time=record.time,
                digest=head,
                verdict=Verdict.RUNNING,
                operator=record.sender,
                command=command,
                text=text,
                room=record.room,
                event=record.event,
                device=record.device,
                session=record.session,
                run=record.run,
            )
        case Remainder():
            return Entry(
                seq=record.seq,
                kind=Kind.REMAINDER,
                time=record.time,
                digest=head,
                reason=record.reason,
                duration_ms=record.duration_ms,
                output_bytes=record.output_bytes,
                output_sha256=record.output_sha256,
                recorded_bytes=record.recorded_bytes,
                recording=record.recording or None,
                killed=record.killed,
                notes=record.notes,
                session=record.session,
                run=record.run,
                number=record.intent,
                detail=f"what command {record.intent} had left running has ended: {record.reason}",
            )
        case Refusal():
            command, text = _text(record.seq, record.command, texts)
            return Entry(
                seq=record.seq,
                kind=Kind.REFUSAL,
                time=record.time,
                digest=head,
                verdict=Verdict.REFUSED,
                operator=record.sender,
                command=command,
                text=text,
                room=record.room,
                event=record.event,
                device=record.device,
                stage=record.stage,
                family=record.family,
                detail=record.detail,
            )
        case Security():
            return Entry(
                seq=record.seq,
                kind=Kind.SECURITY,
                time=record.time,
                digest=head,
                operator=record.sender,
                room=record.room,
                event=record.event,
                what=record.what,
                uid=record.uid,
                number=record.number,
                detail=record.detail,
            )
        case Session():
            return Entry(
                seq=record.seq,
                kind=Kind.SESSION,
                time=record.time,
                digest=head,
                operator=record.sender,
                room=record.room,
                session=record.session,
                state=record.state,
                detail=record.detail,
            )
        case Checkpoint():
            return Entry(
                seq=record.seq,
                kind=Kind.CHECKPOINT,
                time=record.time,
                digest=head,
                note=record.note,
                detail=f"checkpoint of {counted(record.size, 'record')}, root {record.root}",
            )
        case Key():
            detail = f"from here on the key is {record.key}, of {record.executor}"
            return Entry(
                seq=record.seq, kind=Kind.KEY, time=record.time, digest=head, detail=detail
            )
        case Genesis():
            detail = f"chain of {record.executor} on {record.host}, version {record.version}"
            return Entry(
                seq=record.seq, kind=Kind.GENESIS, time=record.time, digest=head, detail=detail
            )


def ended(command: Entry, record: Outcome | Aborted) -> Entry:
    """Return a command's entry with what its last record adds."""
    if isinstance(record, Aborted):
        return msgspec.structs.replace(
            command,
            verdict=Verdict.ABORTED,
            reason=Reason.ABORTED,
            outcome=record.seq,
            ended=record.time,
            detail=record.detail,
        )
    return msgspec.structs.replace(
        command,
        verdict=Verdict.RAN,
        exit=record.exit,
        signal=record.signal,
        reason=record.reason,
        outcome=record.seq,
        ended=record.time,
        duration_ms=record.duration_ms,
        output_bytes=record.output_bytes,
        output_sha256=record.output_sha256,
        recorded_bytes=record.recorded_bytes,
        recording=record.recording or None,
        leftover=record.leftover,
        token=record.token,
        notes=record.notes,
    )


def _text(number: int, commitment: str | None, texts: TakeText) -> tuple[str | None, Text | None]:
    if commitment is None:
        return None, None
    try:
        text = texts(number, commitment)
    except DiffersError:
        return None, Text.DIFFERS
    except UnreadableError:
        return None, Text.UNREADABLE
    return text, Text.ERASED if text is None else Text.KEPT
