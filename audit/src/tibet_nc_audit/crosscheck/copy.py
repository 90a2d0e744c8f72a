# SPDX-License-Identifier: MIT
"""The chain in the form in which it is compared: 40 bytes a record, so 40 MB a million.

Of each record its digest is kept, and a fingerprint of what the journal says of it; the record
itself is read again where something differs. Nothing is verified here: that is what verify does.
A record's number is told by its place in the file that it is in, as that file's name has it.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise
from operator import itemgetter
from typing import Final

from tibet_nc_audit.errors import AuditError, UnreadableError
from tibet_nc_audit.lines import decoded
from tibet_nc_audit.reader import State
from tibet_nc_audit.unread import Unread
from tibet_nc_protocol.journal_ids import MESSAGE_IDS
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.limits import EXACT_INTEGER, RECORD_BYTES
from tibet_nc_protocol.records import (
    Checkpoint,
    Outcome,
    Record,
    Security,
    SecurityEvent,
)
from tibet_nc_protocol.terms import ending_of

FIELDS: Final = (
    "MESSAGE_ID",
    "TIBET_NC_KIND",
    "TIBET_NC_SENDER",
    "TIBET_NC_EVENT",
    "TIBET_NC_RUN",
    "TIBET_NC_EXIT",
    "TIBET_NC_CHECKPOINT",
)
"""What a journal entry says of its record, beside number and digest (SPEC §10)."""

_UNSENT: Final = re.compile(r" to #([0-9]{1,15})\b")
_TO_THE_END: Final = "none from there on"
"""How the executor words what it could not send (archive, journal)."""

_DIGEST: Final = 32
_PRINT: Final = 8


class ChainCopy:
    """Number and digest of each record, and how a journal entry of it looks.

    Records that can be read have places, counted from 0 without gaps.
    """

    def __init__(self, state: State) -> None:
        """Read a chain, as far as it can be read; raises AuditError when there is none."""
        self._state = state
        self.end = 0
        """The number after that of the last record."""
        self.lost = Unread()
        self.unread: list[str] = []
        """Why some can't be read."""
        self._rows: list[tuple[int, int]] = []
        """Number and place of each record that doesn't follow the one before it."""
        self._digests = bytearray()
        self._prints = bytearray()
        self.roots: dict[int, str] = {}
        """The root of each checkpoint, by its size."""
        self.unsent: list[tuple[range, int]] = []
        """Records whose entries journald did not take, as the record with that number says."""
        for first, end in pairwise([*state.segments(), EXACT_INTEGER + 1]):
            number = first
            self.lost.go_on(first)
            try:
                with state.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
                    for line in file:
                        if number == end:  # verify says that there are too many
                            break
                        self._take(number, line)
                        number += 1
            except UnreadableError as error:
                self.unread.append(str(error))
                self.lost.lose(number)

    def __len__(self) -> int:
        return len(self._digests) // _DIGEST

    def _take(self, number: int, line: bytes) -> None:
        record = decoded(line)
        if number != self.end or not self._rows:
            self._rows.append((number, len(self)))
        self.end = number + 1
        self._digests += hashlib.sha256(line).digest()
        self._prints += fingerprint(journal_fields(record))
        if isinstance(record, Checkpoint):
            self.roots[record.size] = record.root
        if isinstance(record, Security) and record.what is SecurityEvent.JOURNAL:
            self._note_unsent(record)

    def _note_unsent(self, record: Security) -> None:
        said = _UNSENT.search(record.detail)
        if said is None or record.number is None:
            return
        # What couldn't be sent when the executor ended is not followed by anything it could send.
        last = record.seq if _TO_THE_END in record.detail else int(said[1])
        self.unsent.append((range(record.number, min(last, record.seq) + 1), record.seq))

    def place(self, number: int) -> int | None:
        """Return the place of a record; None if there is no such record, or it can't be read."""
        row = bisect_right(self._rows, number, key=itemgetter(0)) - 1
        if row < 0:
            return None
        first, place = self._rows[row]
        place += number - first
        return place if place < self._end_of(row) else None

    def row_at(self, place: int) -> tuple[int, int]:
        """Return the number of the record in a place, and that up to which they follow it."""
        row = bisect_right(self._rows, place, key=itemgetter(1)) - 1
        number, begin = self._rows[row]
        return number + place - begin, number + self._end_of(row) - begin - 1

    def _end_of(self, row: int) -> int:
        return self._rows[row + 1][1] if row + 1 < len(self._rows) else len(self)

    def digest(self, place: int) -> str:
        """Return the digest of the record in a place."""
        return self._digests[place * _DIGEST : (place + 1) * _DIGEST].hex()

    def looks_like(self, place: int, fields: Mapping[str, str]) -> bool:
        """Tell whether a journal entry says of the record in a place what it has to."""
        return self._prints.startswith(fingerprint(fields), place * _PRINT)

    def fields(self, number: int) -> dict[str, str]:
        """Return what a journal entry has to say of a record; raises AuditError."""
        for place, line in self._state.records_from(number):
            if place == number:
                return journal_fields(decoded(line))
        raise AuditError(f"record {number} is gone meanwhile")


def journal_fields(record: Record | None) -> dict[str, str]:
    """Return the fields of a record's journal entry that are compared (SPEC §10)."""
    if record is None:
        return {}
    kind = str(record.__struct_config__.tag)
    fields = {
        "MESSAGE_ID": MESSAGE_IDS.get(kind),
        "TIBET_NC_KIND": kind,
        "TIBET_NC_SENDER": getattr(record, "sender", None),
        "TIBET_NC_EVENT": getattr(record, "event", None),
        "TIBET_NC_RUN": getattr(record, "run", None),
    }
    if isinstance(record, Checkpoint):
        fields["TIBET_NC_CHECKPOINT"] = record.note
    if isinstance(record, Outcome):
        fields["TIBET_NC_EXIT"] = ending_of(record.exit, record.signal)
    return {name: value for name, value in fields.items() if value is not None}


def fingerprint(fields: Mapping[str, str]) -> bytes:
    """Return a few bytes that differ when a field does."""
    text = "\0".join(fields.get(name, "\1") for name in FIELDS)
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:_PRINT]
