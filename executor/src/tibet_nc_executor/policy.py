# SPDX-License-Identifier: MIT
"""May this run? The executor's own answer, from root-owned files alone.

The agent has judged already; but the agent reads the network, so the executor looks again at what
it can look at: who, where, and how old.
"""

from dataclasses import dataclass

from tibet_nc_executor.pinfile import PinFile
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.messages import Run
from tibet_nc_protocol.terms import DenialCode


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who may command, in which rooms, and how old a message may be, as of one moment.

    ``problem`` says why nobody is pinned, "" if that isn't so.
    """

    pinned: frozenset[str]
    only: frozenset[str]
    rooms: frozenset[str]
    timebox_ms: int
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of this host: the pins, which are looked up for each decision, and the settings.

    With ``only``, which may be empty, a pin alone is not enough.
    """

    pins: PinFile
    only: frozenset[str]
    rooms: frozenset[str]
    timebox_ms: int

    def now(self) -> Policy:
        """Return the policy of this moment; a file that can't be used means nobody."""
        pinned, problem = frozenset[str](), ""
        try:
            pinned = frozenset(self.pins.pins())
        except PinsError as error:
            problem = str(error)
        return Policy(
            pinned=pinned,
            only=self.only,
            rooms=self.rooms,
            timebox_ms=self.timebox_ms,
            problem=problem,
        )


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
    why = ""
    if policy.problem:
        why = f"nobody may command this host: {policy.problem}"
    elif sender not in policy.pinned:
        why = f"{sender} is not pinned on this host: tibet-nc-agent trust {sender}"
    elif policy.only and sender not in policy.only:
        why = f"{sender} is pinned, but not in policy.operators of this host"
    if why:
        return Refused(code=DenialCode.SENDER, reason=why[:TEXT_CHARACTERS])
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
