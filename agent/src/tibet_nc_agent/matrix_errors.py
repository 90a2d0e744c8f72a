# SPDX-License-Identifier: MIT
"""What can go wrong on the Matrix side: one family, one clear line each, never a secret."""

# ruff: noqa: N818 - the names say what is the case; that it is an error is where they are raised

from pathlib import Path
from typing import Final

from tibet_nc_agent.interactive_auth import Challenge
from tibet_nc_agent.visible import one_line

ANOTHER_IDENTITY: Final = 'docs/operations.md, "When the agent\'s keys are lost"'
"""Where it is said how to go on without the kept identity."""


def start_anew(store: Path) -> str:
    """Say how to go on without a store: as another device, which the kept identity vouches for."""
    return (
        f"mv {store} {store}.lost && tibet-nc-agent login"
        " (by password, or a new device's access token): the kept cross-signing keys then vouch"
        " for the new device, and operators have nothing to do"
    )


class MatrixError(Exception):
    """The root of everything that the Matrix side raises.

    Its text may quote the homeserver, and goes to logs and terminals: so it is one visible line.
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


# --- the homeserver ---------------------------------------------------------------------------


class Unreachable(MatrixError):
    """No usable answer came: no connection, a time-out, a server error, or not JSON."""


class AnswerTooLarge(Unreachable):
    """The answer is larger than any that is read; whoever asks for less may get it."""


class ServerFault(Unreachable):
    """The homeserver answers that it has failed; the next attempt may do."""


class RateLimited(MatrixError):
    """The homeserver asks to wait; ``retry_after_s`` is in seconds."""

    def __init__(self, text: str, *, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(text)


class Refused(MatrixError):
    """The homeserver refuses a request for good; ``code`` is its ``M_…`` code."""

    def __init__(self, text: str, *, status: int, code: str) -> None:
        self.status = status
        self.code = code
        super().__init__(text)


class AuthenticationNeeded(Refused):
    """The homeserver wants to be shown once more whose account this is: by the ``challenge``."""

    def __init__(self, text: str, *, challenge: Challenge) -> None:
        self.challenge = challenge
        super().__init__(text, status=401, code="")


class TokenRevoked(MatrixError):
    """The access token is not valid (any more): the agent can do nothing until a new login."""


# --- the login and the store ------------------------------------------------------------------


class NotLoggedIn(MatrixError):
    """There is no saved login, and neither a token nor a password to make one with."""


class WrongLogin(MatrixError):
    """A token belongs to another user or device than the one that is configured or saved."""


class StoreInUse(MatrixError):
    """Another process holds the store; two agents on one store would both run every command."""


class StoreDamaged(MatrixError):
    """A file of the store can't be read, or not with this pickle key."""


class StoreMismatch(MatrixError):
    """The homeserver knows other keys for our device than the store: it was lost or replaced."""


# --- identities -------------------------------------------------------------------------------


class IdentityError(MatrixError):
    """A user's or device's keys are not what they must be."""


class OtherIdentity(IdentityError):
    """The agent's account has another identity than the agent's own."""


class IdentityChanged(IdentityError):
    """A user has another identity than the ``pinned`` one, or none that could be checked."""

    def __init__(self, text: str, *, pinned: str) -> None:
        self.pinned = pinned
        super().__init__(text)


# --- sending ----------------------------------------------------------------------------------


class SendError(MatrixError):
    """A message was not sent, and must not be sent like this again."""


class NotJoined(SendError):
    """The agent is not in that room."""


class Unencrypted(SendError):
    """The room is not encrypted; nothing is ever sent in plain text."""


class Strangers(SendError):
    """The room has members that may not read what we send; ``users`` names them."""

    def __init__(self, text: str, *, users: tuple[str, ...]) -> None:
        self.users = users
        super().__init__(text)


class NobodyCanRead(SendError):
    """No member of the room has a device that is trusted with keys."""


class TooLarge(SendError):
    """The message or file is larger than the homeserver takes; both sizes are in bytes."""

    def __init__(self, text: str, *, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(text)
