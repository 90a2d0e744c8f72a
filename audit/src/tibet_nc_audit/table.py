# SPDX-License-Identifier: MIT
"""Entries as lines for people: number, time, operator, exit, duration, command."""

import json

import msgspec

from tibet_nc_audit.entries import Entry, Kind, Text, Verdict
from tibet_nc_audit.payloads import DIFFERS, ERASED, UNREADABLE
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.terms import Reason, ending_of

_SECOND = 1000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE

HEADER = (
    f"{'NUMBER':>7}  {'TIME (UTC)':19}  {'OPERATOR':24}  {'EXIT':>10}  {'DURATION':>9}  COMMAND"
)


def row(entry: Entry) -> str:
    """Return the line of an entry, safe for a terminal."""
    time = entry.time[:19].replace("T", " ")
    columns = (
        f"{'#' + str(entry.seq):>7}",
        f"{visible(time):19}",
        f"{visible(entry.operator or ''):24}",
        f"{ending(entry):>10}",
        f"{duration(entry.duration_ms):>9}",
        _subject(entry),
    )
    return "  ".join(columns)


def ending(entry: Entry) -> str:
    """Return how a command ended: its exit status, its signal, or what became of it instead."""
    match entry.verdict:
        case None:
            alarming = entry.kind in {Kind.DAMAGED, Kind.UNREADABLE}
            return entry.kind.upper() if alarming else ""
        case Verdict.RAN:
            return ending_of(entry.exit, entry.signal)
        case other:
            return other.value


def duration(milliseconds: int | None) -> str:
    """Return a duration with the unit that suits it."""
    if milliseconds is None:
        return ""
    if milliseconds < _SECOND:
        return f"{milliseconds} ms"
    if milliseconds < _MINUTE:
        return f"{milliseconds / _SECOND:.2f} s"
    if milliseconds < _HOUR:
        return f"{milliseconds // _MINUTE} m {milliseconds % _MINUTE // _SECOND:02d} s"
    return f"{milliseconds // _HOUR} h {milliseconds % _HOUR // _MINUTE:02d} m"


def command_text(entry: Entry) -> str:
    """Return the text of a command, or why it can't be shown."""
    match entry.text:
        case Text.ERASED:
            return ERASED
        case Text.DIFFERS:
            return DIFFERS
        case Text.UNREADABLE:
            return UNREADABLE
        case _:
            return visible(entry.command or "")


def json_line(value: object) -> str:
    """Return a value as one line of ASCII JSON: the exact text, and safe for a terminal."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=True)


def _subject(entry: Entry) -> str:
    detail = visible(entry.detail or "")
    match entry.kind:
        case Kind.COMMAND:
            reason = entry.reason
            unusual = reason is not None and reason not in {Reason.EXITED, Reason.ABORTED}
            return command_text(entry) + (f"  [{reason}]" if unusual else "")
        case Kind.REFUSAL:
            family = f", {visible(entry.family)}" if entry.family else ""
            return f"{command_text(entry)}  [refused by {entry.stage}{family}: {detail}]".lstrip()
        case Kind.SECURITY:
            return f"[security, {entry.what}: {detail}]"
        case Kind.SESSION:
            return f"[session {visible(entry.session or '')} {entry.state}: {detail}]"
        case (
            Kind.REMAINDER
            | Kind.GENESIS
            | Kind.CHECKPOINT
            | Kind.KEY
            | Kind.DAMAGED
            | Kind.UNREADABLE
        ):
            return f"[{detail}]"
