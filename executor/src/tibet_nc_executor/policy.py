# SPDX-License-Identifier: MIT
"""May this run? The executor's own answer, from its own root-owned settings.

The agent has judged already; but the agent reads the network, so the executor looks again at what
it can look at: who, where, and how old.
"""

from dataclasses import dataclass

from tibet_nc_protocol.messages import DenialCode, Run


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who may command, in which rooms, and how old a message may be."""

    operators: frozenset[str]
    rooms: frozenset[str]
    timebox_ms: int


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Nothing in this host's settings forbids the request."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A setting of this host forbids the request."""

    code: DenialCode
    reason: str


def admit(sender: str, room: str, policy: Policy) -> Allowed | Refused:
    """Judge who asks and where."""
    if sender not in policy.operators:
        return Refused(code=DenialCode.SENDER, reason=f"{sender} is not an operator of this host")
    if room not in policy.rooms:
        return Refused(code=DenialCode.ROOM, reason=f"{room} is not a room of this host")
    return Allowed()


def decide(request: Run, policy: Policy, now_ms: int) -> Allowed | Refused:
    """Judge a request at a time, in milliseconds since 1970."""
    admitted = admit(request.sender, request.room, policy)
    if isinstance(admitted, Refused):
        return admitted
    age_ms = now_ms - request.sent_ms
    if abs(age_ms) > policy.timebox_ms:
        when = "old" if age_ms > 0 else "in the future"
        return Refused(
            code=DenialCode.STALE,
            reason=(
                f"the message is {abs(age_ms) / 1000:.1f} s {when}; at most "
                f"{policy.timebox_ms / 1000:g} s are permitted"
            ),
        )
    return Allowed()
