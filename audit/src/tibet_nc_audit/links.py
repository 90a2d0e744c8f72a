# SPDX-License-Identifier: MIT
"""The quick walk: every number, link, root and checkpoint, and nothing that records speak of.

Only number, link and kind of a record are decoded, and its bytes hashed twice: for the next
record's link, and for the tree. Checkpoints and key records are checked whole. What is left out is
what the other records say, and each one's own signature: the anchors' vouch for them (see walk).
"""

import hashlib
from collections.abc import Sequence
from typing import Final, override

import msgspec

from tibet_nc_audit.findings import Findings, What
from tibet_nc_audit.heads import Held, SavedHead
from tibet_nc_audit.lines import decoded, named_key, signed
from tibet_nc_audit.reader import State
from tibet_nc_audit.walk import Walk, origin_in
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import RecordError
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.records import (
    FIRST_PREV,
    Checkpoint,
    Genesis,
    Key,
    Record,
    digest,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey


class _Link(msgspec.Struct):
    seq: int
    prev: str
    kind: str


_LINK: Final = msgspec.json.Decoder(_Link)
_NO_LINK: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
_AFTER_A_FAULT: Final = 128
"""Lines of a batch that are gone on with after one that doesn't follow: each may be such a line."""

_LEAF: Final = hashlib.sha256(b"\0")
"""The beginning of every leaf's digest (RFC 6962, §2.1): going on from it copies no line."""
_ANCHORS: Final = frozenset({"genesis", "checkpoint", "key"})


def _verify_unless_noted(record: Record, key: PublicKey) -> None:
    if not isinstance(record, Checkpoint):
        verify_signature(record, key)


class LinkWalk(Walk):
    """Check the numbers and links of whole batches of lines."""

    def __init__(
        self, state: State, findings: Findings, heads: Sequence[Held], key: PublicKey | None
    ) -> None:
        super().__init__(state, findings, heads)
        self._key = key
        self._length: int = 0
        self._head = FIRST_PREV
        self._origin = ""
        self._tree: Frontier | None = Frontier()
        """The tree over the lines, while nothing is wrong with them."""

    @classmethod
    def after(cls, walk: Walk) -> "LinkWalk":
        """Go on where another walk is; it can't check more, for want of a key."""
        links = cls(walk._state, walk.findings, (), None)
        links._heads, links._others, links.broken = walk._heads, walk._others, walk.broken
        links._segment, links._anchor, links._mark = walk._segment, walk._anchor, walk._mark
        links.file, links.row, links.lines, links.last = walk.file, walk.row, walk.lines, walk.last
        links._length, links._head, links.relink = walk.length, walk.head, walk.relink
        links.unread, links._origin = walk.unread, walk.origin
        links._tree = None
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

    @property
    @override
    def origin(self) -> str:
        return self._origin

    @property
    def tree(self) -> Frontier | None:
        """The tree over all lines, if nothing was wrong."""
        return self._tree

    @override
    def jump(self, length: int) -> None:
        self._tree = None  # after a fault, every root would be another
        self._length = length
        self.relink = True

    @override
    def resume(self, saved: SavedHead) -> None:
        self._length, self._head, self._origin = saved.record + 1, saved.head, saved.origin
        self._tree = Frontier(saved.record + 1, [bytes.fromhex(part) for part in saved.tree])

    def take(self, batch: list[bytes]) -> None:
        """Check the lines of a batch."""
        done = 0
        while done < len(batch):
            if self.relink:
                self._trust_link(batch[done])
            start = self._length
            rest = batch[done : done + _AFTER_A_FAULT] if self._tree is None else batch[done:]
            good = self._follow(rest) if self.lines or self.unread else 0
            moved = 0
            for at in sorted(n - start for n in self._heads if start <= n < start + good):
                self._move(at - moved, rest[at - 1] if at else self.last)
                self.compare(start + at, rest[at])
                moved = at
            if good:
                self._move(good - moved, rest[good - 1])
            done += good
            if good < len(rest):
                self._slowly(batch[done])
                done += 1

    def _follow(self, batch: list[bytes]) -> int:
        """Walk over lines while they follow; return how many did. This is the loop that counts."""
        if len(batch[0]) > RECORD_BYTES:
            return 0  # no other line of a batch is longer than the block that it was read with
        number = start = self._length
        head = self._head
        leaves: list[bytes] = []
        decode, sha256, add = _LINK.decode, hashlib.sha256, leaves.append
        leaf_begin = _LEAF.copy
        anchors = _ANCHORS if self._key is not None else frozenset({"genesis"})
        try:
            for line in batch:
                link = decode(line)
                if link.seq != number or link.prev != head or link.kind in anchors:
                    break
                head = sha256(line).hexdigest()
                leaf = leaf_begin()
                leaf.update(line)
                add(leaf.digest())
                number += 1
        except _NO_LINK:
            pass  # a line that holds no link doesn't follow, like any other that doesn't
        self._length, self._head = number, head
        if self._tree is not None:
            self._tree.extend(leaves)
        return number - start

    def _slowly(self, line: bytes) -> None:
        """Check a whole record: the genesis, an anchor, or one that doesn't follow."""
        # A checkpoint's note is signed too, and by its root over the same as the record's link.
        verifier = ChainVerifier(
            self._key, verify=verify_signature if self._tree is None else _verify_unless_noted
        )
        verifier.length, verifier.head = self._length, self._head
        verifier.origin = self._origin or origin_in(line)
        verifier.roots = self._tree is not None
        verifier.frontier = self._tree or verifier.frontier
        try:
            record = verifier.feed(line)
        except RecordError as error:
            self._settle(line, error)
        else:
            self._key, self._length, self._head = verifier.key, verifier.length, verifier.head
            self._origin = verifier.origin
            self.compare(record.seq, line)
            if isinstance(record, Checkpoint):
                self.checkpoint = record
                self.anchor()  # it vouches for what is before; what vouches for it comes later
                self._move(1, line)
                return
        self._move(1, line)
        self.anchor()

    def _settle(self, line: bytes, error: RecordError) -> None:
        """Say what is wrong with a line that doesn't follow, and go on after it."""
        before = self.search()
        record = decoded(line)
        if self._key is None and isinstance(record, Genesis):
            self._key = named_key(record)
        good = record is not None and (self._key is None or signed(record, self._key))
        # Where the record before isn't the executor's, a link to what stood there is no fault.
        if not (before and good and record is not None and record.seq == self._length):
            self.find(
                What.RECORD,
                error.position,
                error.reason,
                expected=error.expected,
                found=error.found,
            )
        self._tree = None
        if record is None or not good:
            self.compare(self._length, line)
            self.jump(self._length + 1)
            return
        self._length, self._head = record.seq + 1, digest(line)
        self.compare(record.seq, line)
        if isinstance(record, Key):
            self._key = named_key(record) or self._key

    def _trust_link(self, line: bytes) -> None:
        record = decoded(line)
        if record is not None:
            self._head = record.prev
        self.relink = False

    def _move(self, lines: int, last: bytes) -> None:
        self.row += lines
        self.lines += lines
        self.last = last
