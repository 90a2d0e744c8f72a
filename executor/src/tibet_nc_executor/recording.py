# SPDX-License-Identifier: MIT
"""What one command printed, as it prints it: hashed whole, and recorded up to a limit.

The recording is the only place where output is kept; the executor holds its beginning and its end
in memory and nothing else, however much is printed.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from tibet_nc_executor.durable import PRIVATE_FILE, append
from tibet_nc_executor.writeback import Writeback
from tibet_nc_protocol.limits import INLINE_BYTES, TAIL_BYTES
from tibet_nc_protocol.recording import CastReader, CastWriter


class Recorder:
    """Takes the output of one command.

    The file is made with the first byte of output, so a silent command has none.
    """

    def __init__(
        self, path: Path, *, title: str, columns: int, rows: int, limit_bytes: int
    ) -> None:
        self._path = path
        self._title = title
        self._size = (columns, rows)
        self._limit = limit_bytes
        self._cast = CastWriter()
        self._digest = hashlib.sha256()
        self._begin = time.monotonic()
        self._started = time.time()
        self._descriptor: int | None = None
        self._end = 0
        self._writeback = Writeback()
        self.bytes = 0
        """How much was printed."""
        self.recorded = 0
        """How much of it was kept."""
        self.beginning = bytearray()
        """The first INLINE_BYTES of it."""
        self.newest = bytearray()
        """The last TAIL_BYTES of it."""
        self.failure: str | None = None
        """Why recording ended before the limit, if it did."""

    @property
    def name(self) -> str:
        """The file's name, empty when nothing was printed."""
        return "" if self._descriptor is None else self._path.name

    @property
    def sha256(self) -> str:
        """The SHA-256 of everything that was printed."""
        return self._digest.hexdigest()

    @property
    def descriptor(self) -> int | None:
        """The file, for whoever syncs it."""
        return self._descriptor

    def feed(self, data: bytes) -> None:
        """Take some output; a full disk ends the recording, not the command."""
        self._digest.update(data)
        self.bytes += len(data)
        self.newest += data[-TAIL_BYTES:]
        del self.newest[:-TAIL_BYTES]
        room = INLINE_BYTES - len(self.beginning)
        if room > 0:
            self.beginning += data[:room]
        if self.failure is not None or self.recorded >= self._limit:
            return
        kept = data[: self._limit - self.recorded]
        held = self._cast.held
        cast = self._cast.output(kept, self._elapsed())
        if self.recorded + len(kept) == self._limit:
            cast += self._cast.mark("recording limit reached", self._elapsed())
        if self._write(cast):
            self.recorded += len(kept)
        else:
            self.recorded -= held

    def finish(self, status: str) -> None:
        """Write the last lines; ``status`` is the exit status."""
        if self._descriptor is None or self.failure is not None:
            return
        held = self._cast.held
        if not self._write(self._cast.finish(self._elapsed(), status)):
            self.recorded -= held

    async def settle(self) -> None:
        """Get nearly all of the file on the disk, without holding others up; raises OSError."""
        if self._descriptor is not None:
            await self._writeback.settle(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _elapsed(self) -> float:
        return time.monotonic() - self._begin

    def _write(self, lines: bytes) -> bool:
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self._path, flags, PRIVATE_FILE)
                columns, rows = self._size
                lines = (
                    self._cast.header(
                        columns=columns,
                        rows=rows,
                        timestamp=int(self._started),
                        title=self._title,
                    )
                    + lines
                )
            self._end = append(self._descriptor, self._end, lines)
            self._writeback.wrote(self._descriptor, len(lines))
        except OSError as error:
            self.failure = f"recording ended early: {error.strerror}"
            return False
        return True


def read_output(path: Path) -> Iterator[bytes]:
    """Yield the recorded output in pieces; raises OSError or DecodeError."""
    reader = CastReader()
    with path.open("rb") as file:
        for line in file:
            if data := reader.feed(line):
                yield data
    reader.end()
