# SPDX-License-Identifier: MIT
"""What is said beside the output while a chain is read: what is bad in it, and what can't be read.

The exit status says the worst: what is bad is known to be, whatever else can't be read.
"""

from collections.abc import Callable
from typing import Final

from tibet_nc_audit.entries import Entry, Kind, Text
from tibet_nc_audit.payloads import DIFFERS

GOOD: Final = 0
BAD: Final = 1
UNUSABLE: Final = 2
"""Exit status for wrong usage, and for files that can't be read."""


def status(*, bad: bool, unread: bool) -> int:
    """Return the status that says the worst."""
    if bad:
        return BAD
    return UNUSABLE if unread else GOOD


class Complaints:
    """Says each and remembers the worst."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._bad = False
        self._unread = False

    @property
    def status(self) -> int:
        """The exit status by all that was said."""
        return status(bad=self._bad, unread=self._unread)

    def bad(self, text: str) -> None:
        """Say that something is bad."""
        self._bad = True
        self.say(text)

    def unread(self, text: str) -> None:
        """Say that something can't be read."""
        self._unread = True
        self.say(text)

    def look_at(self, entry: Entry) -> None:
        """Say what is wrong with an entry; why its text can't be read was said of the file."""
        match entry.kind:
            case Kind.DAMAGED:
                self.bad(f"record {entry.seq}: {entry.detail}")
            case Kind.UNREADABLE:
                self.unread(f"record {entry.seq}: {entry.detail}")
            case _ if entry.text is Text.DIFFERS:
                self.bad(f"record {entry.seq}: {DIFFERS.strip('[]')}")
            case _:
                self._unread |= entry.text is Text.UNREADABLE
