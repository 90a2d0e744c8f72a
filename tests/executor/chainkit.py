# SPDX-License-Identifier: MIT
"""A ledger in a directory and records to put in it, for the tests of the upper half."""

from collections.abc import Callable
from pathlib import Path

from tibet_nc_executor.ledger import Ledger, Place
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import (
    FORMAT,
    Genesis,
    Intent,
    Outcome,
    Record,
    Security,
    SecurityEvent,
    actor,
)
from tibet_nc_protocol.signing import Identity
from tibet_nc_protocol.terms import Reason, run_id

IDENTITY = Identity(b"executor-test-key".ljust(32, b"."))
OPERATOR = "@op:example.org"
ROOM = "!room:example.org"


def open_ledger(
    directory: Path,
    *,
    segment_bytes: int = 1 << 20,
    after: Callable[[Record, str], None] = lambda _record, _head: None,
) -> Ledger:
    """Open a ledger whose clock stands still."""
    return Ledger(
        directory, IDENTITY, clock=lambda: 1_790_000_000.0, segment_bytes=segment_bytes, after=after
    )


def genesis(place: Place) -> Genesis:
    """Make the first record."""
    return Genesis(
        seq=place.seq,
        prev=place.prev,
        time=place.time,
        format=FORMAT,
        host="host",
        executor=IDENTITY.id,
        key=IDENTITY.public_key.hex,
        agent="agent",
        agent_key="ab" * 32,
        version="0",
    )


def security(place: Place) -> Security:
    """Make a record that needs nothing before it."""
    return Security(
        seq=place.seq,
        prev=place.prev,
        time=place.time,
        what=SecurityEvent.AGENT,
        detail=f"number {place.seq}",
    )


def intent(event: str, command: str = "cd" * 32) -> Callable[[Place], Intent]:
    """Return a maker of an intent for an event."""
    return lambda place: Intent(
        seq=place.seq,
        prev=place.prev,
        time=place.time,
        run=run_id(ROOM, event),
        room=ROOM,
        event=event,
        sender=OPERATOR,
        actor=actor(OPERATOR),
        device="DEVICE",
        session="s1",
        ciphertext=run_id(ROOM, event) * 2,
        command=command,
        request="ef" * 32,
    )


def outcome(event: str, number: int) -> Callable[[Place], Outcome]:
    """Return a maker of the outcome of an intent."""
    return lambda place: Outcome(
        seq=place.seq,
        prev=place.prev,
        time=place.time,
        intent=number,
        run=run_id(ROOM, event),
        session="s1",
        reason=Reason.EXITED,
        duration_ms=1,
        output_bytes=0,
        output_sha256="00" * 32,
        recorded_bytes=0,
        recording="",
        leftover=0,
        token="tibet_x",
        token_sha256="11" * 32,
        exit=0,
    )


def lines(directory: Path) -> list[bytes]:
    """Return the lines of all segments, in order."""
    found: list[bytes] = []
    for path in sorted((directory / CHAIN).iterdir()):
        found += path.read_bytes().splitlines()
    return found


def verify(directory: Path) -> list[Record]:
    """Return the records of a chain that verifies; raises RecordError."""
    verifier = ChainVerifier(IDENTITY.public_key)
    return [verifier.feed(line) for line in lines(directory)]
