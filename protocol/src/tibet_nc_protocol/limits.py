# SPDX-License-Identifier: MIT
"""Every limit of the protocol: its name, its unit and its reason."""

from typing import Final

PROTOCOL_VERSION: Final = 1
"""Version spoken on the socket. A peer of another version is refused, not guessed at."""

FRAME_BYTES: Final = 512 * 1024
"""Longest frame. Every message that its type permits fits; the longest is a full chain report."""

COMMAND_CHARACTERS: Final = 64 * 1024
"""Longest command. A Matrix event carries 64 KiB in all (Client-Server API v1.16, §Size limits)."""

IDENTIFIER_CHARACTERS: Final = 255
"""Longest Matrix user, room, event or device id (Matrix specification v1.16, appendices)."""

TEXT_CHARACTERS: Final = 1024
"""Longest reason, detail or other free text that one side writes for people."""

CHUNK_BYTES: Final = 64 * 1024
"""Most output in one message; the pseudo-terminal hands out no more at a time either."""

INLINE_BYTES: Final = 32 * 1024
"""Output up to this length travels with the result; longer output is fetched in chunks."""

OPEN_RUNS: Final = 64
"""Most commands that run or wait at once; the 50-command burst of one room fits."""

BACKGROUND_RUNS: Final = 32
"""Most commands that have ended and left something running, so that they leave room for others."""

INPUT_CHARACTERS: Final = 4096
"""Most typed at once into a running command: a line of a terminal holds no more."""

TAIL_BYTES: Final = 8 * 1024
"""Newest output that is kept in memory and shown while a command runs."""

TERMINAL_CELLS: Final = 500
"""Most rows, and most columns, of a command's terminal: wider than any screen, and still drawn."""

CHAIN_TAIL: Final = 32
"""Most chain entries in one report; a room message shows fewer."""

NOTES: Final = 16
"""Most remarks on one result: each names one thing that went otherwise than asked."""

RECORD_BYTES: Final = 128 * 1024
"""Longest record line. Every record that its type permits fits; the longest is an outcome with all
its notes, each character escaped. An ordinary record has under 1 KiB."""

RECORDING_LINE_BYTES: Final = 6 * CHUNK_BYTES + 1024
"""Longest line of a recording: a chunk of control characters, which JSON writes with six bytes."""

PROOF_BYTES: Final = 8 * 1024 * 1024
"""Longest file of a proof: three records, of which each character may be escaped once more, and
some thousand changes of keys."""

EXACT_INTEGER: Final = 2**53 - 1
"""Largest integer that every JSON reader holds exactly (RFC 8785, §3.2.2.3; RFC 7493, §2.2)."""
