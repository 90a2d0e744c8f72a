# SPDX-License-Identifier: MIT
"""Makes an executor's chain long without running its commands.

Commands, each an intent and an outcome as the executor writes them, linked and numbered as they
must be, with a checkpoint every so many records. Of the others only the last one of each segment
carries a signature of its own: making a million would take longer than all else here, and what is
measured on such a chain (start-up, the walk over the links) looks at no other.
"""

import hashlib
import os
import sys
from io import BufferedWriter
from pathlib import Path
from typing import Final

from tibet_nc_executor import segments
from tibet_nc_executor.config import AuditSection
from tibet_nc_executor.index import Index
from tibet_nc_protocol import note
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name
from tibet_nc_protocol.merkle import Frontier, leaf_hash
from tibet_nc_protocol.records import (
    FIRST_PREV,
    RECORDS,
    Checkpoint,
    Genesis,
    Intent,
    Outcome,
    Record,
    actor,
    sign,
)
from tibet_nc_protocol.signing import Identity
from tibet_nc_protocol.terms import Reason

SENDER: Final = "@op:example.org"
ROOM: Final = "!room:example.org"
TIME: Final = "2026-11-25T10:00:00.000000Z"
CHECKPOINT_RECORDS: Final = AuditSection().checkpoint_records
SEGMENT_BYTES: Final = AuditSection().segment_bytes

_LINE_BYTES: Final = 1500
"""More than any line here has."""

_NUMBER: Final = 2**52
_PREVIOUS: Final = "f" * 64
_RUN: Final = "e" * 32
_OF: Final = 2**52 + 1


def intent(seq: int, prev: str, run: str) -> Intent:
    """Return an unsigned intent."""
    return Intent(
        seq=seq,
        prev=prev,
        time=TIME,
        run=run,
        room=ROOM,
        event=f"${run}",
        sender=SENDER,
        actor=actor(SENDER),
        device="DEVICE",
        session="0123456789abcdef",
        ciphertext=run * 2,
        command=run * 2,
        request=run * 2,
    )


def outcome(seq: int, prev: str, run: str, of: int) -> Outcome:
    """Return an unsigned outcome."""
    return Outcome(
        seq=seq,
        prev=prev,
        time=TIME,
        intent=of,
        run=run,
        session="0123456789abcdef",
        reason=Reason.EXITED,
        duration_ms=12,
        output_bytes=0,
        output_sha256=hashlib.sha256().hexdigest(),
        recorded_bytes=0,
        recording="",
        leftover=0,
        token=f"tibet_{run}",
        token_sha256=run * 2,
        exit=0,
    )


class _Writer:
    """Where a chain is, and what comes next."""

    def __init__(self, identity: Identity, lines: list[bytes], checkpoint_records: int) -> None:
        self._checkpoint_records = checkpoint_records
        genesis = RECORDS.decode(lines[0])
        assert isinstance(genesis, Genesis)
        self.length = 0
        self.open: int | None = None
        """The command that has begun and not ended."""
        self._origin = genesis.executor
        self._identity = identity
        self._head = FIRST_PREV
        self._tree = Frontier()
        self._begin = _template(sign(intent(_NUMBER, _PREVIOUS, _RUN), identity))
        self._end = _template(sign(outcome(_NUMBER, _PREVIOUS, _RUN, _OF), identity))
        for line in lines:
            self._take(line)

    def next(self, *, signed: bool) -> bytes:
        """Return the next record's line, which carries its own signature if it is to."""
        seq, head = self.length, self._head
        if seq % self._checkpoint_records == 0:
            line = self._checkpoint()
        else:
            of = seq if self.open is None else self.open
            run = f"{of:032x}"
            if signed and self.open is None:
                line = RECORDS.encode(sign(intent(seq, head, run), self._identity))
            elif signed:
                line = RECORDS.encode(sign(outcome(seq, head, run, of), self._identity))
            else:
                line = (self._begin if self.open is None else self._end) % {
                    b"seq": seq,
                    b"prev": head.encode(),
                    b"run": run.encode(),
                    b"of": of,
                }
            self.open = seq if self.open is None else None
        self._take(line)
        return line

    def _checkpoint(self) -> bytes:
        seq, root = self.length, self._tree.root()
        text = note.Checkpoint(origin=self._origin, size=seq, root=root).text()
        record = Checkpoint(
            seq=seq,
            prev=self._head,
            time=TIME,
            size=seq,
            root=root.hex(),
            note=note.sign_note(text, self._origin, self._identity),
        )
        return RECORDS.encode(sign(record, self._identity))

    def _take(self, line: bytes) -> None:
        self._head = hashlib.sha256(line).hexdigest()
        self._tree.append(leaf_hash(line))
        self.length += 1


def extend(
    state: Path, identity: Identity, n: int, *, checkpoint_records: int = CHECKPOINT_RECORDS
) -> None:
    """Append about ``n`` records to the chain of an executor that is stopped, in new segments."""
    segments.recover(state / CHAIN, identity.public_key)
    owner = (state / CHAIN).stat()
    there = [path.read_bytes().splitlines() for path in sorted((state / CHAIN).iterdir())]
    writer = _Writer(identity, [line for lines in there for line in lines], checkpoint_records)
    end = writer.length + n
    while writer.length < end or writer.open is not None:
        with _segment(state, writer.length, owner) as file:
            size, full = 0, False
            while not full and (writer.length < end or writer.open is not None):
                full = size + _LINE_BYTES > SEGMENT_BYTES
                line = writer.next(signed=full or writer.length >= end - 1)
                size += file.write(line + b"\n")


def index(state: Path) -> int:
    """Bring the index up to the chain, as a start without it would; return how many records."""
    path = state / "index.sqlite"
    found = Index(path)
    before = found.length
    found.catch_up(segments.read_from(state / CHAIN, before), journaled=sys.maxsize)
    after = found.length
    found.close()
    owner = (state / CHAIN).stat()
    for file in state.glob("index.sqlite*"):
        os.chown(file, owner.st_uid, owner.st_gid)
    return after - before


def _segment(state: Path, first: int, owner: os.stat_result) -> BufferedWriter:
    for folder in (CHAIN, PAYLOADS):
        path = state / folder / segment_name(first)
        path.touch(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    return (state / CHAIN / segment_name(first)).open("wb")


def _template(record: Record) -> bytes:
    text = RECORDS.encode(record)
    for sentinel, field in (
        (str(_NUMBER), b"%(seq)d"),
        (str(_OF), b"%(of)d"),
        (_PREVIOUS, b"%(prev)b"),
        (_RUN, b"%(run)b"),
    ):
        text = text.replace(sentinel.encode(), field)
    return text
