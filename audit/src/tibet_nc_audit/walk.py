# SPDX-License-Identifier: MIT
"""From line to line of the chain, and on after one that is wrong.

The protocol's ChainVerifier says whether a line follows. To go on after one that doesn't, the walk
has to settle where it is then:

- A record that is signed by the executor is believed to have the number it says; what stood
  before it is what is missing or too much.
- So is one whose signature nobody can check, for want of a key.
- Any other line is taken to stand in the place of a record that is lost, and the link of the next
  one, which is to that lost record, isn't held against it.

So one fault makes one finding where that can be, and never hides another.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import override

from tibet_nc_audit.findings import Finding, Findings, What
from tibet_nc_audit.heads import Held
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import DecodeError, RecordError, SignatureError
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.records import (
    RECORDS,
    Checkpoint,
    Genesis,
    Intent,
    Key,
    Record,
    digest,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey


class Walk(ABC):
    """Where a verification is, and what it has found."""

    def __init__(self, findings: Findings, heads: Sequence[Held]) -> None:
        self.findings = findings
        self.file = ""
        self.row = 0
        """Lines of the file before the one that is next."""
        self.lines = 0
        """Lines of the chain before the one that is next."""
        self.relink = False
        """Whether the next record's link is to one that is lost, so that it can't be checked."""
        self._heads = {head.record: [h for h in heads if h.record == head.record] for head in heads}

    @property
    @abstractmethod
    def key(self) -> PublicKey | None:
        """The executor's key, once it is known."""

    @property
    @abstractmethod
    def length(self) -> int:
        """The number that the next record must have."""

    @property
    @abstractmethod
    def head(self) -> str:
        """The digest that the next record must link to."""

    @abstractmethod
    def jump(self, length: int) -> None:
        """Go on at another number, with a record whose link can't be checked."""

    def begin(self, first: int) -> None:
        """Enter the segment that begins with a record."""
        name = segment_name(first)
        self.file = f"{CHAIN}/{name}"
        self.row = 0
        if first != self.length:
            self.find(
                What.SEGMENT,
                self.length,
                "the segment that begins with this record is missing",
                expected=segment_name(self.length),
                found=name,
            )
            self.jump(first)

    def end(self, torn: int) -> None:
        """Leave a segment whose last line end is followed by so many bytes."""
        if torn:
            self.find(
                What.TORN,
                self.length,
                "the last line is incomplete: a write was cut short, or the file was",
                expected="a line end",
                found=f"{torn} bytes after the last one",
            )

    def finish(self) -> None:
        """Leave the chain: heads held of records that it doesn't reach are findings."""
        if self.lines == 0:
            self.find(What.RECORD, 0, "the chain is empty", expected="a genesis record")
        for number, heads in self._heads.items():
            for held in heads:
                self.find(
                    What.HEAD,
                    min(number, self.length),
                    f"the chain does not reach a record that is held ({held.source})",
                    expected=held.what,
                    found=f"the end after {self.length} records, with head {self.head}",
                )

    def compare(self, number: int, line: bytes) -> None:
        """Compare a record's line with the heads held of it."""
        for held in self._heads.pop(number, ()):
            found = _root(line) if held.root else digest(line)
            if not found.startswith(held.root or held.head):
                self.find(
                    What.HEAD,
                    number,
                    f"not the record that is held ({held.source})",
                    expected=held.root or held.head,
                    found=found,
                )

    def find(
        self,
        what: What,
        record: int,
        reason: str,
        *,
        expected: str = "",
        found: str = "",
        before: int = 0,
    ) -> None:
        """Report what is wrong here, or with the line that stands ``before`` lines earlier."""
        row = self.row - before + 1
        self.findings.add(
            Finding(
                record=record,
                what=what,
                file=self.file,
                reason=reason,
                line=row if row > 0 else None,
                expected=expected,
                found=found,
            ),
            self.lines - before,
        )


class RecordWalk(Walk):
    """Decode each record, verify its signature, and see that each command ends once."""

    def __init__(self, findings: Findings, heads: Sequence[Held], key: PublicKey | None) -> None:
        super().__init__(findings, heads)
        self._verifier = ChainVerifier(key)

    @property
    @override
    def key(self) -> PublicKey | None:
        return self._verifier.key

    @property
    @override
    def length(self) -> int:
        return self._verifier.length

    @property
    @override
    def head(self) -> str:
        return self._verifier.head

    @property
    def open(self) -> Sequence[int]:
        """The commands that have begun and not ended."""
        return sorted(self._verifier.open)

    @override
    def jump(self, length: int) -> None:
        self._forget_tree()
        self._verifier.length = length
        self.relink = True

    def take(self, line: bytes) -> Record | None:
        """Check one line; return its record unless that isn't the executor's."""
        if self.relink:
            self._trust_link(line)
        if self.lines and not self._verifier.origin:
            self._trust_origin(line)
        try:
            record: Record | None = self._verifier.feed(line)
        except RecordError as error:
            self.find(
                What.RECORD,
                error.position,
                error.reason,
                expected=error.expected,
                found=error.found,
            )
            record = self._settle(line)
        if record is not None:
            self.compare(record.seq, line)
        self.row += 1
        self.lines += 1
        return record

    def _forget_tree(self) -> None:
        """Go on without the tree: after a fault, every checkpoint's root would be another."""
        old = self._verifier
        self._verifier = ChainVerifier(old.key, roots=False)
        self._verifier.length, self._verifier.head = old.length, old.head
        self._verifier.open, self._verifier.origin = old.open, old.origin

    def _trust_origin(self, line: bytes) -> None:
        """Take the chain's name from a checkpoint: the genesis is lost, which was found already."""
        record = _decode(line)
        if isinstance(record, Checkpoint):
            self._verifier.origin = record.note.partition("\n")[0]

    def _trust_link(self, line: bytes) -> None:
        record = _decode(line)
        if record is not None:
            self._verifier.head = record.prev
        self.relink = False

    def _settle(self, line: bytes) -> Record | None:
        self._forget_tree()
        verifier = self._verifier
        record = _decode(line)
        if verifier.key is None and isinstance(record, Genesis):
            verifier.key = named_key(record)
        if record is not None and verifier.key is None:
            verifier.length, verifier.head = record.seq + 1, digest(line)
            return None
        if record is None or not signed(record, verifier.key):
            if isinstance(record, Intent) and record.seq == verifier.length:
                # So that the end of the command isn't found wrong for want of its beginning.
                verifier.open[record.seq] = record.run
            self.jump(verifier.length + 1)
            return None
        verifier.length, verifier.head = record.seq, record.prev
        try:
            verifier.feed(line)
        except RecordError:  # it is in its place, but ends a command that isn't open
            verifier.length, verifier.head = record.seq + 1, digest(line)
        return record


def _root(line: bytes) -> str:
    record = _decode(line)
    return record.root if isinstance(record, Checkpoint) else "no checkpoint"


def signed(record: Record, key: PublicKey | None) -> bool:
    """Tell whether a record that was already found wrong is the executor's all the same."""
    if key is None:
        return False
    try:
        verify_signature(record, key)
    except SignatureError:
        return False
    return True


def _decode(line: bytes) -> Record | None:
    try:
        return RECORDS.decode(line)
    except DecodeError:
        return None


def named_key(record: Genesis | Key) -> PublicKey | None:
    """Return the key that a record names, None if that is no good key."""
    try:
        return PublicKey.from_hex(record.key)
    except SignatureError:
        return None
