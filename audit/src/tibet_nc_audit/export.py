# SPDX-License-Identifier: MIT
"""The chain in formats that other programs load."""

import csv
import io
from collections.abc import Iterator
from contextlib import ExitStack
from enum import StrEnum
from typing import Final

from tibet_nc_audit import tokens
from tibet_nc_audit.complaints import Complaints
from tibet_nc_audit.entries import Entry, entries
from tibet_nc_audit.errors import AuditError, DisagreementError, UnreadableError
from tibet_nc_audit.filters import Filter, passed_over
from tibet_nc_audit.locate import locate
from tibet_nc_audit.lookahead import Lookahead
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Checked, Printed, Tally, check_recording
from tibet_nc_audit.table import command_text, json_line
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import RECORDINGS, TOKENS
from tibet_nc_protocol.limits import RECORDING_LINE_BYTES
from tibet_nc_protocol.recording import CastReader
from tibet_nc_protocol.records import RECORDS, Outcome


class Format(StrEnum):
    """What to write."""

    JSONL = "jsonl"
    CSV = "csv"
    TIBET = "tibet"
    CAST = "cast"
    HTML = "html"


COLUMNS: Final = (
    "seq",
    "kind",
    "verdict",
    "time",
    "operator",
    "command",
    "exit",
    "signal",
    "reason",
    "duration_ms",
    "output_bytes",
    "output_sha256",
    "recorded_bytes",
    "recording",
    "outcome",
    "ended",
    "room",
    "event",
    "device",
    "session",
    "run",
    "token",
    "stage",
    "family",
    "what",
    "state",
    "uid",
    "number",
    "note",
    "detail",
    "digest",
)

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet may take for the start of a formula, full-width forms included (OWASP)."""


def json_lines(state: State, wanted: Filter, complaints: Complaints) -> Iterator[bytes]:
    """Yield one JSON object for each entry."""
    for entry in _wanted(state, wanted, complaints):
        yield json_line(entry).encode() + b"\n"


def csv_lines(state: State, wanted: Filter, complaints: Complaints) -> Iterator[bytes]:
    """Yield RFC 4180 lines, every cell quoted.

    Text that a spreadsheet could take for a formula has an apostrophe before it; control
    characters other than line ends and tabs are made visible.
    """
    yield _csv(COLUMNS)
    for entry in _wanted(state, wanted, complaints):
        yield _csv([_cell(entry, column) for column in COLUMNS])


def tibet_lines(state: State, complaints: Complaints) -> Iterator[bytes]:
    """Yield the tokens that the chain anchors, as they are; what is no good is complained of."""
    store: Lookahead[str, bytes] | None = None
    with ExitStack() as files:
        for number, line in state.records_from(0):
            try:
                record = RECORDS.decode(line)
                if not isinstance(record, Outcome):
                    continue
                if store is None:  # a token is on disk before its record, maybe since a moment ago
                    file = files.enter_context(state.open_if_there(TOKENS, tokens.LINE_BYTES))
                    store = Lookahead(file, tokens.read_token)
                token = tokens.take_token(store, record)
                tokens.check_token(token)
            except DecodeError as error:
                complaints.bad(f"record {number}: {error}")
            except DisagreementError as wrong:
                complaints.bad(f"record {number}: {wrong.file}: {wrong.reason}; left out")
            else:
                yield token + b"\n"


def cast_lines(state: State, number: int) -> Iterator[bytes]:
    """Yield the lines of one command's recording, if it is the one that was recorded.

    Raises AuditError when there is none, DisagreementError when it is another, or became another
    while it was copied.
    """
    command = locate(state, number)
    outcome = command.recorded
    if command.unread:
        raise UnreadableError(command.unread)
    if outcome is None:
        raise AuditError(f"record {number}: not a command that ended")
    printed = Printed.of(outcome)
    if check_recording(state, printed) is Checked.NONE or not printed.recording:
        raise AuditError(f"record {number}: nothing was recorded")
    reader = CastReader()
    tally = Tally(printed, reader)
    with state.open(printed.name, RECORDING_LINE_BYTES, RECORDINGS) as file:
        try:
            for line in file:
                tally.add(reader.feed(line))
                yield line + b"\n"
        except DecodeError as error:
            raise DisagreementError(file.name, str(error)) from None
        tally.finish(file.torn)


def _wanted(state: State, wanted: Filter, complaints: Complaints) -> Iterator[Entry]:
    unsearched = 0
    for entry in entries(state):
        complaints.look_at(entry)
        unsearched += wanted.leaves_open(entry)
        if wanted.matches(entry):
            yield entry
    if unsearched:
        complaints.say(passed_over(unsearched))


def _cell(entry: Entry, column: str) -> str:
    value = getattr(entry, column)
    if column == "command":
        # What is no text is said; the exact text of the others is not made visible yet.
        value = entry.command if entry.command is not None else command_text(entry)
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    text = visible(str(value), keep="\n\t")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def _csv(cells: list[str] | tuple[str, ...]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
