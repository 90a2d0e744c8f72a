# SPDX-License-Identifier: MIT
"""A progress bar for people: only on a terminal, only when the work lasts."""

import time
from typing import Final, TextIO

_WIDTH: Final = 30
_EVERY_SECONDS: Final = 0.1
_DELAY_SECONDS: Final = 0.5


class Progress:
    """Shows how many bytes of a known number are done, on a stream that is a terminal."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream if stream.isatty() else None
        self._total = max(total, 1)
        self._begin = time.monotonic()
        self._next = self._begin + _DELAY_SECONDS
        self._shown = False

    def show(self, done: int, what: str) -> None:
        """Show that so many bytes are done, if there is anyone to see it."""
        if self._stream is None:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        self._shown = True
        part = min(done / self._total, 1.0)
        bar = "█" * round(part * _WIDTH)
        left = (now - self._begin) * (1 - part) / part if part else 0.0
        self._stream.write(f"\r\x1b[K{bar:·<{_WIDTH}} {part:4.0%}  {what}  {left:.0f} s left")
        self._stream.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self._stream is not None and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
