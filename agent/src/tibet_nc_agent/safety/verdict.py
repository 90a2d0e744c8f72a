# SPDX-License-Identifier: MIT
"""What the safety stage answers."""

from enum import StrEnum

from msgspec import Struct


class Decision(StrEnum):
    """The three verdicts, from harmless to refused."""

    ALLOW = "allow"
    NEEDS_APPROVAL = "needs-approval"
    DENY = "deny"

    @property
    def rank(self) -> int:
        """How strict the decision is; a verdict is the strictest of its findings."""
        return _RANKS[self]


_RANKS = {Decision.ALLOW: 0, Decision.NEEDS_APPROVAL: 1, Decision.DENY: 2}


class Family(StrEnum):
    """What kind of damage a finding is about."""

    POWER = "power"
    DISK = "disk"
    BOMB = "bomb"
    WIPE = "wipe"
    PIPE_TO_SHELL = "pipe2shell"
    USERS = "users"
    BOOT = "boot"
    NETWORK = "network"
    PACKAGES = "packages"
    SERVICES = "services"
    DATABASE = "database"
    LOGS = "logs"
    CONTAINERS = "containers"
    ENCODED = "encoded"
    OPAQUE = "opaque"
    TEXT = "text"


class Finding(Struct, frozen=True, kw_only=True):
    """One reason not to run a command; `span` is in characters of the command as typed."""

    decision: Decision
    family: Family
    reason: str
    span: tuple[int, int]
    advice: str


class Verdict(Struct, frozen=True, kw_only=True):
    """The strictest of the findings, and every command that would really run.

    In `commands` an unknown piece of a word is shown as `…`.
    """

    decision: Decision
    findings: tuple[Finding, ...]
    commands: tuple[tuple[str, ...], ...]

    @property
    def worst(self) -> Finding | None:
        """The finding that decided: the strictest, and of those the first in the command."""
        return self.findings[0] if self.findings else None
