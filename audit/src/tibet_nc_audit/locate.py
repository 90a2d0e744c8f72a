# SPDX-License-Identifier: MIT
"""Finding one record in the chain, and with it the one that ends or begins the same command."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tibet_nc_audit.errors import AuditError, DisagreementError, UnreadableError
from tibet_nc_audit.heads import Held
from tibet_nc_audit.lines import ERASED, INTENT, KEY, RETENTION, decoded, named_key, signed
from tibet_nc_audit.reader import State
from tibet_nc_protocol.records import (
    Aborted,
    Genesis,
    Intent,
    Key,
    Outcome,
    Record,
    Remainder,
    Security,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey


@dataclass(frozen=True, kw_only=True)
class Located:
    """The line in the place of a record, the line before, and the record if it is one."""

    number: int
    line: bytes
    before: bytes | None
    record: Record | None


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is in the place of a record; for a command, where it begins and where it ends."""

    begin: Located
    end: Located | None
    unread: str = ""
    """Why nobody can tell where it ends."""

    @property
    def outcome(self) -> Outcome | None:
        """The record of how the command ended, if it is one that ended."""
        record = None if self.end is None else self.end.record
        return record if isinstance(record, Outcome) else None

    @property
    def recorded(self) -> Outcome | Remainder | None:
        """The record that speaks of a recording, if there is one."""
        record = self.begin.record
        return record if isinstance(record, Remainder) else self.outcome


def locate(state: State, number: int) -> Command:
    """Find a record; asked for the end of a command, find the command. Raises AuditError."""
    found = _find(state, number)
    record = found.begin.record
    if isinstance(record, Outcome | Aborted) and record.intent < number:
        command = _find(state, record.intent)
        if command.end is not None and command.end.number == number:
            return command
    return found


def _find(state: State, number: int) -> Command:
    begin: Located | None = None
    try:
        for found in _places(state, number):
            if begin is None:
                begin = found
            else:
                return Command(begin=begin, end=found)
    except UnreadableError as error:
        if begin is None:
            raise
        return Command(begin=begin, end=None, unread=str(error))
    if begin is None:
        raise AuditError(f"there is no record {number}")
    return Command(begin=begin, end=None)


def _places(state: State, number: int) -> Iterator[Located]:
    """Yield the place of a record, and that of the one which ends it; raises AuditError."""
    begun = False
    before: bytes | None = None
    ends = INTENT % number
    for place, line in state.records_from(max(number - 1, 0)):
        record = decoded(line) if place == number or (begun and ends in line) else None
        if place == number or (isinstance(record, Outcome | Aborted) and record.intent == number):
            yield Located(number=place, line=line, before=before, record=record)
            if begun or not isinstance(record, Intent):
                return
            begun = True
        before = line


def find_held(state: State, held: Held) -> Held:
    """Look up the record that a head is of, if it is of a command's end; raises UnreadableError.

    If there is none, it stays one that no chain reaches.
    """
    if held.command is None:
        return held
    try:
        command = locate(state, held.command)
    except UnreadableError:
        raise
    except AuditError:
        return held
    if command.unread:
        raise UnreadableError(command.unread)
    if isinstance(command.begin.record, Intent) and command.end is None:
        return held
    return replace(held, record=(command.end or command.begin).number)


def key_at(state: State, number: int, key: PublicKey | None, *, since: int = 0) -> PublicKey:
    """Return the key that signs a record: ``key``, or what the last key record before it names.

    ``key`` signs the records from ``since`` on. Without it, the genesis record's is taken. Raises
    DisagreementError when a key can't be told, SignatureError when a key record isn't signed by the
    key before it, or AuditError.
    """
    for place, line in state.records_from(since):
        if place == 0 and key is None and isinstance(genesis := decoded(line), Genesis):
            key = PublicKey.from_hex(genesis.key)
        if key is None or place >= number:
            break
        if KEY in line and isinstance(record := decoded(line), Key):
            verify_signature(record, key)
            key = PublicKey.from_hex(record.key)
    if key is None:
        raise DisagreementError("", "no genesis record names a key; --key gives one")
    return key


def erasure(
    state: State, number: int, first: PublicKey | None, *, recording: bool = False
) -> Security | None:
    """Return the record that says that something of a command was erased; raises AuditError.

    With ``recording`` it is one that says so of the recording.
    """
    for record in _said(state, ERASED, first):
        if record.number == number and (record.erases_recording or not recording):
            return record
    return None


def retention(
    state: State, recorded: Outcome | Remainder, first: PublicKey | None
) -> Security | None:
    """Return the record that says that a recording was kept no longer; raises AuditError."""
    for record in retentions(state, first):
        if record.seq > recorded.seq and (record.number or 0) >= recorded.intent:
            return record
    return None


def retentions(
    state: State, first: PublicKey | None, *, pass_over: bool = False
) -> Iterator[Security]:
    """Yield the records that say up to which command recordings were deleted; raises AuditError.

    What can't be read may be passed over.
    """
    return _said(state, RETENTION, first, pass_over=pass_over)


def erased_recordings(state: State, first: PublicKey | None) -> Iterator[int]:
    """Yield the numbers of the commands whose recordings were erased, of what can be read.

    Raises AuditError.
    """
    for record in _said(state, ERASED, first, pass_over=True):
        if record.erases_recording and record.number is not None:
            yield record.number


def _said(
    state: State, what: bytes, first: PublicKey | None, *, pass_over: bool = False
) -> Iterator[Security]:
    """Yield the executor's own records of a kind: a line that others put there excuses nothing.

    ``first`` is the chain's first key; without it, the one that the genesis record names is taken.
    """
    key = first
    for place, line in state.records_from(0, pass_over=pass_over):
        if place == 0 and key is None and isinstance(record := decoded(line), Genesis):
            key = named_key(record)
        if what in line and isinstance(record := decoded(line), Security) and signed(record, key):
            yield record
        if KEY in line and isinstance(record := decoded(line), Key) and signed(record, key):
            key = named_key(record) or key
