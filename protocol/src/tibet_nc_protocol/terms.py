# SPDX-License-Identifier: MIT
"""The words that messages and records share (SPEC §4): identifiers, and why something ended."""

import hashlib
from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from tibet_nc_protocol.limits import (
    COMMAND_CHARACTERS,
    EXACT_INTEGER,
    IDENTIFIER_CHARACTERS,
    NOTES,
    TERMINAL_CELLS,
    TEXT_CHARACTERS,
)

# Identifiers are opaque to us but for their sigil: no white space, no control character, so that
# they can stand in a line of text and in a journal field. \Z, since $ would admit a line end.
UserId = Annotated[
    str, Meta(max_length=IDENTIFIER_CHARACTERS, pattern=r"\A@[^\s\x00-\x20\x7f-\x9f]+\Z")
]
RoomId = Annotated[
    str, Meta(max_length=IDENTIFIER_CHARACTERS, pattern=r"\A![^\s\x00-\x20\x7f-\x9f]+\Z")
]
EventId = Annotated[
    str, Meta(max_length=IDENTIFIER_CHARACTERS, pattern=r"\A\$[^\s\x00-\x20\x7f-\x9f]+\Z")
]
DeviceId = Annotated[
    str, Meta(max_length=IDENTIFIER_CHARACTERS, pattern=r"\A[^\s\x00-\x20\x7f-\x9f]+\Z")
]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
RunId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
ConnectionId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Count = Annotated[int, Meta(ge=0, le=EXACT_INTEGER)]
Cells = Annotated[int, Meta(ge=1, le=TERMINAL_CELLS)]
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS)]
Notes = Annotated[tuple[Text, ...], Meta(max_length=NOTES)]
CommandText = Annotated[str, Meta(min_length=1, max_length=COMMAND_CHARACTERS)]

RUN_ID_CHARACTERS: Final = 32


def run_id(room: str, event: str) -> str:
    """Return the run that one Matrix event in one room can start: there is exactly one (I3)."""
    text = f"tibet-nc run\n{room}\n{event}"
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_ID_CHARACTERS]


def ending_of(status: int | None, signal: int | None) -> str:
    """Return how a command ended: its exit status, ``signal N``, or ``unknown`` for neither.

    Neither is there when not even the kernel could end its shell, which waits for a disk maybe.
    """
    if status is not None:
        return str(status)
    return "unknown" if signal is None else f"signal {signal}"


class Stage(StrEnum):
    """A stage of the airlock, in the order in which a message passes them."""

    SENDER = "sender"
    FRESHNESS = "freshness"
    SAFETY = "safety"
    CHAIN = "chain"


class Signal(StrEnum):
    """What an operator may send to a running command."""

    INTERRUPT = "interrupt"
    """SIGINT to the foreground process group, as ^C in a terminal."""
    KILL = "kill"
    """SIGKILL to everything that the command started."""


class Reason(StrEnum):
    """Why a command is no longer running."""

    EXITED = "exited"
    """It ended by itself, with an exit status or by a signal of its own."""
    CANCELLED = "cancelled"
    """It ended after an operator's interrupt."""
    KILLED = "killed"
    """An operator had it killed."""
    IDLE = "idle"
    """It printed nothing for as long as the host permits."""
    TIMED_OUT = "timed-out"
    """It ran for as long as the host permits."""
    STOPPED = "stopped"
    """It stopped itself (SIGSTOP, SIGTSTP) and nobody could have continued it."""
    ABORTED = "aborted"
    """The executor ended while it ran; what it did until then is unknown."""


class DenialCode(StrEnum):
    """Why the executor refuses a request that was well formed."""

    SENDER = "sender"
    """The sender is not an operator of this host."""
    ROOM = "room"
    """The room is not one of this host's."""
    STALE = "stale"
    """The event is too old, or lies in the future."""
    REPLAY = "replay"
    """This ciphertext was already seen under another event id."""
    BUSY = "busy"
    """As many commands run or wait as may at once."""
    UNRECORDED = "unrecorded"
    """The record could not be written, so nothing was run (I7)."""
    CANCELLED = "cancelled"
    """An operator, or the end of the executor, came before the command started."""
    SHELL = "shell"
    """The shell could not be started."""
    RAN = "ran"
    """The event was run, or waits to be, so that it can't be refused; asking again tells more."""
    REFUSED = "refused"
    """The event was refused before, which is on record; it is not run any more."""
    UNKNOWN = "unknown"
    """No such run, or it is not running any more."""
