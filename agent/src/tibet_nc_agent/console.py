# SPDX-License-Identifier: MIT
"""What root, at the host's console, and the running agent say to each other while they verify.

A Unix socket in the agent's state directory, which only the agent's user and root can enter; both
ends look whose process is at the other one (SO_PEERCRED). One JSON object a line. Root is shown
emoji by number, so that nothing which the network has sent reaches root's terminal as it came.
"""

import socket
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_agent.peer import peer_uid
from tibet_nc_protocol.pins import MasterKey
from tibet_nc_protocol.terms import RoomId, UserId

SOCKET_NAME: Final = "console.sock"

LINE_BYTES: Final = 4096
"""Longest line, with its end; the longest thing said is a reason."""

REASON_CHARACTERS: Final = 500

_Emoji = Annotated[int, Meta(ge=0, le=63)]
_Number = Annotated[int, Meta(ge=1000, le=9191)]


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all of them have in common: they don't change, and hold nothing unknown."""


class Verify(_Line, frozen=True, kw_only=True, tag=True):
    """Root: verify this user."""

    user: UserId


class Decision(_Line, frozen=True, kw_only=True, tag=True):
    """Root: the user sees the same, or not."""

    matches: bool


class Asked(_Line, frozen=True, kw_only=True, tag=True):
    """Agent: the user was asked in this room, or has asked there."""

    room: RoomId
    by_user: bool


class Shown(_Line, frozen=True, kw_only=True, tag=True):
    """Agent: have these compared; without emoji if the user's client can't show them."""

    emoji: Annotated[tuple[_Emoji, ...], Meta(max_length=7)]
    decimals: tuple[_Number, _Number, _Number]


class Proved(_Line, frozen=True, kw_only=True, tag=True):
    """Agent: the user has this master key."""

    master_key: MasterKey


class Failed(_Line, frozen=True, kw_only=True, tag=True):
    """Agent: it has come to nothing."""

    reason: Annotated[str, Meta(max_length=REASON_CHARACTERS)]


type Said = Verify | Decision
"""What root says."""

type Told = Asked | Shown | Proved | Failed
"""What the agent says."""

_ENCODER: Final = msgspec.json.Encoder()
_SAID: Final[msgspec.json.Decoder[Said]] = msgspec.json.Decoder(Said.__value__)
_TOLD: Final[msgspec.json.Decoder[Told]] = msgspec.json.Decoder(Told.__value__)


class ConsoleError(Exception):
    """The other end of the console's socket is not whom it should be, or makes no sense."""


def line(value: Said | Told) -> bytes:
    """Return a value as a line."""
    return _ENCODER.encode(value) + b"\n"


def said(data: bytes) -> Said:
    """Return what root says in a line; raises :class:`ConsoleError`."""
    return _decoded(_SAID, data)


def told(data: bytes) -> Told:
    """Return what the agent says in a line; raises :class:`ConsoleError`."""
    return _decoded(_TOLD, data)


def socket_of(state: Path) -> Path:
    """Return the path of the socket of the agent whose state is in a directory."""
    return state / SOCKET_NAME


def require_peer(endpoint: socket.socket, uids: frozenset[int]) -> None:
    """Raise :class:`ConsoleError` unless a process of one of these users is at the other end."""
    if (uid := peer_uid(endpoint)) not in uids:
        raise ConsoleError(f"a process of uid {uid} is at the other end")


def _decoded[T](decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    if len(data) > LINE_BYTES or not data.endswith(b"\n"):
        raise ConsoleError("the line is too long, or cut")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ConsoleError(f"the line makes no sense ({error})") from None
