# SPDX-License-Identifier: MIT
"""Handing out recorded output in pieces, from an offset."""

from collections.abc import Iterator
from pathlib import Path

from tibet_nc_executor.recording import read_output
from tibet_nc_protocol.limits import CHUNK_BYTES


class OutputReader:
    """Reads one recording from front to back; going back starts it anew.

    A recording is text and has no index, but it is asked for in order.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pieces: Iterator[bytes] = iter(())
        self._buffer = bytearray()
        self._position = 0
        self._restart()

    def read(self, offset: int) -> tuple[bytes, bool]:
        """Return up to CHUNK_BYTES from an offset, and whether they are the last.

        Raises OSError or DecodeError.
        """
        if offset < self._position:
            self._restart()
        while offset > self._position:
            if not self._fill(1):
                return b"", True
            skipped = min(offset - self._position, len(self._buffer))
            del self._buffer[:skipped]
            self._position += skipped
        more = self._fill(CHUNK_BYTES + 1)
        data = bytes(self._buffer[:CHUNK_BYTES])
        del self._buffer[: len(data)]
        self._position += len(data)
        return data, not more

    def _restart(self) -> None:
        self._pieces = read_output(self._path)
        self._buffer.clear()
        self._position = 0

    def _fill(self, length: int) -> bool:
        """Read until the buffer holds this much; return whether it does."""
        while len(self._buffer) < length:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._buffer += piece
        return True
