# SPDX-License-Identifier: MIT
"""What a verification found wrong, and what it couldn't read."""

from bisect import bisect_right
from enum import StrEnum
from typing import Final

import msgspec

KEPT: Final = 100
"""Most findings that are listed, and most of what can't be read; all are counted."""


class What(StrEnum):
    """What is wrong."""

    RECORD = "record"
    """A line of the chain: altered, dropped, inserted, doubled, moved, not signed."""
    SEGMENT = "segment"
    """A file of the chain is missing, or doesn't begin where the one before ends."""
    TORN = "torn"
    """A last line is incomplete: a crash leaves that until the executor starts again."""
    HEAD = "head"
    """The chain isn't, or isn't any more, the one whose head is held."""
    PAYLOAD = "payload"
    """A command's text isn't what the record commits to."""
    RECORDING = "recording"
    """A recording doesn't hold what the record says was printed."""
    TOKEN = "token"  # noqa: S105  (no secret: a TIBET token)
    """A TIBET token isn't the one that the record names."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong: at which record, in which file, what was expected and found.

    ``line`` counts the lines of ``file`` from 1.
    """

    record: int
    what: What
    file: str
    reason: str
    line: int | None = None
    expected: str = ""
    found: str = ""


class Findings:
    """All findings counted, the first ones kept, and which concerns the earliest record."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self.total = 0
        self.unread: list[str] = []
        """What couldn't be read, each once, and why."""
        self.unread_total = 0
        self.first: Finding | None = None
        self._place = 0
        self._places: list[int] = []

    def add(self, finding: Finding, place: int) -> None:
        """Take a finding; ``place`` is how many lines of the chain stand before its record.

        A wrong record may claim any number, so the earliest is told by place.
        """
        self.total += 1
        if self.first is None or place < self._place:
            self.first = finding
            self._place = place
        if self.total <= KEPT:
            # In the order of the chain, though some things are found only later.
            at = bisect_right(self._places, place)
            self._places.insert(at, place)
            self.kept.insert(at, finding)

    def lose(self, unread: str) -> None:
        """Note what can't be read, which is neither good nor bad."""
        if unread in self.unread:
            return
        self.unread_total += 1
        if self.unread_total <= KEPT:
            self.unread.append(unread)
