# SPDX-License-Identifier: MIT
"""What is told elsewhere of each TIBET token, and the bounded queue on disk in which it waits.

The service is told who asked, on which host, how it ended, the token's name and the digest of the
record that anchors it, and nothing of the command or its output. A full queue drops its oldest row
and counts it. A row is deleted when the service has taken it, so after a crash it may be told twice
of the same token.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_agent.statedatabase import StateDatabase
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.terms import ending_of

FILE_NAME: Final = "emission.sqlite"

QUEUE_ROWS: Final = 10_000
"""Most that wait, about 10 MB: days of a busy host."""

_FORMAT: Final = 1

_SCHEMA: Final = """
CREATE TABLE queue (
    number INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, body BLOB NOT NULL
);
CREATE TABLE lost (only INTEGER PRIMARY KEY CHECK (only = 1), count INTEGER NOT NULL);
INSERT INTO lost VALUES (1, 0);
"""

_LOSE: Final = "UPDATE lost SET count = count + ?"


class EmissionError(Exception):
    """The queue can't be read or written."""


class Emission(msgspec.Struct, frozen=True, kw_only=True):
    """What is posted, in the keys that tibet-nc 0.1.2 used."""

    protocol: str
    sender_id: str
    recipient_id: str
    intent: str
    content: str
    metadata: dict[str, str | int | None]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """One that was not taken yet; ``body`` is its JSON."""

    number: int
    body: bytes


_ENCODER: Final = msgspec.json.Encoder()


def emission(result: Finished, *, sender: str, host: str) -> Emission:
    """Return what is told of a result that has a token."""
    ending = ending_of(result.exit, result.signal)
    if result.exit is not None:
        ending = f"exit {ending}"
    return Emission(
        protocol="matrix",
        sender_id=f"jis:matrix:{sender}",
        recipient_id=f"tibet-nc@{host}",
        intent="nc.command.execute",
        content=f"tibet-nc #{result.number}: {ending}, {result.token}, record {result.head}",
        metadata={
            "service": "tibet-nc",
            "hostname": host,
            "transport": "matrix-e2ee",
            "action": "command.execute",
            "token_id": result.token,
            "record": result.outcome,
            "record_sha256": result.head,
            "command": result.number,
            "exit": result.exit,
            "signal": result.signal,
            "reason": result.reason.value,
            "duration_ms": result.duration_ms,
        },
    )


class EmissionQueue:
    """What waits, oldest first; raises EmissionError from every method when the disk fails."""

    def __init__(self, state: Path, *, limit: int = QUEUE_ROWS) -> None:
        """Open or make the queue in a directory, readable by this user alone."""
        self._limit = limit
        self._database = StateDatabase(
            state / FILE_NAME, schema=_SCHEMA, version=_FORMAT, error=EmissionError
        )

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._database.close()

    def add(self, emissions: Sequence[Emission]) -> tuple[int, int]:
        """Add what isn't waiting already; what there is no room for is lost, oldest first.

        Return the counts from then on.
        """
        with self._database.transaction() as run:
            for one in emissions:
                run.execute(
                    "INSERT OR IGNORE INTO queue (token, body) VALUES (?, ?)",
                    (one.metadata["token_id"], _ENCODER.encode(one)),
                )
            surplus = run.execute("SELECT count(*) FROM queue").fetchone()[0] - self._limit
            if surplus > 0:
                run.execute(
                    "DELETE FROM queue WHERE number IN"
                    " (SELECT number FROM queue ORDER BY number LIMIT ?)",
                    (surplus,),
                )
                run.execute(_LOSE, (surplus,))
            return self.counts()

    def oldest(self) -> Waiting | None:
        """Return what is to be told next."""
        row = self._database.row("SELECT number, body FROM queue ORDER BY number LIMIT 1")
        return None if row is None else Waiting(number=row[0], body=row[1])

    def done(self, number: int, *, lost: bool = False) -> tuple[int, int]:
        """Forget one that was taken, or that will never be: then it counts as lost.

        Return the counts from then on.
        """
        with self._database.transaction() as run:
            run.execute("DELETE FROM queue WHERE number = ?", (number,))
            if lost:
                run.execute(_LOSE, (1,))
            return self.counts()

    def counts(self) -> tuple[int, int]:
        """Return how many wait, and how many were ever lost."""
        ((waiting, lost),) = self._database.rows(
            "SELECT (SELECT count(*) FROM queue), (SELECT count FROM lost)"
        )
        return waiting, lost
