# SPDX-License-Identifier: MIT
"""From line to line of the chain, and on after one that is wrong.

Each walk says whether a line follows. To go on after one that doesn't, it has to settle where it
is then:

- A record that is signed by the executor is believed to have the number it says; what stood
  before it is what is missing or too much.
- So is one whose signature nobody can check, for want of a key.
- Any other line is taken to stand in the place of a record that is lost, and the link of the next
  one, which is to that lost record, isn't held against it.

So one fault makes one finding where that can be, and never hides another. Records that can't be
read are passed over: what they may have begun or named isn't missed.

What vouches for a record is the next *anchor*: a record whose own signature verifies. It links to
every byte before it, back to the anchor before. So a walk that doesn't verify every signature
verifies those of the anchors only: the genesis, checkpoints, key records, the last record of each
file. Where a link doesn't hold, or an anchor isn't signed, nothing vouches for the records since
the anchor before; then the signature of each of them is verified after all, to name which. Of a
checkpoint it is enough that its note is signed, whose root is over the same lines.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tibet_nc_audit.findings import Finding, Findings, What
from tibet_nc_audit.heads import Held, SavedHead
from tibet_nc_audit.lines import decoded, signed
from tibet_nc_audit.reader import State
from tibet_nc_audit.unread import Unread
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import RecordError
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import (
    Checkpoint,
    digest,
)
from tibet_nc_protocol.signing import PublicKey

NOT_SIGNED = "the signature does not verify"


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A place in the chain: a segment, lines of it and lines of the chain before that place.

    ``mark`` is a place in the segment at which its file can be opened, no later: lines and bytes
    before it.
    """

    segment: int
    row: int
    lines: int
    mark: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True)
class _Other:
    """A line that isn't the record which is held of its place."""

    spot: Spot
    line: bytes
    signed: bool


class Walk(ABC):
    """Where a verification is, and what it has found."""

    def __init__(self, state: State, findings: Findings, heads: Sequence[Held]) -> None:
        self.findings = findings
        self.file = ""
        self.row = 0
        """Lines of the file before the one that is next."""
        self.lines: int = 0
        """Lines of the chain before the one that is next."""
        self.relink = False
        """Whether the next record's link is to one that is lost, so that it can't be checked."""
        self.last = b""
        """The line before the one that is next."""
        self.checkpoint: Checkpoint | None = None
        """The latest checkpoint that was found good."""
        self.blamed = False
        """Whether the record before the latest that was taken turned out not to be signed."""
        self.unread = Unread()
        self.broken: list[Held] = []
        """What was held and isn't so, or isn't there any more."""
        self._state = state
        self._segment = 0
        self._mark = (0, 0)
        self._anchor = Spot(segment=0, row=0, lines=0)
        self._heads = {head.record: [h for h in heads if h.record == head.record] for head in heads}
        self._others: dict[int, _Other] = {}
        """What stands in the place of records that are held."""

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

    @property
    @abstractmethod
    def origin(self) -> str:
        """The name of the chain in its checkpoints."""

    @abstractmethod
    def jump(self, length: int) -> None:
        """Go on at another number, with a record whose link can't be checked."""

    def begin(self, first: int) -> None:
        """Enter the segment that begins with a record."""
        name = segment_name(first)
        lost = self.unread.go_on(first)
        vouched = lost or self._anchor.lines == self.lines
        self._enter(first, 0)
        if vouched:
            self.anchor()
        if lost and first >= self.length:
            self.jump(first)
        elif first != self.length:
            self.find(
                What.SEGMENT,
                self.length,
                "the segment that begins with this record is missing",
                expected=segment_name(self.length),
                found=name,
            )
            self.jump(first)

    def lose(self) -> None:
        """Pass over the rest of a segment, which can't be read."""
        self.unread.lose(self.length)

    def go_on(self, first: int, row: int, saved: SavedHead) -> None:
        """Begin where an earlier verification ended, so many lines into a segment."""
        self._enter(first, row)
        self.lines = saved.record + 1
        self.resume(saved)
        self.anchor()

    @abstractmethod
    def resume(self, saved: SavedHead) -> None:
        """Take over what an earlier verification has computed."""

    def mark(self, begin: int) -> None:
        """Note how many bytes of the file stand before the next line."""
        self._mark = (self.row, begin)

    def end(self, torn: int) -> None:
        """Leave a segment whose last line end is followed by so many bytes."""
        self.blamed = False
        self._vouch_for_last()
        if torn:
            self.find(
                What.TORN,
                self.length,
                "the last line is incomplete: a write was cut short, or the file was",
                expected="a line end",
                found=f"{counted(torn, 'byte')} after the last one",
            )

    def finish(self) -> None:
        """Leave the chain: heads held of records that it doesn't have are findings."""
        if self.lines == 0 and not self.unread:
            self.find(What.RECORD, 0, "the chain is empty", expected="a genesis record")
        for number, heads in self._heads.items():
            for held in heads if number not in self.unread else ():
                if held.chains_own and self.findings.total:
                    continue
                self.broken.append(held)
                if (other := self._others.get(number)) is not None:
                    self._find_another(other, number, held)
                    continue
                lacks = "does not reach" if number >= self.length else "lacks"
                self.find(
                    What.HEAD,
                    min(number, self.length),
                    f"the chain {lacks} a record that is held ({held.source})",
                    expected=held.what,
                    found=f"the end after {counted(self.length, 'record')}, with head {self.head}",
                )

    def compare(self, number: int, line: bytes) -> None:
        """Compare a line in the place of a record with the heads held of that.

        If it is another, that is found at the end: where it isn't the executor's, the record that
        is held may still come.
        """
        if number not in self._heads:
            return
        if (other := self._others.get(number)) is not None and other.signed:
            return
        heads = [held for held in self._heads.pop(number) if not _is_held(held, line)]
        if heads:
            self._heads[number] = heads
            spot, key = self._spot(), self.key
            self._others[number] = _Other(spot=spot, line=line, signed=signed(decoded(line), key))

    def _find_another(self, other: "_Other", number: int, held: Held) -> None:
        self._find_earlier(
            other.spot,
            number,
            f"not the record that is held ({held.source})",
            what=What.HEAD,
            expected=held.root or held.head,
            found=_root(other.line) if held.root else digest(other.line),
        )

    def find(
        self, what: What, record: int, reason: str, *, expected: str = "", found: str = ""
    ) -> None:
        """Report what is wrong here."""
        self.findings.add(
            Finding(
                record=record,
                what=what,
                file=self.file,
                reason=reason,
                line=self.row + 1,
                expected=expected,
                found=found,
            ),
            self.lines,
        )

    def refuse(self, error: RecordError) -> None:
        """Report that a record is wrong."""
        self.find(
            What.RECORD,
            error.position,
            error.reason,
            expected=error.expected,
            found=error.found,
        )

    def _enter(self, first: int, row: int) -> None:
        self.file = f"{CHAIN}/{segment_name(first)}"
        self.row = row
        self._segment = first
        self._mark = (0, 0)

    # --- what vouches -----------------------------------------------------------------------------

    def anchor(self) -> None:
        """Note that everything before the next line is vouched for, or was found."""
        self._anchor = self._spot()

    def _spot(self) -> Spot:
        return Spot(segment=self._segment, row=self.row, lines=self.lines, mark=self._mark)

    def search(self) -> bool:
        """Verify each signature since the anchor; tell whether the last record's is wrong.

        Those that are wrong are findings. Without a key there is nothing to verify with.
        """
        last = False
        if self.key is not None:
            number = self.length
            for spot, line in self._since_anchor():
                record = decoded(line)
                last = not signed(record, self.key)
                if last:
                    # These follow one another up to the next line's number.
                    record_number = number - (self.lines - spot.lines)
                    reason = "not a record" if record is None else NOT_SIGNED
                    self._find_earlier(spot, record_number, reason)
        self.anchor()
        self.blamed = last
        return last

    def _vouch_for_last(self) -> None:
        """Verify the last record's signature before its file is left."""
        if self._anchor.lines == self.lines:
            return
        if self.key is None or signed(decoded(self.last), self.key):
            self.anchor()
            return
        if not self.search():  # the line that was read isn't there any more
            spot = replace(self._spot(), row=self.row - 1, lines=self.lines - 1)
            self._find_earlier(spot, self.length - 1, f"{NOT_SIGNED}, and it is another line now")
        self.jump(self.length)

    def _since_anchor(self) -> Iterator[tuple[Spot, bytes]]:
        """Yield the lines since the anchor once more, each with where it stands."""
        lines = self._anchor.lines
        if lines == self.lines:
            return
        for first in self._state.segments():
            if first < self._anchor.segment:
                continue
            skip, (begin, position) = 0, (0, 0)
            if first == self._anchor.segment:
                skip, (begin, position) = self._anchor.row, self._anchor.mark
            with self._state.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
                file.skip(position)
                for row, line in enumerate(file, begin):
                    if row < skip:
                        continue
                    yield Spot(segment=first, row=row, lines=lines), line
                    lines += 1
                    if lines == self.lines:
                        return

    def _find_earlier(
        self,
        spot: Spot,
        record: int,
        reason: str,
        *,
        what: What = What.RECORD,
        expected: str = "",
        found: str = "",
    ) -> None:
        self.findings.add(
            Finding(
                record=record,
                what=what,
                file=f"{CHAIN}/{segment_name(spot.segment)}",
                reason=reason,
                line=spot.row + 1,
                expected=expected,
                found=found,
            ),
            spot.lines,
        )


def origin_in(line: bytes) -> str:
    """Return a chain's name as a checkpoint says it: its genesis is lost, which was found."""
    record = decoded(line)
    return record.note.partition("\n")[0] if isinstance(record, Checkpoint) else ""


def _is_held(held: Held, line: bytes) -> bool:
    found = _root(line) if held.root else digest(line)
    return found.startswith(held.root or held.head)


def _root(line: bytes) -> str:
    record = decoded(line)
    return record.root if isinstance(record, Checkpoint) else "no checkpoint"
