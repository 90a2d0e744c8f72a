# SPDX-License-Identifier: MIT
"""The chain in the form in which it is compared: 40 bytes a record, so 40 MB a million.

Of each record its digest is kept, and a fingerprint of what the journal says of it; the record
itself is read again where something differs. Nothing is verified here: that is what verify does.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.lines import decoded
from tibet_nc_audit.reader import State
from tibet_nc_protocol.journal_ids import MESSAGE_IDS
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
    """Number and digest of each record, and how a journal entry of it looks."""

    def __init__(self, state: State) -> None:
        """Read a chain; raises AuditError."""
        self._state = state
        self._digests = bytearray()
        self._prints = bytearray()
        self.roots: dict[int, str] = {}
        """The root of each checkpoint, by its size."""
        self.unsent: list[tuple[range, int]] = []
        """Records whose entries journald did not take, as the record with that number says."""
        for _, line in state.records_from(0):
            record = decoded(line)
            self._digests += hashlib.sha256(line).digest()
            self._prints += fingerprint(journal_fields(record))
            if isinstance(record, Checkpoint):
                self.roots[record.size] = record.root
            if isinstance(record, Security) and record.what is SecurityEvent.JOURNAL:
                self._note_unsent(record)

    def __len__(self) -> int:
        return len(self._digests) // _DIGEST

    def _note_unsent(self, record: Security) -> None:
        said = _UNSENT.search(record.detail)
        if said is None or record.number is None:
            return
        # What couldn't be sent when the executor ended is not followed by anything it could send.
        last = record.seq if _TO_THE_END in record.detail else int(said[1])
        self.unsent.append((range(record.number, min(last, record.seq) + 1), record.seq))

    def digest(self, number: int) -> str:
        """Return the digest of a record that is there."""
        return self._digests[number * _DIGEST : (number + 1) * _DIGEST].hex()

    def looks_like(self, number: int, fields: Mapping[str, str]) -> bool:
        """Tell whether a journal entry says of a record what it has to."""
        return self._prints.startswith(fingerprint(fields), number * _PRINT)

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
