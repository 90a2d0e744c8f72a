# SPDX-License-Identifier: MIT
"""Everything about one record, and whether it agrees with everything else."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from tibet_nc_audit import payloads, tokens
from tibet_nc_audit.entries import Entry, Kind, Text, begun, ended
from tibet_nc_audit.errors import AuditError, DisagreementError, MissingError, UnreadableError
from tibet_nc_audit.keys import since
from tibet_nc_audit.locate import Command, Located, erasure, key_at, locate, retention
from tibet_nc_audit.lookahead import Lookahead, only
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Checked, Printed, check_recording
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import ProtocolError
from tibet_nc_protocol.layout import PAYLOADS, TOKENS, segment_name
from tibet_nc_protocol.records import (
    FIRST_PREV,
    Aborted,
    Outcome,
    Record,
    Remainder,
    digest,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey


class Result(StrEnum):
    """How a check ended."""

    AGREES = "agrees"
    BAD = "bad"
    NOTHING = "nothing to check"
    UNREADABLE = "can't be read"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was checked, and what came out."""

    what: str
    result: Result
    detail: str = ""


class Dossier(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record, or a command with both its records, and all that goes with it."""

    entry: Entry
    records: list[Record]
    token: tokens.Token | None = None
    checks: list[Check]

    def has(self, result: Result) -> bool:
        """Tell whether a check ended so."""
        return any(check.result is result for check in self.checks)


def dossier(state: State, number: int, key: PublicKey | None = None) -> Dossier:
    """Gather what there is about a record; raises AuditError.

    Without ``key`` the signatures are checked with the genesis record's.
    """
    command = locate(state, number)
    places = [place for place in (command.begin, command.end) if place is not None]
    checks = [check for place in places for check in _check_place(state, place, key)]
    if command.unread:
        checks.append(Check(what="its end", result=Result.UNREADABLE, detail=command.unread))
    entry = _entry(state, command)
    token: tokens.Token | None = None
    if entry.text is not None:
        checks.append(_check_text(state, command.begin.number, entry.text, key))
    if command.recorded is not None:
        checks.append(_check_recording(state, command.recorded, key))
    outcome = command.outcome
    if outcome is not None:
        try:
            token = _token(state, outcome)
        except DisagreementError as wrong:
            checks.append(_bad("token", wrong))
        except UnreadableError as error:
            checks.append(_unread("token", error))
        else:
            checks.append(Check(what="token", result=Result.AGREES))
    records = [place.record for place in places if place.record is not None]
    return Dossier(entry=entry, records=records, token=token, checks=checks)


def _entry(state: State, command: Command) -> Entry:
    number = command.begin.number
    record = command.begin.record
    if record is None:
        return Entry(seq=number, kind=Kind.DAMAGED, detail="not a record")
    if isinstance(record, Outcome | Aborted):
        detail = f"ends command {record.intent}, which is not open"
        return Entry(seq=number, kind=Kind.DAMAGED, detail=detail)

    def take(number: int, commitment: str) -> str | None:
        name = segment_name(state.segment_of(number))
        with state.open_if_there(name, payloads.LINE_BYTES, PAYLOADS) as file:
            return Lookahead(file, only(payloads.read_payload, number)).take(number, commitment)

    entry = begun(record, digest(command.begin.line), take)
    end = None if command.end is None else command.end.record
    return ended(entry, end) if isinstance(end, Outcome | Aborted) else entry


def _check_place(state: State, place: Located, key: PublicKey | None) -> list[Check]:
    """Check one record by itself, and its link to the line before."""
    name = f"record {place.number}"
    record = place.record
    if record is None:
        return [Check(what=name, result=Result.BAD, detail="not a record")]
    checks: list[Check] = []
    if record.seq != place.number:
        detail = f"in its place stands a record with the number {record.seq}"
        checks.append(Check(what=name, result=Result.BAD, detail=detail))
    checks.append(
        _checked(f"{name}, signature", lambda: _check_signature(state, place, record, key))
    )
    checks.append(_checked(f"{name}, link", lambda: _check_link(place, record)))
    return checks


def _check_signature(state: State, place: Located, record: Record, given: PublicKey | None) -> str:
    begins = 0 if given is None else since(state, given).record
    if place.number < begins:
        raise AuditError(
            f"the key given is this chain's since record {begins}: record {place.number}"
            " by itself is checked with the first key"
        )
    key = key_at(state, place.number, given, since=begins)
    verify_signature(record, key)
    pinned = " that the chain itself names" if given is None else ""
    return f"with the key {key.hex}{pinned}"


def _check_link(place: Located, record: Record) -> str:
    before = FIRST_PREV if place.before is None else digest(place.before)
    if record.prev != before:
        reason = "not linked to the record before"
        raise DisagreementError("", reason, expected=before, found=record.prev)
    return "" if place.before is None else f"to record {place.number - 1}"


def _check_text(state: State, number: int, text: Text, key: PublicKey | None) -> Check:
    match text:
        case Text.KEPT:
            return Check(what="command text", result=Result.AGREES)
        case Text.ERASED:
            try:
                detail = _erased(state, number, key)
            except UnreadableError as error:
                return _unread("command text", error)
            detail = detail or "not there, and no record says that it was erased"
            return Check(what="command text", result=Result.NOTHING, detail=detail)
        case Text.DIFFERS:
            return Check(what="command text", result=Result.BAD, detail=payloads.DIFFERS)
        case Text.UNREADABLE:
            return Check(what="command text", result=Result.UNREADABLE, detail=f"in {PAYLOADS}/")


def _erased(state: State, number: int, key: PublicKey | None, *, recording: bool = False) -> str:
    record = erasure(state, number, _first(state, key), recording=recording)
    return "" if record is None else f"{payloads.ERASED}, record {record.seq}: {record.detail}"


def _expired(state: State, recorded: Outcome | Remainder, key: PublicKey | None) -> str:
    record = retention(state, recorded, _first(state, key))
    return "" if record is None else f"deleted by retention, record {record.seq}: {record.detail}"


def _first(state: State, key: PublicKey | None) -> PublicKey | None:
    return None if key is None else since(state, key).first


def _check_recording(state: State, outcome: Outcome | Remainder, key: PublicKey | None) -> Check:
    try:
        return _compare_recording(state, outcome, key)
    except DisagreementError as wrong:
        return _bad("recording", wrong)
    except UnreadableError as error:
        return _unread("recording", error)


def _compare_recording(state: State, outcome: Outcome | Remainder, key: PublicKey | None) -> Check:
    try:
        checked = check_recording(state, Printed.of(outcome))
    except MissingError:
        erased = _erased(state, outcome.intent, key, recording=True)
        if detail := erased or _expired(state, outcome, key):
            return Check(what="recording", result=Result.NOTHING, detail=detail)
        raise
    match checked:
        case Checked.AGREES:
            detail = f"all {counted(outcome.output_bytes, 'byte')}, SHA-256 {outcome.output_sha256}"
            return Check(what="recording", result=Result.AGREES, detail=detail)
        case Checked.CAPPED:
            detail = (
                f"recorded: the first {outcome.recorded_bytes} of"
                f" {counted(outcome.output_bytes, 'byte')}; only their number can be checked"
            )
            return Check(what="recording", result=Result.AGREES, detail=detail)
        case Checked.NONE:
            return Check(what="recording", result=Result.NOTHING, detail="nothing was printed")


def _token(state: State, outcome: Outcome) -> tokens.Token:
    with state.open_if_there(TOKENS, tokens.LINE_BYTES) as file:
        found = Lookahead(file, only(tokens.read_token, outcome.token))
        return tokens.check_token(tokens.take_token(found, outcome))


def _checked(what: str, check: Callable[[], str]) -> Check:
    try:
        return Check(what=what, result=Result.AGREES, detail=check())
    except (DisagreementError, ProtocolError) as wrong:
        return _bad(what, wrong)
    except UnreadableError as error:
        return _unread(what, error)


def _unread(what: str, error: UnreadableError) -> Check:
    return Check(what=what, result=Result.UNREADABLE, detail=str(error))


def _bad(what: str, wrong: DisagreementError | ProtocolError) -> Check:
    detail = str(wrong)
    if isinstance(wrong, DisagreementError):
        detail = wrong.reason
        if wrong.expected:
            detail += f"; expected {wrong.expected}"
        if wrong.found:
            detail += f", found {wrong.found}"
    return Check(what=what, result=Result.BAD, detail=detail)
