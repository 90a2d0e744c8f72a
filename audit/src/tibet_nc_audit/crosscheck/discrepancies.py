# SPDX-License-Identifier: MIT
"""What a comparison of the chain with another source finds."""

from enum import StrEnum
from typing import Final

import msgspec

KEPT: Final = 100
"""Most that are listed of one source; all are counted."""


class Kind(StrEnum):
    """How the other source and the chain disagree."""

    MISSING = "missing"
    """The chain has it, the other source doesn't, though it has what is before and after."""
    EXTRA = "extra"
    """The other source has it, the chain doesn't: the chain was cut, or somebody made it up."""
    DIFFERS = "differs"
    """Both have it, and not the same."""


class Discrepancy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One disagreement: which record, where in the other source, what was expected and found.

    ``expected`` is the chain's word and ``found`` the other's. ``last`` is the last of several
    records in a row.
    """

    kind: Kind
    record: int | None
    reason: str
    last: int | None = None
    place: str = ""
    expected: str = ""
    found: str = ""


class Discrepancies:
    """All counted by kind, the first ones kept."""

    def __init__(self) -> None:
        self.kept: list[Discrepancy] = []
        self.counts = dict.fromkeys(Kind, 0)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def add(
        self,
        kind: Kind,
        record: int | None,
        reason: str,
        *,
        last: int | None = None,
        place: str = "",
        expected: str = "",
        found: str = "",
    ) -> None:
        """Take one."""
        self.counts[kind] += 1
        if len(self.kept) < KEPT:
            self.kept.append(
                Discrepancy(
                    kind=kind,
                    record=record,
                    reason=reason,
                    last=last,
                    place=place,
                    expected=expected,
                    found=found,
                )
            )


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What came of comparing the chain with one source.

    ``compared`` counts what both have. ``notes`` say what couldn't be compared, and why that is no
    disagreement; ``unread``, what couldn't be since it can't be read.
    """

    source: str
    compared: int
    notes: list[str]
    total: int
    counts: dict[Kind, int]
    discrepancies: list[Discrepancy]
    unread: list[str] = []
