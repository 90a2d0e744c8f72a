# SPDX-License-Identifier: MIT
"""The quick walk: every number and link, the signatures of the first and last record and of keys.

A record links to the one before by the SHA-256 of its whole line, so the signature of the last
vouches for every byte before it. What is left out is whether each earlier record is signed too,
and what it says: only its number, its link and its kind are decoded.

Where a link doesn't hold, the two records it joins are decoded and their signatures verified, to
tell which of them was altered.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, override

import msgspec

from tibet_nc_audit.findings import Findings, What
from tibet_nc_audit.heads import Held
from tibet_nc_audit.walk import Walk, named_key, signed
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import DecodeError, RecordError
from tibet_nc_protocol.records import FIRST_PREV, RECORDS, Key, Record, digest
from tibet_nc_protocol.signing import PublicKey


class _Link(msgspec.Struct):
    seq: int
    prev: str
    kind: str


_LINK: Final = msgspec.json.Decoder(_Link)
_NO_LINK: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


class LinkWalk(Walk):
    """Check the numbers and links of whole batches of lines."""

    def __init__(self, findings: Findings, heads: Sequence[Held], key: PublicKey | None) -> None:
        super().__init__(findings, heads)
        self._key = key
        self._length = 0
        self._head = FIRST_PREV
        self._last = b""
        self._rotation: tuple[bytes, PublicKey | None] = (b"", None)
        """The latest key record and the key that signed it, which was another than now."""

    @classmethod
    def after(cls, walk: Walk) -> "LinkWalk":
        """Go on where another walk is; it can't check more, for want of a key."""
        links = cls(walk.findings, (), walk.key)
        links._heads = walk._heads
        links.file, links.row, links.lines = walk.file, walk.row, walk.lines
        links._length, links._head, links.relink = walk.length, walk.head, walk.relink
        return links

    @property
    @override
    def key(self) -> PublicKey | None:
        return self._key

    @property
    @override
    def length(self) -> int:
        return self._length

    @property
    @override
    def head(self) -> str:
        return self._head

    @override
    def jump(self, length: int) -> None:
        self._length = length
        self.relink = True

    def take(self, batch: list[bytes]) -> None:
        """Check the lines of a batch."""
        done = 0
        if self.lines == 0:
            self._genesis(batch[0])
            done = 1
        while done < len(batch):
            if self.relink:
                self._trust_link(batch[done])
            start = self._length
            rest = batch[done:] if done else batch
            good = self._follow(rest)
            for number in [n for n in self._heads if start <= n < start + good]:
                self.compare(number, rest[number - start])
            self._move(good, rest[good - 1] if good else self._last)
            done += good
            if done < len(batch):
                self._settle(batch[done])
                done += 1

    @override
    def finish(self) -> None:
        """Verify the signature of the last record, which vouches for all before it."""
        # A last line that was found wrong already would be waiting for its next one.
        if self._last and not self.relink and not self._vouched(self._last):
            self.find(
                What.RECORD,
                self._length - 1,
                "the last record's signature does not verify; verifying every signature will name"
                " the first record that is wrong",
                before=1,
            )
        super().finish()

    def _follow(self, batch: list[bytes]) -> int:
        """Walk over lines while they follow; return how many did. This is the loop that counts."""
        number = start = self._length
        head = self._head
        decode, sha256 = _LINK.decode, hashlib.sha256
        try:
            for line in batch:
                link = decode(line)
                if link.seq != number or link.prev != head:
                    break
                if link.kind == "key":
                    self._rotate(line, number, before=start - number)
                head = sha256(line).hexdigest()
                number += 1
        except _NO_LINK:
            pass  # a line that holds no link doesn't follow, like any other that doesn't
        self._length, self._head = number, head
        return number - start

    def _rotate(self, line: bytes, number: int, *, before: int) -> None:
        """Go on with the key that a key record names, if the key before it has signed that."""
        record = _decode(line)
        key = None if not isinstance(record, Key) else named_key(record)
        if key is not None and self._vouched(line):
            self._rotation = (line, self._key)
            self._key = key
        else:
            self.find(
                What.RECORD,
                number,
                "names another key, and is not signed by the one before",
                before=before,
            )

    def _genesis(self, line: bytes) -> None:
        verifier = ChainVerifier(self._key)
        try:
            verifier.feed(line)
        except RecordError as error:
            self.find(
                What.RECORD,
                error.position,
                error.reason,
                expected=error.expected,
                found=error.found,
            )
            self._place(line)
        else:
            self._key, self._length, self._head = verifier.key, 1, verifier.head
            self.compare(0, line)
        self._move(1, line)

    def _settle(self, line: bytes) -> None:
        """Say what is wrong with a line that doesn't follow, and go on after it."""
        record = _decode(line)
        if record is None:
            self.find(What.RECORD, self._length, "not a record")
        elif record.seq != self._length:
            self.find(
                What.RECORD,
                self._length,
                "wrong number",
                expected=str(self._length),
                found=str(record.seq),
            )
        elif self._last and not self._vouched(self._last):
            self.find(
                What.RECORD,
                self._length - 1,
                "altered: its signature does not verify, and the next record doesn't link to it",
                before=1,
            )
            if not self._vouched(line):
                self.find(What.RECORD, self._length, "the signature does not verify")
        else:
            self.find(
                What.RECORD,
                self._length,
                "not linked to the record before",
                expected=self._head,
                found=record.prev,
            )
        self._place(line)
        self._move(1, line)

    def _place(self, line: bytes) -> None:
        """Believe a record's number if it is signed, or if there is no key to tell by."""
        record = _decode(line)
        if record is not None and self._vouched(line):
            self._length, self._head = record.seq + 1, digest(line)
            self.compare(record.seq, line)
            if isinstance(record, Key):
                self._rotate(line, record.seq, before=0)
        else:
            self.jump(self._length + 1)

    def _vouched(self, line: bytes) -> bool:
        record = _decode(line)
        rotation, old = self._rotation
        key = old if line == rotation else self._key
        return record is not None and (key is None or signed(record, key))

    def _trust_link(self, line: bytes) -> None:
        record = _decode(line)
        if record is not None:
            self._head = record.prev
        self.relink = False

    def _move(self, lines: int, last: bytes) -> None:
        self.row += lines
        self.lines += lines
        self._last = last


def _decode(line: bytes) -> Record | None:
    try:
        return RECORDS.decode(line)
    except DecodeError:
        return None
