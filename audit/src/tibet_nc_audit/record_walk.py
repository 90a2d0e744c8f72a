# SPDX-License-Identifier: MIT
"""The walk over records: each is decoded, and each command ends once (SPEC §7, steps 1 to 9).

It verifies the signatures of anchors only, or, when it is to, of every record; then whoever drives
it can have done that beforehand, on another core, and says what came out.
"""

from collections.abc import Sequence
from typing import override

from tibet_nc_audit.findings import Findings
from tibet_nc_audit.heads import Held, SavedHead
from tibet_nc_audit.lines import decoded, named_key, signed
from tibet_nc_audit.reader import State
from tibet_nc_audit.walk import NOT_SIGNED, Walk, origin_in
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import RecordError, SignatureError
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.records import (
    Aborted,
    Checkpoint,
    Genesis,
    Intent,
    Key,
    Outcome,
    Record,
    Remainder,
    digest,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey


class RecordWalk(Walk):
    """Check each record as far as it can be checked by itself and those before it."""

    def __init__(
        self,
        state: State,
        findings: Findings,
        heads: Sequence[Held],
        key: PublicKey | None,
        *,
        deep: bool,
    ) -> None:
        super().__init__(state, findings, heads)
        self._verifier = ChainVerifier(key, verify=self._verify)
        self._deep = deep
        self._known: bool | None = None
        """Whether the next line's signature is good, if somebody has verified it already."""

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
    def open(self) -> dict[int, str]:
        """The commands that have begun and not ended, with their runs."""
        return self._verifier.open

    @property
    def left(self) -> dict[int, str]:
        """The commands that left something running which hasn't ended, with their runs."""
        return self._verifier.left

    @property
    def tree(self) -> Frontier:
        """The tree over all lines, if nothing was wrong."""
        return self._verifier.frontier

    @property
    @override
    def origin(self) -> str:
        return self._verifier.origin

    @override
    def jump(self, length: int) -> None:
        self._verifier.roots = False  # after a fault, every root would be another
        self._verifier.length = length
        self.relink = True

    @override
    def resume(self, saved: SavedHead) -> None:
        verifier = self._verifier
        verifier.length, verifier.head = saved.record + 1, saved.head
        verifier.open, verifier.left = dict(saved.open), dict(saved.left)
        verifier.origin = saved.origin
        verifier.frontier = Frontier(saved.record + 1, [bytes.fromhex(part) for part in saved.tree])

    def take(self, line: bytes, known: bool | None = None) -> Record | None:
        """Check one line; return its record unless that isn't the executor's.

        ``known`` is whether its signature is good, if that was found out before.
        """
        self._known = known
        self.blamed = False
        if self.relink:
            self._trust_link(line)
        if self.unread:
            self._trust_beginning(decoded(line))
        if not self._verifier.origin:
            self._verifier.origin = origin_in(line)
        try:
            record: Record | None = self._verifier.feed(line)
        except RecordError as error:
            record = self._wrong(line, error)
            settled = True
        else:
            settled = self._deep or isinstance(record, Key | Genesis)
            if isinstance(record, Checkpoint):
                self.checkpoint = record
                self.anchor()  # it vouches for what is before; what vouches for it comes later
        if record is not None:
            self.compare(record.seq, line)
        self.row += 1
        self.lines += 1
        self.last = line
        if settled:
            self.anchor()
        return record

    def _verify(self, record: Record, key: PublicKey) -> None:
        if not self._deep and not self._is_anchor(record):
            return
        if self._known is None:
            verify_signature(record, key)
        elif not self._known:
            raise SignatureError(NOT_SIGNED)

    def _is_anchor(self, record: Record) -> bool:
        """Tell whether a record's own signature has to be verified.

        A checkpoint's note is signed too, and by its root over the same as the record's link.
        """
        if isinstance(record, Checkpoint):
            return not self._verifier.roots
        return isinstance(record, Key | Genesis)

    def _wrong(self, line: bytes, error: RecordError) -> Record | None:
        """Report what is wrong with a line, or with those that nothing vouches for any more."""
        before = self.search()
        record = decoded(line)
        if before and record is not None and record.seq == self.length and signed(record, self.key):
            self.jump(self.length)
            self._trust_link(line)
            try:
                return self._verifier.feed(line)
            except RecordError as other:
                error = other
        self.refuse(error)
        return self._settle(line)

    def _trust_link(self, line: bytes) -> None:
        record = decoded(line)
        if record is not None:
            self._verifier.head = record.prev
        self.relink = False

    def _trust_beginning(self, record: Record | None) -> None:
        """Believe that what a record ends was begun, if that can't be read."""
        if isinstance(record, Outcome | Aborted) and record.intent in self.unread:
            self.open.setdefault(record.intent, record.run)
        elif isinstance(record, Remainder) and (
            record.intent in self.unread or record.intent in self.open
        ):
            self.left.setdefault(record.intent, record.run)

    def _settle(self, line: bytes) -> Record | None:
        verifier = self._verifier
        verifier.roots = False
        record = decoded(line)
        if verifier.key is None and isinstance(record, Genesis):
            verifier.key = named_key(record)
        if record is not None and verifier.key is None:
            verifier.length, verifier.head = record.seq + 1, digest(line)
            self.compare(record.seq, line)
            return None
        if record is None or not signed(record, verifier.key):
            if isinstance(record, Intent) and record.seq == verifier.length:
                # So that the end of the command isn't found wrong for want of its beginning.
                verifier.open[record.seq] = record.run
            if isinstance(record, Outcome) and record.leftover:
                verifier.left[record.intent] = record.run
            self.compare(verifier.length, line)
            self.jump(verifier.length + 1)
            return None
        verifier.length, verifier.head = record.seq, record.prev
        try:
            verifier.feed(line)
        except RecordError:  # it is in its place, but ends a command that isn't open
            verifier.length, verifier.head = record.seq + 1, digest(line)
        return record
