# SPDX-License-Identifier: MIT
"""Output on its way to becoming an attachment: a private file that goes when it was sent."""

import os
import tempfile
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tibet_nc_agent.excerpt import EDGE_BYTES

DIRECTORY_NAME: Final = "spool"


def prepare(state: Path) -> Path:
    """Return the spool directory in the state directory, without what a crash left there."""
    directory = state / DIRECTORY_NAME
    directory.mkdir(mode=0o700, exist_ok=True)
    for left in directory.iterdir():
        left.unlink()
    return directory


class Spool:
    """A file to be written once; it keeps count of itself and remembers its two ends."""

    def __init__(self, directory: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=directory)  # 0600, and nobody else's
        self.path: Final = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self.size = 0
        self._line_ends = 0
        self.head = b""
        self.tail = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.path.unlink()
        finally:
            self._file.close()  # raises if the disk was full, and tries to write once more

    def write(self, data: bytes) -> None:
        """Append output; it is in the file, for others to read, when this returns."""
        self._file.write(data)
        self._file.flush()
        self.size += len(data)
        self._line_ends += data.count(b"\n")
        self.head += data[: EDGE_BYTES - len(self.head)]
        self.tail = (self.tail + data)[-EDGE_BYTES:]

    def pieces(self, limit: int | None) -> list[tuple[int, int]]:
        """Return offset and size of the pieces in which nothing is longer than a limit.

        They are as few as can be and of about one size; put together they are the output.
        """
        count = 1 if not limit else max(1, -(-self.size // limit))
        edges = [self.size * index // count for index in range(count + 1)]
        return [(start, end - start) for start, end in pairwise(edges)]

    @property
    def lines(self) -> int:
        """How many lines there are, a last one without an end included."""
        return self._line_ends + (1 if self.tail and not self.tail.endswith(b"\n") else 0)
