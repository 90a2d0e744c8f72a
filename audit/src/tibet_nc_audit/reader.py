# SPDX-License-Identifier: MIT
"""The executor's files, read as if an enemy had written them.

Facts the code rests on:

- Nothing here follows a symbolic link below the state directory, opens anything but regular
  files, or waits on a pipe that has the name of one.
- Lines are held one block at a time, so memory grows neither with a file nor with a line. A line
  over its limit comes out cut, but still over the limit, so that its decoder refuses it. A file can
  say that it is far longer than any disk, and holes in it have no line end: they are passed over.
- The executor may be writing while we read. It appends whole lines, of which a reader can see
  the first part for a moment; so an incomplete last line is looked at twice. It may also cut such
  a line off, and go on with another; so what was read of one is read anew if the file has changed.
"""

import errno
import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from tibet_nc_audit.errors import (
    AuditError,
    MissingFileError,
    NotAFileError,
    UnreadableError,
)
from tibet_nc_protocol.layout import CHAIN, segment_first, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES

BLOCK_BYTES: Final = 64 * 1024
"""Read at once: about a hundred records, which fit the processor's cache."""

SETTLE_SECONDS: Final = 0.02
"""How long a line that is being written may take to become whole: a thousand times the usual."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHER_KIND: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENODEV})
"""What opening a symbolic link, a file as a directory, a socket or a device fails with."""

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LineFile:
    """The lines of one regular file; at its end it can be asked again, should the file grow."""

    def __init__(self, descriptor: int, name: str, limit: int) -> None:
        self.name: Final = name
        status = os.fstat(descriptor)
        self.size: Final = status.st_size
        self.identity: Final = (status.st_dev, status.st_ino)
        """Which file it is, whatever has its name later."""
        self.position = 0
        """Bytes read so far."""
        self.begin = 0
        """Where the line begins that comes after those yielded so far."""
        self._descriptor = descriptor
        self._limit = limit
        self._rest = b""
        self._settled = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def torn(self) -> int:
        """Bytes after the last line end, once the lines are used up; cut like a line."""
        return len(self._rest)

    def skip(self, position: int) -> None:
        """Begin at a position, which must be where a line begins; before anything was read."""
        self.position = self.begin = min(position, self.size)

    def batches(self) -> Iterator[list[bytes]]:
        """Yield the lines, without their ends, as they are read; raises UnreadableError."""
        self._look_again()
        while True:
            block = self._read(self.position)
            self.position += len(block)
            if not block:
                if not self._rest or self._settled:
                    return
                self._settled = True
                time.sleep(SETTLE_SECONDS)
                self._look_again()
                continue
            *lines, rest = (self._rest + block).split(b"\n")
            self._rest = rest[: self._limit + 1]
            if lines:
                self._settled = False
                self.begin = self.position - len(rest)
            if len(self._rest) > self._limit:
                self.position = self._past_hole(self.position)
            if lines:
                yield lines

    def ahead(self, begin: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Yield lines that begin between two positions, each with where the next one begins.

        What ``batches`` reads next stays what it is. Raises UnreadableError.
        """
        rest = b""
        position = begin
        while end is None or begin < end:
            block = self._read(position)
            if not block:
                return
            start = 0
            while (stop := block.find(b"\n", start)) >= 0:
                begin = position + stop + 1
                yield begin, rest + block[start:stop]
                if end is not None and begin >= end:
                    return
                rest, start = b"", stop + 1
            rest = (rest + block[start:])[: self._limit + 1]
            position += len(block)
            if len(rest) > self._limit:
                position = self._past_hole(position)

    def __iter__(self) -> Iterator[bytes]:
        for batch in self.batches():
            yield from batch

    def _look_again(self) -> None:
        """Go back to where an incomplete line begins, if the file is longer or shorter now."""
        if self._rest and os.fstat(self._descriptor).st_size != self.position:
            self.position, self._rest = self.begin, b""

    def _past_hole(self, position: int) -> int:
        """Return where data comes next, as far as the file system knows."""
        try:
            return os.lseek(self._descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # none comes
                return max(position, os.fstat(self._descriptor).st_size)
            return position

    def _read(self, position: int) -> bytes:
        try:
            return os.pread(self._descriptor, BLOCK_BYTES, position)
        except OSError as error:
            raise UnreadableError(f"{self.name}: {error.strerror}") from None


class State:
    """An executor's state directory, or a copy of one."""

    def __init__(self, path: Path) -> None:
        """Open the directory; raises AuditError."""
        self.path: Final = path
        try:
            self._descriptor = os.open(path, _DIRECTORY)
        except OSError as error:
            hint = " (root can read it, or a copy)" if isinstance(error, PermissionError) else ""
            raise AuditError(f"{path}: {error.strerror}{hint}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, in order; none if it isn't there.

        Raises UnreadableError.
        """
        try:
            descriptor = self._folder(folder)
        except MissingFileError:
            return []
        try:
            return sorted(os.listdir(descriptor))
        except OSError as error:
            raise UnreadableError(f"{folder}: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def segments(self) -> list[int]:
        """Return the number of the first record of each segment of the chain, in order.

        Raises AuditError when there is no chain here.
        """
        names = self.names(CHAIN)
        firsts = [first for name in names if (first := segment_first(name)) is not None]
        if not firsts:
            raise AuditError(f"{self.path}: no chain here (chain/{segment_name(0)})")
        return firsts

    def chain_bytes(self) -> int:
        """Return how many bytes of the chain can be read now; raises AuditError."""
        return sum(map(self.segment_bytes, self.segments()))

    def segment_bytes(self, first: int) -> int:
        """Return how many bytes of a segment can be read now; raises AuditError."""
        try:
            with self.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
                return file.size
        except UnreadableError:
            return 0

    def open(self, name: str, limit: int, folder: str | None = None) -> LineFile:
        """Open a file to read lines of up to ``limit`` bytes.

        Raises MissingFileError, NotAFileError, or UnreadableError.
        """
        shown = name if folder is None else f"{folder}/{name}"
        above = self._descriptor if folder is None else self._folder(folder)
        try:
            descriptor = _open(name, _FILE, above, shown)
        finally:
            if folder is not None:
                os.close(above)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotAFileError(f"{shown}: not a regular file")
        return LineFile(descriptor, shown, limit)

    @contextmanager
    def open_if_there(
        self, name: str, limit: int, folder: str | None = None
    ) -> Generator[LineFile | None]:
        """Open a file as ``open`` does; None when it isn't there."""
        try:
            file = self.open(name, limit, folder)
        except MissingFileError:
            yield None
            return
        with file:
            yield file

    def segment_of(self, number: int) -> int:
        """Return the first record of the segment in which a record stands; raises AuditError."""
        segments = self.segments()
        return max((first for first in segments if first <= number), default=segments[0])

    def records_from(self, start: int, *, pass_over: bool = False) -> Iterator[tuple[int, bytes]]:
        """Yield the line of each record from a number on, and its number by its place.

        Places are counted from each segment's name. Raises AuditError, but passes over what can't
        be read if it is to.
        """
        begin = self.segment_of(start)
        for first in self.segments():
            if first < begin:
                continue
            number = first
            with (
                suppress(*([UnreadableError] if pass_over else [])),
                self.open(segment_name(first), RECORD_BYTES, CHAIN) as file,
            ):
                for line in file:
                    if number >= start:
                        yield number, line
                    number += 1

    def _folder(self, name: str) -> int:
        return _open(name, _DIRECTORY | os.O_NOFOLLOW, self._descriptor, name)


def _open(name: str, flags: int, above: int, shown: str) -> int:
    try:
        return os.open(name, flags, dir_fd=above)
    except FileNotFoundError:
        raise MissingFileError(f"{shown}: not there") from None
    except OSError as error:
        if error.errno in _OTHER_KIND:
            what = "directory" if flags & os.O_DIRECTORY else "regular file"
            raise NotAFileError(f"{shown}: not a {what}") from None
        raise UnreadableError(f"{shown}: {error.strerror}") from None
