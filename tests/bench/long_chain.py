# SPDX-License-Identifier: MIT
"""Makes an executor's chain long without running its commands.

Commands, each an intent and an outcome as the executor writes them, linked and numbered as they
must be. Only the last record carries a signature of its own: making a million would take longer
than all else here, and what is measured on such a chain (start-up, the walk over the links) looks
at no other.
"""

import hashlib
import os
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path
from typing import Final

from tibet_nc_executor import segments
from tibet_nc_executor.index import Index
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name
from tibet_nc_protocol.records import (
    RECORDS,
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
SEGMENT_BYTES: Final = 8 * 1024 * 1024

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


def lines(first: int, head: str, n: int, identity: Identity) -> Iterator[bytes]:
    """Yield ``n`` (an even number of) record lines that follow a chain of ``first`` records."""
    templates = [
        _template(sign(intent(_NUMBER, _PREVIOUS, _RUN), identity)),
        _template(sign(outcome(_NUMBER, _PREVIOUS, _RUN, _OF), identity)),
    ]
    sha256 = hashlib.sha256
    for seq in range(first, first + n - 1):
        odd = (seq - first) & 1
        line = templates[odd] % {
            b"seq": seq,
            b"prev": head.encode(),
            b"run": b"%032x" % (seq - odd),
            b"of": seq - 1,
        }
        head = sha256(line).hexdigest()
        yield line
    last = first + n - 1
    yield RECORDS.encode(sign(outcome(last, head, f"{last - 1:032x}", last - 1), identity))


def extend(state: Path, identity: Identity, n: int) -> None:
    """Append about ``n`` records to the chain of an executor that is stopped, in new segments."""
    tail = segments.recover(state / CHAIN, identity.public_key)
    owner = (state / CHAIN).stat()
    length, segment, size = tail.length, tail.length, 0
    file = _segment(state, segment, owner)
    try:
        for line in lines(tail.length, tail.head, n - n % 2, identity):
            if size >= SEGMENT_BYTES:
                file.close()
                segment, size = length, 0
                file = _segment(state, segment, owner)
            size += file.write(line + b"\n")
            length += 1
    finally:
        file.close()


def index(state: Path) -> int:
    """Bring the index up to the chain, as a start without it would; return how many records."""
    path = state / "index.sqlite"
    found = Index(path)
    before = found.length
    found.catch_up(segments.read_from(state / CHAIN, before))
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
