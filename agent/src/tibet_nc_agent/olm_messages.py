# SPDX-License-Identifier: MIT
"""What goes into the Olm machine and comes out of it, as values of ours."""

from dataclasses import dataclass
from typing import Final

from tibet_nc_agent.canonical import JsonObject

SIGNED_CURVE25519: Final = "signed_curve25519"
"""The algorithm of one-time and fallback keys."""


class KeyMissing(Exception):  # noqa: N818 - a state of a message, not a failure of ours
    """There is no session for a message (yet)."""


class NotReadable(Exception):  # noqa: N818 - a state of a message, not a failure of ours
    """A message doesn't decrypt to what an honest client sends."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A decrypted message: its payload, and which message of whose session it was."""

    payload: JsonObject
    sender_key: str
    session_id: str
    index: int


@dataclass(frozen=True, kw_only=True)
class ToDevice:
    """A message to devices: event type and the content for each user and device."""

    event_type: str
    messages: JsonObject
