# SPDX-License-Identifier: MIT
"""When the message of a running command is edited: seldom, and ever more seldom.

Facts. A room in which one message was edited a thousand times can hardly be opened any more, and
an edit counts like a message against the homeserver's rate limit, which answers need too (Synapse
permits 0.2 messages a second, and ten at once, unless told otherwise). So the pauses grow by a
tenth each time: fifty edits span an hour, the first ten 48 s. An edit that the homeserver's
limit refuses is given up, and all edits wait at least twice as long as it asked for.

Pure: times are in seconds by any clock that only goes forward.
"""

from typing import Final

EDITS: Final = 50
"""Most edits of one message."""

FIRST_PAUSE_SECONDS: Final = 3.0
GROWTH: Final = 1.1

SPACING_SECONDS: Final = 1.0
"""Least time between any two edits of the agent, however many commands run."""


class Pace:
    """What the edits of all commands have in common: one after the other, and a rate limit."""

    def __init__(self) -> None:
        self._next = 0.0

    def reserve(self, wanted: float) -> float:
        """Return the time, not before the wanted one, that from now on is this edit's own."""
        at = max(wanted, self._next)
        self._next = at + SPACING_SECONDS
        return at

    def limited(self, now: float, wait: float) -> None:
        """Note that the homeserver asked to wait."""
        self._next = max(self._next, now + 2 * wait)


class Progress:
    """The edits of one message, which was sent at a time."""

    def __init__(self, now: float) -> None:
        self._pause = FIRST_PAUSE_SECONDS
        self._due = now + self._pause
        self._told = 0
        self.edits = 0
        """How many there were."""

    @property
    def due(self) -> float | None:
        """When to look again whether there is something to tell; None if never.

        One edit is kept for the end.
        """
        return self._due if self.edits < EDITS - 1 else None

    def news(self, output_bytes: int) -> bool:
        """Whether a command that has printed so much since it started has something to tell."""
        return output_bytes > self._told

    def looked(self, now: float) -> None:
        """Note that there was nothing to tell, or that it couldn't be told."""
        self._due = now + self._pause

    def edited(self, now: float, output_bytes: int) -> None:
        """Note an edit, at the time when the homeserver took it."""
        self.edits += 1
        self._told = output_bytes
        self._pause *= GROWTH
        self._due = now + self._pause
