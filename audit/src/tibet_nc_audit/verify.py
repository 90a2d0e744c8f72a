# SPDX-License-Identifier: MIT
"""The verdict on a state directory, from its files alone (I8)."""

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.evidence import Counts, Evidence
from tibet_nc_audit.findings import Finding, Findings
from tibet_nc_audit.heads import Held
from tibet_nc_audit.links import LinkWalk
from tibet_nc_audit.locate import find_held
from tibet_nc_audit.reader import State
from tibet_nc_audit.walk import RecordWalk, Walk
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import RECORDS, Genesis, Record
from tibet_nc_protocol.signing import PublicKey

OPEN_LISTED: Final = 100
"""Most open commands that are listed; more than OPEN_RUNS can't run at once."""

_STRANGERS_NAMED: Final = 5

type OnProgress = Callable[[int, int], None]
"""Told now and then how many bytes and lines are done."""


class Depth(StrEnum):
    """How much was checked."""

    ALL = "all"
    """Every record, every signature, and all that records speak of."""
    LINKS = "links"
    """Every number and link, and the first and last signature."""


class Pinned(StrEnum):
    """Where the key comes from with which the signatures were checked."""

    GIVEN = "given"
    HEAD = "head file"
    NOT = "chain"
    """From the chain itself, which then only agrees with itself."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that a verification has to say."""

    good: bool
    depth: Depth
    state: str
    host: str
    executor: str
    key: str
    last_key: str
    pinned: Pinned
    records: int
    segments: int
    length: int
    head: str
    begun: str
    ended: str
    counts: Counts
    open: list[int]
    open_total: int
    notes: list[str]
    findings_total: int
    first_bad: Finding | None
    findings: list[Finding]
    seconds: float


def verify(
    state: State,
    *,
    key: PublicKey | None = None,
    heads: Sequence[Held] = (),
    depth: Depth = Depth.ALL,
    report: OnProgress = lambda _bytes, _lines: None,
) -> Report:
    """Check a chain and what it speaks of; raises AuditError when it can't be read.

    ``heads`` are of earlier times; a chain that doesn't reach or doesn't match them is bad. Without
    ``key`` the one in a head file is taken, and without that the genesis record's.
    """
    begin = time.monotonic()
    pinned = Pinned.NOT if key is None else Pinned.GIVEN
    for held in heads:
        if held.key is not None and key is not None and held.key != key:
            raise AuditError(f"{held.source}: of another key, {held.key.hex}, not {key.hex}")
        if held.key is not None and key is None:
            key, pinned = held.key, Pinned.HEAD
    heads = [find_held(state, held) for held in heads]
    verification = _Verification(state, key, heads, depth)
    segments = state.segments()
    verification.run(segments, report)
    return verification.verdict(pinned, segments, time.monotonic() - begin)


class _Verification:
    """One pass over the chain."""

    def __init__(
        self, state: State, key: PublicKey | None, heads: Sequence[Held], depth: Depth
    ) -> None:
        self._state = state
        self._depth = depth
        self._pinned = key
        self._findings = Findings()
        self._evidence = Evidence(state, self._findings)
        self._records = RecordWalk(self._findings, heads, key)
        self._links = LinkWalk(self._findings, heads, key) if depth is Depth.LINKS else None
        self._notes: list[str] = []
        self._first = b""
        self._last = b""

    @property
    def _walk(self) -> Walk:
        return self._links or self._records

    def run(self, segments: Sequence[int], report: OnProgress) -> None:
        done = 0
        with self._evidence as evidence:
            for first in segments:
                with self._state.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
                    self._walk.begin(first)
                    if self._links is None:
                        evidence.begin(first)
                    for batch in file.batches():
                        self._take(batch)
                        report(done + file.position, self._walk.lines)
                    self._walk.end(file.torn)
                    if self._links is None:
                        evidence.end()
                    done += file.position
            self._walk.finish()
            if self._links is None:
                evidence.finish()
        self._look_round(segments)

    def verdict(self, pinned: Pinned, segments: Sequence[int], seconds: float) -> Report:
        first, last = _decode(self._first), _decode(self._last)
        genesis = first if isinstance(first, Genesis) else None
        walk = self._walk
        still_open = self._records.open if self._links is None else []
        return Report(
            good=self._findings.total == 0,
            depth=self._depth,
            state=str(self._state.path),
            host=genesis.host if genesis else "",
            executor=genesis.executor if genesis else "",
            key=self._pinned.hex if self._pinned else genesis.key if genesis else "",
            last_key=walk.key.hex if walk.key else "",
            pinned=pinned,
            records=walk.lines,
            segments=len(segments),
            length=walk.length,
            head=walk.head,
            begun=first.time if first else "",
            ended=last.time if last else "",
            counts=self._evidence.counts,
            open=list(still_open[:OPEN_LISTED]),
            open_total=len(still_open),
            notes=self._notes,
            findings_total=self._findings.total,
            first_bad=self._findings.first,
            findings=self._findings.kept,
            seconds=round(seconds, 3),
        )

    def _take(self, batch: list[bytes]) -> None:
        self._first = self._first or batch[0]
        self._last = batch[-1]
        if self._links is not None:
            self._links.take(batch)
            return
        for index, line in enumerate(batch):
            place = self._records.lines
            record = self._records.take(line)
            if record is not None:
                self._evidence.check(record, place)
            elif self._records.key is None:
                self._notes.append(
                    "the chain does not begin with a genesis record that names a key: only the"
                    " links of the rest were checked; --key lets more be checked"
                )
                self._depth = Depth.LINKS
                self._links = LinkWalk.after(self._records)
                self._links.take(batch[index + 1 :])
                return

    def _look_round(self, segments: Sequence[int]) -> None:
        """Name what lies beside the files that were read."""
        names = {segment_name(first) for first in segments}
        for folder in (CHAIN, PAYLOADS):
            strangers = [name for name in self._state.names(folder) if name not in names]
            if strangers:
                shown = ", ".join(strangers[:_STRANGERS_NAMED])
                more = len(strangers) - _STRANGERS_NAMED
                shown += f" and {more} more" if more > 0 else ""
                self._notes.append(f"{folder}/: not of this chain and not read: {shown}")


def _decode(line: bytes) -> Record | None:
    try:
        return RECORDS.decode(line)
    except DecodeError:
        return None
