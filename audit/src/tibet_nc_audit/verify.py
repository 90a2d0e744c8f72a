# SPDX-License-Identifier: MIT
"""The verdict on a state directory, from its files alone (I8)."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from tibet_nc_audit.errors import AuditError, UnreadableError
from tibet_nc_audit.evidence import Evidence
from tibet_nc_audit.findings import Findings
from tibet_nc_audit.heads import Depth, Held, SavedHead
from tibet_nc_audit.keys import Since, since
from tibet_nc_audit.lines import decoded, signed
from tibet_nc_audit.links import LinkWalk
from tibet_nc_audit.locate import find_held
from tibet_nc_audit.reader import State
from tibet_nc_audit.record_walk import RecordWalk
from tibet_nc_audit.report import Dispute, Pinned, Report
from tibet_nc_audit.signatures import Signatures
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_first, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import Genesis, Record
from tibet_nc_protocol.signing import PublicKey

OPEN_LISTED: Final = 100
"""Most open commands that are listed; more than OPEN_RUNS can't run at once."""

_STRANGERS_NAMED: Final = 5

type OnProgress = Callable[[int, int], None]
"""Told now and then how many bytes and lines are done."""


def verify(
    state: State,
    *,
    key: PublicKey | None = None,
    heads: Sequence[Held] = (),
    depth: Depth = Depth.RECORDS,
    resume: SavedHead | None = None,
    jobs: int | None = None,
    report: OnProgress = lambda _bytes, _lines: None,
    keep: Callable[[SavedHead], None] = lambda _head: None,
) -> Report:
    """Check a chain and what it speaks of, as far as it can be read.

    ``heads`` are of earlier times; a chain that doesn't reach or doesn't match them is bad. Without
    ``key`` the one in a head file is taken, and without that the genesis record's; it may be one
    that the chain went on with, but not one that signed nothing yet. With ``resume``
    only what came after that head is read, and the record that it is of. ``keep`` is told where a
    later verification can go on, if all is good. Raises AuditError when there is no chain, or
    nothing to go on from.
    """
    begin = time.monotonic()
    later = 0
    findings = Findings()
    heads = list(_found(state, heads, findings))
    if key is not None:
        try:
            found_key = since(state, key)
            key, later = found_key.first, found_key.record
            if later and resume is None:  # a head file says itself which key its chain began with
                heads.append(_signed_by_it(found_key))
        except UnreadableError as error:
            findings.lose(f"{error}: so nobody can tell whether the chain is of the key given")
            key = None
    if resume is not None:
        if key is not None and resume.key != key.hex:
            raise AuditError(f"the head file is of another key, {resume.key}, not {key.hex}")
        heads = [*heads, Held(record=resume.record, head=resume.head, source="the head file")]
        if resume.depth is Depth.CHAIN and depth is not Depth.CHAIN:
            raise AuditError("the head file was saved by --chain-only: only that can go on from it")
        early = [held for held in heads if held.record < resume.record]
        if early:
            raise AuditError(
                f"record {early[0].record} is before the head file's; without --resume-from it is"
                " compared"
            )
    pinned = Pinned.NOT if key is None else Pinned.GIVEN
    for held in heads:
        if held.key is not None and key is not None and held.key != key:
            raise AuditError(f"{held.source}: of another key, {held.key.hex}, not {key.hex}")
        if held.key is not None and key is None:
            key, pinned = held.key, Pinned.HEAD
    if resume is not None and key is None:
        key, pinned = PublicKey.from_hex(resume.key), Pinned.HEAD
    verification = _Verification(state, findings, key=key, heads=heads, depth=depth, resume=resume)
    if later:
        verification.note(
            f"the key given is this chain's since record {later}: what stands before is vouched for"
            " by what that key has signed since"
        )
    segments = state.segments()
    with Signatures(state.chain_bytes() if depth is Depth.DEEP else 0, jobs) as signatures:
        verification.run(segments, signatures, report)
    found = verification.verdict(pinned, segments, time.monotonic() - begin)
    if found.good:
        keep(verification.head(found))
    return found


def _signed_by_it(found: Since) -> Held:
    """Return the record by which a later key vouches for the chain, whose files can change."""
    source = "the key given has signed it, a moment ago"
    return Held(record=found.record, head=found.head, source=source, chains_own=True)


def _found(state: State, heads: Sequence[Held], findings: Findings) -> Iterator[Held]:
    """Yield the heads with the records that they are of, but for those that can't be read."""
    for held in heads:
        try:
            yield find_held(state, held)
        except UnreadableError as error:
            findings.lose(f"{error}: so the end of command {held.command} that is held")


class _Verification:
    """One pass over the chain."""

    def __init__(
        self,
        state: State,
        findings: Findings,
        *,
        key: PublicKey | None,
        heads: Sequence[Held],
        depth: Depth,
        resume: SavedHead | None,
    ) -> None:
        self._state = state
        self._depth = depth
        self._looks = depth is not Depth.CHAIN
        """Whether what records speak of is looked at, as far as that goes."""
        self._pinned = key
        self._resume = resume
        self._findings = findings
        first, tokens = (0, 0) if resume is None else (resume.record + 1, resume.tokens)
        self._evidence = Evidence(state, self._findings, key, first=first, tokens_from=tokens)
        now = key if resume is None else PublicKey.from_hex(resume.last_key)
        self._records = RecordWalk(state, self._findings, heads, now, deep=depth is Depth.DEEP)
        self._links = LinkWalk(state, self._findings, heads, now) if depth is Depth.CHAIN else None
        self._done = 0
        """Bytes of the segments that were read."""
        self._unsure = False
        """Whether records before the next one couldn't be read."""
        self._notes: list[str] = []
        self._first = b""
        self._last = b""
        self._unconfirmed: tuple[Record, int] | None = None
        """A record that nothing vouches for yet, so that what it speaks of isn't checked yet."""

    def note(self, text: str) -> None:
        """Add what is no fault, but to be known."""
        self._notes.append(text)

    @property
    def _walk(self) -> RecordWalk | LinkWalk:
        return self._links or self._records

    def run(self, segments: Sequence[int], signatures: Signatures, report: OnProgress) -> None:
        """Read the chain, or what is new of it."""
        begin = segments[0]
        if self._resume is not None:
            begin = max((n for n in segments if n <= self._resume.record), default=begin)
        with self._evidence as evidence:
            for first in segments:
                if first < begin:
                    self._done += self._state.segment_bytes(first)
                    continue
                resume = self._resume
                if resume is None or not first == begin <= resume.record:
                    resume = None
                    self._walk.begin(first)
                if self._links is None:
                    evidence.begin(first)
                try:
                    self._read(first, resume, signatures, report)
                except UnreadableError as error:
                    if resume is not None:
                        raise
                    self._lose(str(error))
                    continue
                if self._links is None:
                    evidence.end()
            self._walk.finish()
            if self._looks:
                evidence.finish(whole=self._links is None and not self._walk.unread)
        self._look_round(segments)

    def _read(
        self, first: int, resume: SavedHead | None, signatures: Signatures, report: OnProgress
    ) -> None:
        """Read a segment, or what is new of it; raises UnreadableError."""
        with self._state.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
            batches = file.batches()
            if resume is not None:
                batches = self._go_on(resume, first, batches)
            for batch, known in signatures.verify(batches, lambda: self._walk.key):
                self._take(batch, known)
                if known is None:  # else the file has been read further
                    self._walk.mark(file.begin)
                report(self._done + file.position, self._walk.lines)
            self._walk.end(file.torn)
            self._confirm()
            self._done += file.position

    def _lose(self, error: str) -> None:
        """Go on without a segment, or the rest of it."""
        self._findings.lose(error)
        with suppress(UnreadableError):
            self._walk.end(0)
        self._confirm()
        self._walk.lose()
        self._unsure = True

    def _be_sure(self, line: bytes) -> None:
        """Go on after records that can't be read; one of them may have named another key."""
        self._unsure = False
        walk = self._walk
        if walk.key is None or not signed(decoded(line), walk.key):
            self._findings.lose(
                f"records from {walk.length} on: their key may be in what can't be read, so that"
                " only their numbers and links were checked"
            )
            self._depth = Depth.CHAIN
            self._links = LinkWalk.after(walk)

    def verdict(self, pinned: Pinned, segments: Sequence[int], seconds: float) -> Report:
        """Return what was found."""
        first, last = decoded(self._first), decoded(self._last)
        genesis = first if isinstance(first, Genesis) else None
        resume = self._resume
        walk = self._walk
        still_open = sorted(self._records.open) if self._links is None else []
        before = 0 if resume is None else resume.record + 1
        now = "" if walk.checkpoint is None else walk.checkpoint.note
        now = now or ("" if resume is None else resume.checkpoint)
        named = "" if resume is None else resume.key
        return Report(
            good=self._findings.total == self._findings.unread_total == 0,
            depth=self._depth,
            state=str(self._state.path),
            host=genesis.host if genesis else "" if resume is None else resume.host,
            executor=walk.origin,
            key=self._pinned.hex if self._pinned else genesis.key if genesis else named,
            last_key=walk.key.hex if walk.key else "",
            pinned=pinned,
            resumed=resume,
            records=max(0, walk.lines - before),
            segments=len(segments),
            length=walk.length,
            head=walk.head,
            begun=first.time if first else "",
            ended=last.time if last else "" if resume is None else resume.time,
            checkpoint=now,
            counts=self._evidence.counts,
            open=still_open[:OPEN_LISTED],
            open_total=len(still_open),
            notes=self._notes,
            findings_total=self._findings.total,
            first_bad=self._findings.first,
            findings=self._findings.kept,
            disputes=[Dispute(held=held.note, now=now) for held in walk.broken if held.note],
            unread_total=self._findings.unread_total,
            unread=self._findings.unread,
            seconds=round(seconds, 3),
        )

    def head(self, report: Report) -> SavedHead:
        """Return where a later verification can go on, after all was found good."""
        walk = self._walk
        depth, depths = report.depth, list(Depth)
        if report.resumed is not None:
            depth = min(depth, report.resumed.depth, key=depths.index)
        return SavedHead(
            record=report.length - 1,
            head=report.head,
            key=report.key,
            host=report.host,
            time=report.ended,
            last_key=report.last_key,
            origin=walk.origin,
            tree=[part.hex() for part in walk.tree.digests] if walk.tree else [],
            open=self._records.open if self._links is None else {},
            left=self._records.left if self._links is None else {},
            tokens=self._evidence.claimed_tokens,
            checkpoint=report.checkpoint,
            depth=depth,
        )

    def _go_on(
        self, saved: SavedHead, first: int, batches: Iterator[list[bytes]]
    ) -> Iterator[list[bytes]]:
        """Find the record that was verified last, and yield what follows it."""
        walk = self._walk
        row = 0
        wanted = saved.record - first
        for batch in batches:
            if row + len(batch) <= wanted:
                row += len(batch)
                continue
            at = wanted - row
            walk.go_on(first, wanted + 1, saved)
            walk.compare(saved.record, batch[at])
            yield batch[at + 1 :]
            yield from batches
            return
        walk.jump(first + row)  # the head that is held tells that the rest is gone
        walk.lines = first + row
        walk.anchor()  # none of those lines was read

    def _take(self, batch: list[bytes], known: list[bool] | None) -> None:
        if not batch:
            return
        self._first = self._first or batch[0]
        self._last = batch[-1]
        if self._unsure:
            self._be_sure(batch[0])
        if self._links is not None:
            self._links.take(batch)
            return
        for index, line in enumerate(batch):
            place = self._records.lines
            record = self._records.take(line, None if known is None else known[index])
            self._confirm()
            if record is not None:
                self._unconfirmed = (record, place)
                if self._depth is Depth.DEEP:
                    self._confirm()
            elif self._records.key is None:
                self._notes.append(
                    "the chain does not begin with a genesis record that names a key: only the"
                    " links of the rest were checked; --key lets more be checked"
                )
                self._depth = Depth.CHAIN
                self._links = LinkWalk.after(self._records)
                self._links.take(batch[index + 1 :])
                return

    def _confirm(self) -> None:
        """Check what a record speaks of, unless nobody vouches for it after all."""
        if self._unconfirmed is not None and not self._walk.blamed:
            self._evidence.check(*self._unconfirmed)
        self._unconfirmed = None

    def _look_round(self, segments: Sequence[int]) -> None:
        """Name what lies beside the files that were read, and those that were begun since."""
        found: dict[str, list[str]] = {CHAIN: [], PAYLOADS: []}
        for folder in (PAYLOADS, CHAIN):  # of a segment that is begun, the chain's file comes first
            with suppress(UnreadableError):  # that was found where it was read
                found[folder] = self._state.names(folder)
        begun = {name for name in found[CHAIN] if (segment_first(name) or 0) > segments[-1]}
        names = begun.union(map(segment_name, segments))
        for folder, there in found.items():
            strangers = [name for name in there if name not in names]
            if strangers:
                shown = ", ".join(strangers[:_STRANGERS_NAMED])
                more = len(strangers) - _STRANGERS_NAMED
                shown += f" and {more} more" if more > 0 else ""
                self._notes.append(f"{folder}/: not of this chain and not read: {shown}")
