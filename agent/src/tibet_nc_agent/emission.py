# SPDX-License-Identifier: MIT
"""What is told elsewhere of each TIBET token, and the bounded queue on disk in which it waits.

Told are who asked, on which host, how it ended, the token's name and the digest of the record that
anchors it: nothing of the command or its output. A queue that is full loses its oldest, and counts
that; a row goes when it was taken, so after a crash something may be told twice, under one token.
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_protocol.messages import Finished

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
    ending = f"signal {result.signal}" if result.exit is None else f"exit {result.exit}"
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
        self._path = state / FILE_NAME
        self._limit = limit
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._path.chmod(0o600)
            self._database = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise EmissionError(f"{self._path}: {error}") from None

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        self._database.close()

    def add(self, emissions: Sequence[Emission]) -> None:
        """Add what isn't waiting already; what there is no room for is lost, oldest first."""
        with self._transaction():
            for one in emissions:
                self._database.execute(
                    "INSERT OR IGNORE INTO queue (token, body) VALUES (?, ?)",
                    (one.metadata["token_id"], _ENCODER.encode(one)),
                )
            surplus = self._count() - self._limit
            if surplus > 0:
                self._database.execute(
                    "DELETE FROM queue WHERE number IN"
                    " (SELECT number FROM queue ORDER BY number LIMIT ?)",
                    (surplus,),
                )
                self._lose(surplus)

    def oldest(self) -> Waiting | None:
        """Return what is to be told next."""
        try:
            row = self._database.execute(
                "SELECT number, body FROM queue ORDER BY number LIMIT 1"
            ).fetchone()
        except sqlite3.Error as error:
            raise EmissionError(f"{self._path}: {error}") from None
        return None if row is None else Waiting(number=row[0], body=row[1])

    def done(self, number: int, *, lost: bool = False) -> None:
        """Forget one that was taken, or that will never be: then it counts as lost."""
        with self._transaction():
            self._database.execute("DELETE FROM queue WHERE number = ?", (number,))
            if lost:
                self._lose(1)

    def counts(self) -> tuple[int, int]:
        """Return how many wait, and how many were ever lost."""
        try:
            lost = self._database.execute("SELECT count FROM lost").fetchone()[0]
            return self._count(), int(lost)
        except sqlite3.Error as error:
            raise EmissionError(f"{self._path}: {error}") from None

    def _count(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM queue").fetchone()[0])

    def _lose(self, number: int) -> None:
        self._database.execute("UPDATE lost SET count = count + ?", (number,))

    def _prepare(self) -> None:
        run = self._database.execute
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        version = run("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._database.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_FORMAT}; COMMIT;"
            )
        elif version != _FORMAT:
            raise EmissionError(f"{self._path}: format {version}; this version knows {_FORMAT}")

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database, self._path)


class _Transaction:
    """All or nothing; every failure becomes an EmissionError."""

    def __init__(self, database: sqlite3.Connection, path: Path) -> None:
        self._database = database
        self._path = path

    def __enter__(self) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise EmissionError(f"{self._path}: {error}") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        try:
            self._database.execute("ROLLBACK" if error is not None else "COMMIT")
        except sqlite3.Error as failure:
            if self._database.in_transaction:  # a COMMIT that failed leaves it open
                self._database.rollback()
            raise EmissionError(f"{self._path}: {failure}") from None
        if isinstance(error, sqlite3.Error):
            raise EmissionError(f"{self._path}: {error}") from None
