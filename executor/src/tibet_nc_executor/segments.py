# SPDX-License-Identifier: MIT
"""Reading the chain's segments at start-up, in time that doesn't grow with the chain.

Only the last segment is read whole. What a crash can leave is mended: a last line without its
line end, or zeros after the last line (a file system that lost the data but kept the length), is
cut off and reported. Anything else that is wrong was not done by a crash, and is refused. What is
whole may be there only in memory, if the executor was killed before its sync: that is made up for
before anybody is told of it.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tibet_nc_executor.durable import cut
from tibet_nc_executor.errors import LedgerError
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import ProtocolError
from tibet_nc_protocol.layout import segment_first, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import FIRST_PREV, RECORDS, Key, Record, digest, verify_signature
from tibet_nc_protocol.signing import PublicKey


@dataclass(frozen=True, kw_only=True)
class Torn:
    """What was cut off the end of the chain: how many bytes, and their SHA-256."""

    bytes: int
    sha256: str

    def __str__(self) -> str:
        """Say it for the record."""
        return f"{counted(self.bytes, 'byte')} cut off the end, SHA-256 {self.sha256}"


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Where the chain ends: its length in records, its head, and its last segment's first record.

    ``first`` is None when there is no segment yet.
    """

    length: int
    head: str
    first: int | None
    torn: Torn | None


def firsts(directory: Path) -> list[int]:
    """Return the number of the first record of each segment, in order."""
    found = (segment_first(name) for name in os.listdir(directory))
    return sorted(first for first in found if first is not None)


def recover(directory: Path, key: PublicKey) -> Tail:
    """Find the end of the chain, cutting off what a crash left; raises LedgerError or OSError."""
    segments = firsts(directory)
    if not segments:
        return Tail(length=0, head=FIRST_PREV, first=None, torn=None)
    first = segments[-1]
    path = directory / segment_name(first)
    torn = mend(path)
    length = first
    head = FIRST_PREV
    last: Record | None = None
    if first > 0:
        line = _line_before(directory, segments)
        last = _decode(line, first - 1)
        if last.seq != first - 1:
            raise LedgerError(f"records before record {first} are missing")
        head = digest(line)
    for line in _lines(path):
        last = _follow(line, length, head)
        head = digest(line)
        length += 1
    if isinstance(last, Key):
        if last.key != key.hex:
            raise LedgerError(f"record {last.seq} says that the chain goes on with key {last.key}")
    elif last is not None:
        try:
            verify_signature(last, key)
        except ProtocolError as error:
            raise LedgerError(
                f"record {last.seq} was not signed by this executor: {error}"
            ) from None
    return Tail(length=length, head=head, first=first, torn=torn)


def read_from(directory: Path, start: int) -> Iterator[tuple[Record, str]]:
    """Yield each record from a number on, with its digest.

    Raises LedgerError when one is wrong or can't be read.
    """
    try:
        yield from _read_from(directory, start)
    except OSError as error:
        raise LedgerError(f"the chain can't be read: {error.strerror}") from None


def _read_from(directory: Path, start: int) -> Iterator[tuple[Record, str]]:
    segments = firsts(directory)
    begin = max((index for index, first in enumerate(segments) if first <= start), default=0)
    for first in segments[begin:]:
        number = first
        for line in _lines(directory / segment_name(first)):
            if number >= start:
                yield _decode(line, number), digest(line)
            number += 1


def newest(directory: Path) -> Record | None:
    """Return the last record of a chain, None if it has none; raises LedgerError or OSError.

    A line that a crash has torn is no record; whoever opens the chain cuts it off.
    """
    for first in reversed(firsts(directory)):
        whole, _, _ = (directory / segment_name(first)).read_bytes().rpartition(b"\n")
        if whole:
            return _decode(whole.rpartition(b"\n")[2], first + whole.count(b"\n"))
    return None


def mend(path: Path) -> Torn | None:
    """Cut off an incomplete last line or trailing zeros, and have the rest on disk.

    Returns what was cut off; raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        cut(descriptor, end)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    dropped = data[end:]
    if not dropped:
        return None
    return Torn(bytes=len(dropped), sha256=hashlib.sha256(dropped).hexdigest())


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(RECORD_BYTES + 2):
            yield line.removesuffix(b"\n")


def _decode(line: bytes, number: int) -> Record:
    try:
        return RECORDS.decode(line)
    except ProtocolError as error:
        raise LedgerError(
            f"record {number} of the chain is damaged, or one of a newer version: {error}"
        ) from None


def _follow(line: bytes, number: int, head: str) -> Record:
    record = _decode(line, number)
    if record.seq != number or record.prev != head:
        raise LedgerError(
            f"the chain is broken at record {number}: run tibet-nc-audit verify for the details"
        )
    return record


def _line_before(directory: Path, segments: list[int]) -> bytes:
    """Return the line that the last segment's first one follows, reading only what it must."""
    *others, first = segments
    if not others:
        raise LedgerError(f"the segments before record {first} are missing")
    with (directory / segment_name(others[-1])).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * RECORD_BYTES))
        end = file.read()
    if not end.endswith(b"\n"):
        raise LedgerError(f"the segment before record {first} does not end with a whole line")
    return end[:-1].rpartition(b"\n")[2]
