# SPDX-License-Identifier: MIT
"""What the chain says about each event, found without reading the chain (I3).

A SQLite file that can be deleted at any time: it is made from the chain alone, and remembers up to
which record. No command waits for its sync; what a power cut takes are the newest records, which it
catches up with. Only that: SQLite syncs its log before it moves pages from there to their places,
or some of them could be lost, and a run that is forgotten runs again. It can't be ahead of the
chain, since a record is applied only when it is on disk: if it is, the chain was cut. It also keeps
up to which record the journal has the chain, which an index that is made anew takes for granted.
"""

import os
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tibet_nc_executor.errors import LedgerError
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import ProofError
from tibet_nc_protocol.merkle import DIGEST_BYTES, Frontier, leaf_hash
from tibet_nc_protocol.records import (
    FIRST_PREV,
    RECORDS,
    Aborted,
    Intent,
    Outcome,
    Record,
    Refusal,
    Remainder,
)
from tibet_nc_protocol.terms import run_id

_CACHE: Final = -256
"""What SQLite keeps of the file, written as it takes it: negative, in KiB. By itself it takes 2 MB;
the kernel has these pages anyway."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, number INTEGER NOT NULL, ending BLOB, head TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_runs ON runs (number) WHERE ending IS NULL;
CREATE TABLE IF NOT EXISTS leftovers (
    number INTEGER PRIMARY KEY, run TEXT NOT NULL, session TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS ciphertexts (ciphertext TEXT PRIMARY KEY, run TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refusals (
    run TEXT PRIMARY KEY, number INTEGER NOT NULL, head TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marker (
    one INTEGER PRIMARY KEY CHECK (one = 1), length INTEGER NOT NULL, head TEXT NOT NULL,
    commands INTEGER NOT NULL, refused INTEGER NOT NULL, tree BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS journaled (
    one INTEGER PRIMARY KEY CHECK (one = 1), length INTEGER NOT NULL
);
"""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a run: its intent's number and, when it ended, the record and its digest."""

    number: int
    ending: Outcome | Aborted | None = None
    head: str = ""


class Index:
    """The index of one chain."""

    def __init__(self, path: Path) -> None:
        """Open or make the index; raises LedgerError when the file is no index."""
        self._path = path
        try:
            self._database = sqlite3.connect(path, isolation_level=None)
            path.chmod(0o600)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(f"PRAGMA cache_size = {_CACHE}")
            self._database.executescript(_SCHEMA)
            self._database.execute(
                "INSERT OR IGNORE INTO marker VALUES (1, 0, ?, 0, 0, x'')", (FIRST_PREV,)
            )
            row = self._database.execute(
                "SELECT length, head, commands, refused, tree FROM marker"
            ).fetchone()
            self.tree = _read_tree(row[0], row[4])
            """The tree over the lines of these records."""
            told = self._database.execute("SELECT length FROM journaled").fetchone()
        except (sqlite3.Error, OSError, ProofError) as error:
            raise LedgerError(
                f"{path}: {error}; the index can be deleted, it is made anew from the chain"
            ) from None
        self.length: int = row[0]
        """How many records it has taken in."""
        self.head: str = row[1]
        self.commands: int = row[2]
        self.refused: int = row[3]
        self.journaled: Final[int | None] = None if told is None else told[0]
        """How many records the journal was known to have when the file was last written; None in a
        new file."""

    def catch_up(self, records: Iterable[tuple[Record, str]], *, journaled: int) -> None:
        """Take in the records from ``length`` on, and up to which the journal has them.

        Raises LedgerError when they don't follow or can't be stored, and keeps what it had.
        """
        try:
            with self._transaction():
                for record, head in records:
                    self._check_next(record)
                    self._apply(record, head)
                self._database.execute(
                    "INSERT OR REPLACE INTO journaled VALUES (1, ?)", (min(journaled, self.length),)
                )
        except sqlite3.Error as error:
            raise LedgerError(f"the index can't be written: {self._reason(error)}") from None

    def _reason(self, error: sqlite3.Error) -> str:
        """Say what is wrong: SQLite keeps the system's own reason to itself."""
        try:
            os.utime(self._path)
        except OSError as why:
            return why.strerror or str(error)
        return str(error)

    def check(self, length: int, head: str) -> None:
        """Raise LedgerError unless it has taken in exactly a chain of this length and head."""
        if (self.length, self.head) != (length, head):
            raise LedgerError(
                f"the chain has {counted(length, 'record')}, but the index has seen {self.length} "
                f"(head {self.head}): the chain was cut or replaced; run tibet-nc-audit verify"
            )

    def _check_next(self, record: Record) -> None:
        if record.seq != self.length or record.prev != self.head:
            raise LedgerError(
                f"the chain was altered: record {record.seq} does not follow what the index has "
                "seen; run tibet-nc-audit verify"
            )

    @contextmanager
    def _transaction(self) -> Generator[None]:
        """Take in all of it or, whatever it is that fails, nothing."""
        before = (self.length, self.head, self.commands, self.refused, self.copy_tree())
        self._database.execute("BEGIN")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            self.length, self.head, self.commands, self.refused, self.tree = before
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    def _apply(self, record: Record, head: str) -> None:
        execute = self._database.execute
        line = RECORDS.encode_unchecked(record)  # it is in the chain
        if isinstance(record, Intent):
            self.commands += 1
            execute("INSERT INTO runs VALUES (?, ?, NULL, NULL)", (record.run, record.seq))
            execute("INSERT INTO ciphertexts VALUES (?, ?)", (record.ciphertext, record.run))
        elif isinstance(record, Outcome | Aborted):
            execute("UPDATE runs SET ending = ?, head = ? WHERE run = ?", (line, head, record.run))
            if isinstance(record, Outcome) and record.leftover:
                execute(
                    "INSERT INTO leftovers VALUES (?, ?, ?)",
                    (record.intent, record.run, record.session),
                )
        elif isinstance(record, Remainder):
            execute("DELETE FROM leftovers WHERE number = ?", (record.intent,))
        elif isinstance(record, Refusal):
            self.refused += 1
            run = run_id(record.room, record.event)
            execute("INSERT OR IGNORE INTO refusals VALUES (?, ?, ?)", (run, record.seq, head))
        self.length = record.seq + 1
        self.head = head
        self.tree.append(leaf_hash(line))
        tree = b"".join(self.tree.digests)
        execute(
            "UPDATE marker SET length = ?, head = ?, commands = ?, refused = ?, tree = ?",
            (self.length, self.head, self.commands, self.refused, tree),
        )

    def run(self, run: str, behind: Iterable[tuple[Record, str]] = ()) -> Known | None:
        """Return what the chain says about a run; ``behind`` are records that this lacks."""
        known = None
        rows = self._rows("SELECT number, ending, head FROM runs WHERE run = ?", run)
        if rows:
            number, line, head = rows[0]
            ending = None if line is None else RECORDS.decode(line)
            if ending is not None and not isinstance(ending, Outcome | Aborted):
                raise LedgerError(f"the index is damaged at run {run}; it can be deleted")
            known = Known(number=number, ending=ending, head=head or "")
        for record, digest in behind:
            if isinstance(record, Intent) and record.run == run:
                known = Known(number=record.seq)
            elif isinstance(record, Outcome | Aborted) and record.run == run:
                known = Known(number=record.intent, ending=record, head=digest)
        return known

    def refusal(self, run: str) -> tuple[int, str] | None:
        """Return number and digest of the record that refused this event."""
        rows = self._rows("SELECT number, head FROM refusals WHERE run = ?", run)
        return (rows[0][0], rows[0][1]) if rows else None

    def run_of_ciphertext(self, ciphertext: str) -> str | None:
        """Return the run that this ciphertext already started."""
        rows = self._rows("SELECT run FROM ciphertexts WHERE ciphertext = ?", ciphertext)
        return rows[0][0] if rows else None

    def unfinished(self) -> list[tuple[int, str]]:
        """Return number and run of each intent that has neither outcome nor abort, oldest first."""
        return self._rows("SELECT number, run FROM runs WHERE ending IS NULL ORDER BY number")

    def leftovers(self) -> list[tuple[int, str, str]]:
        """Return number, run and session of each outcome that lacks its remainder, oldest first."""
        return self._rows("SELECT number, run, session FROM leftovers ORDER BY number")

    def _rows(self, statement: str, *values: str) -> list[Any]:
        """Return the rows of a question; raises LedgerError."""
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise LedgerError(
                f"the index can't be read: {error}; {self._path} can be deleted"
            ) from None

    def copy_tree(self) -> Frontier:
        """Return the tree over the lines of these records, to go on with."""
        return Frontier(self.tree.size, self.tree.digests)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _read_tree(size: int, data: bytes) -> Frontier:
    digests = [data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES)]
    return Frontier(size, digests)
