# SPDX-License-Identifier: MIT
"""What a verification has to say."""

from enum import StrEnum

import msgspec

from tibet_nc_audit.evidence import Counts
from tibet_nc_audit.findings import Finding
from tibet_nc_audit.heads import Depth, SavedHead


class Pinned(StrEnum):
    """Where the key comes from with which the signatures were checked."""

    GIVEN = "given"
    HEAD = "head file"
    NOT = "chain"
    """From the chain itself, which then only agrees with itself."""


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """Two checkpoints of one chain that can't both be: what is held, and what the chain says now.

    Each is a signed note; ``now`` is empty when the chain has none.
    """

    held: str
    now: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verification has to say; what can't be read is neither good nor bad."""

    good: bool
    depth: Depth
    state: str
    host: str
    executor: str
    key: str
    last_key: str
    pinned: Pinned
    resumed: SavedHead | None
    """What was verified before, and not again."""
    records: int
    segments: int
    length: int
    head: str
    begun: str
    ended: str
    checkpoint: str
    """The note of the latest checkpoint that was found good."""
    counts: Counts
    open: list[int]
    open_total: int
    notes: list[str]
    findings_total: int
    first_bad: Finding | None
    findings: list[Finding]
    disputes: list[Dispute]
    unread_total: int
    unread: list[str]
    seconds: float
