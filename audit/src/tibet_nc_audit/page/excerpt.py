# SPDX-License-Identifier: MIT
"""The part of a chain that a page holds: records without a gap, and what they go on from.

A page can't hold any chain there is. It holds the newest records that fit, or those of the times
asked for. What stood before them is summed up by the digest they link to, the key in force, and
the subtrees of RFC 6962: from these, the roots in later checkpoints can be computed.
"""

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import msgspec

from tibet_nc_audit.filters import Filter
from tibet_nc_audit.lines import decoded, named_key, signed
from tibet_nc_audit.reader import State
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.merkle import Frontier, leaf_hash
from tibet_nc_protocol.records import (
    FIRST_PREV,
    Genesis,
    Key,
    Record,
    digest,
)
from tibet_nc_protocol.signing import PublicKey

LINES_BYTES: Final = 32 * 1024 * 1024
"""Most bytes of records: about 45,000, which a browser checks in under a minute."""

LINES: Final = 128 * 1024
"""Most records: more would be in so many bytes only if lines were shorter than any record is."""


class ChainFile(msgspec.Struct):
    """A file of the chain with records of the page, and the texts in the file of the same name."""

    first: int
    """The number in its name."""
    at: int
    """How many records of the page stand before it."""
    torn: int = 0
    """Bytes after its last line end."""
    no_texts: int = 0
    """Lines among the texts that are none, or torn."""
    lacking: int | None = None
    """The first record on the page whose text isn't there, which one of those may have been."""


class Excerpt:
    """Where the page's records begin and end; known once ``lines`` is used up."""

    def __init__(self, state: State, wanted: Filter, key: PublicKey | None) -> None:
        self.start = 0
        self.end = 0
        """The number after the last record."""
        self.total = 0
        """How many records the chain has, as far as it was read."""
        self.prev = FIRST_PREV
        self.key = key
        """The key that signs the first record here."""
        self.files: list[ChainFile] = []
        """The chain's files from the one with the first record here on; none if there is no such
        record, unless the chain has none at all."""
        self.host = ""
        self.origin = ""
        self.first_key = ""
        """The key that the genesis record names."""
        self._state = state
        self._since, self._until = wanted.since, wanted.until
        self._tree: Frontier | None = Frontier()
        self._held = 0

    @property
    def subtrees(self) -> list[str] | None:
        """The subtrees over the records before, None if there is a gap in those."""
        return None if self._tree is None else [digest.hex() for digest in self._tree.digests]

    def lines(self, limit: int = LINES_BYTES) -> Iterator[bytes]:
        """Yield the lines of the records; raises AuditError."""
        surplus = self._state.chain_bytes() - limit
        for number, line in self._read():
            self.total = number + 1
            record = decoded(line)
            if number == 0 and isinstance(record, Genesis):
                self.host, self.origin = record.host, record.executor
                self.first_key = record.key
            time = "" if record is None else record.time
            if not self._held:
                # What is no record has no time: it is where the one before it is.
                early = bool(self._since) and (not time or time < (self._since or ""))
                if surplus > 0 or early:
                    surplus -= len(line) + 1
                    self._pass(number, line, record)
                    continue
                del self.files[:-1]
                self.files[0].at = 0
            if self._held >= LINES or (self._until and time >= self._until):
                if self.files[-1].at == self._held:
                    self.files.pop()
                return
            self._held += 1
            self.end = number + 1
            yield line
        if not self._held:
            self.end = self.start
            if self.total:
                self.files.clear()

    def spans(self, number: int) -> bool:
        """Tell whether a record of this number is here, or there is none."""
        return self.start <= number and (number < self.end or self.end == self.total)

    def lacks_text(self, number: int) -> None:
        """Note a record here whose text isn't there; they come in no order."""
        at = bisect_right(self.files, number, key=attrgetter("first"))
        file = self.files[max(at - 1, 0)]
        file.lacking = number if file.lacking is None else min(file.lacking, number)

    def _read(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line, with the number that it has by its place in the file that it is in."""
        for first in self._state.segments():
            with self._state.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
                self.files.append(ChainFile(first=first, at=self._held))
                yield from enumerate(file, first)
                self.files[-1].torn = file.torn

    def _pass(self, number: int, line: bytes, record: Record | None) -> None:
        """Sum up a record that the page doesn't hold."""
        if self._tree is not None:
            self._tree.append(leaf_hash(line))
            if self._tree.size != number + 1:
                self._tree = None
        if (isinstance(record, Genesis) and number == 0 and self.key is None) or (
            isinstance(record, Key) and signed(record, self.key)
        ):
            self.key = named_key(record)
        self.start, self.prev = number + 1, digest(line)
