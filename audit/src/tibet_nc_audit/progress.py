# SPDX-License-Identifier: MIT
"""A progress bar for people: only on a terminal that can clear a line, only when the work lasts."""

import os
import time
from typing import Final, TextIO

_WIDTH: Final = 30
"""Of the bar itself, where there is room for it beside the words."""

_COLUMNS: Final = 80
"""Of a terminal that doesn't say how wide it is."""

_EVERY_SECONDS: Final = 0.1
_DELAY_SECONDS: Final = 0.5


class Progress:
    """Shows how many bytes of a known number are done, on a stream that is a terminal."""

    def __init__(self, stream: TextIO, total: int) -> None:
        self._stream = stream if stream.isatty() and os.environ.get("TERM") != "dumb" else None
        self._full, self._empty = "█·" if _writes(stream, "█·") else "#."
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
        left = (now - self._begin) * (1 - part) / part if part else 0.0
        words = f" {part:4.0%}  {what}  {left:.0f} s left"
        # What was wrapped can't be taken away; some terminals wrap once the last column is written.
        room = (os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS) - 1
        width = max(0, min(_WIDTH, room - len(words)))
        full = round(part * width)
        bar = self._full * full + self._empty * (width - full)
        self._stream.write(f"\r\x1b[K{f'{bar}{words}'[:room]}")
        self._stream.flush()

    def clear(self) -> None:
        """Take the bar away."""
        if self._stream is not None and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def _writes(stream: TextIO, text: str) -> bool:
    """Tell whether a stream can say a text without escapes."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
