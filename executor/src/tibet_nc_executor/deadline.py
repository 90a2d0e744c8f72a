# SPDX-License-Identifier: MIT
"""The two time limits of a command or a session; times are passed in, in seconds."""

from enum import Enum


class Expiry(Enum):
    """Which limit was met."""

    IDLE = "idle"
    TOTAL = "total"


class Deadline:
    """An idle limit that activity restarts, and a total limit that nothing does."""

    def __init__(self, *, now: float, idle_s: float, total_s: float) -> None:
        self._idle_s = idle_s
        self._active = now
        self._end = now + total_s
        self._held = False

    def touch(self, now: float) -> None:
        """Note activity."""
        self._active = now

    def hold(self) -> None:
        """Stop the idle limit, until `release`."""
        self._held = True

    def release(self, now: float) -> None:
        """Let the idle limit run again, from now."""
        self._held = False
        self._active = now

    def due(self) -> float:
        """Return the time at which a limit is met if nothing happens until then."""
        return self._end if self._held else min(self._end, self._active + self._idle_s)

    def expired(self, now: float) -> Expiry | None:
        """Return the limit met at `now`, the total one first."""
        if now >= self._end:
            return Expiry.TOTAL
        if not self._held and now >= self._active + self._idle_s:
            return Expiry.IDLE
        return None
