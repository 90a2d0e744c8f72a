# SPDX-License-Identifier: MIT
"""Which entries someone wants to see."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from tibet_nc_audit.entries import Entry, Kind, Text, Verdict
from tibet_nc_audit.errors import AuditError
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.limits import EXACT_INTEGER

NONZERO: Final = "nonzero"

_AGO: Final = re.compile(r"\A([0-9]{1,6})([smhdw])\Z")
_SIGNAL: Final = re.compile(r"\Asignal [1-9][0-9]?\Z")
_STATUS: Final = re.compile(r"\A0*([0-9]{1,3})\Z")
_RECORDS: Final = re.compile(r"\A#?([0-9]{1,15})-#?([0-9]{1,15})?\Z")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What an entry must be; what is None doesn't matter. Times are as records write them."""

    operator: str | None = None
    command: str | None = None
    text: str | None = None
    exit: str | None = None
    since: str | None = None
    until: str | None = None
    kind: Kind | None = None
    session: str | None = None
    device: str | None = None
    records: range | None = None
    verdict: Verdict | None = None

    def matches(self, entry: Entry) -> bool:
        """Tell whether an entry is wanted. What is damaged or can't be read always is."""
        if entry.kind in {Kind.DAMAGED, Kind.UNREADABLE}:
            return True
        return (
            self.operator in {None, entry.operator}
            and self.kind in {None, entry.kind}
            and self.session in {None, entry.session}
            and self.device in {None, entry.device}
            and (self.records is None or entry.seq in self.records)
            and self.verdict in {None, entry.verdict}
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time < self.until)
            and (self.command is None or self._names(entry))
            and (self.text is None or self.text in (entry.command or ""))
            and (self.exit is None or self._ends(entry))
        )

    def leaves_open(self, entry: Entry) -> bool:
        """Tell whether an entry would be wanted, but for a text that isn't there to be searched."""
        return (
            entry.text not in {None, Text.KEPT}
            and not self.matches(entry)
            and replace(self, command=None, text=None).matches(entry)
        )

    def _names(self, entry: Entry) -> bool:
        pattern = self.command or ""
        return entry.command is not None and fnmatchcase(entry.command, pattern)

    def _ends(self, entry: Entry) -> bool:
        if self.exit == NONZERO:
            return entry.verdict is Verdict.RAN and entry.exit != 0
        if entry.signal is not None:
            return self.exit == f"signal {entry.signal}"
        return entry.exit is not None and str(entry.exit) == self.exit


def exit_status(text: str) -> str:
    """Read an exit status: 0 to 255, ``signal 9`` or ``nonzero``; raises AuditError."""
    if _SIGNAL.match(text):
        return text
    if text == NONZERO:
        return text
    if (status := _STATUS.match(text)) and int(status[1]) <= 255:
        return str(int(status[1]))
    raise AuditError(f"{text}: an exit status is 0 to 255, 'signal 9', or {NONZERO}")


def records(text: str) -> range:
    """Read numbers of records, ``18-42`` or ``18-``; raises AuditError."""
    numbers = _RECORDS.match(text)
    if numbers is None:
        raise AuditError(f"{text}: records are written as 18-42, or 18- for 18 and later")
    return range(int(numbers[1]), int(numbers[2] or EXACT_INTEGER) + 1)


def passed_over(entries: int) -> str:
    """Say that the texts of some entries couldn't be searched."""
    return (
        f"not searched: {counted(entries, 'text')}, erased, never kept or not to be read, of what"
        " fits otherwise"
    )


def moment(text: str, now: datetime) -> str:
    """Read a time and return it as records write it; raises AuditError.

    ``2026-11-25``, ``2026-11-25T10:00``, ``…+01:00``, UTC unless it says otherwise; or ``90m``,
    ``2h``, ``7d`` before now.
    """
    ago = _AGO.match(text)
    try:
        if ago:
            time = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            time = datetime.fromisoformat(text)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise AuditError(
            f"{text}: a time is written as 2026-11-25, 2026-11-25T10:00+01:00, or 2h for"
            " two hours ago"
        ) from None
    return f"{time.year:04d}" + time.strftime("-%m-%dT%H:%M:%S.%fZ")
