# SPDX-License-Identifier: MIT
"""A SQLite file of the agent's own: private, of one known format, on disk when a commit returns.

WAL with synchronous=FULL. Calls must not overlap; they may come from different threads.
"""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tibet_nc_agent.statefile import make_private

CACHE: Final = -256
"""What SQLite keeps of a file, written as it takes it: negative, in KiB.

By itself it is 2 MB of each, so that the agent would grow for thousands of commands; the kernel has
these pages anyway.
"""


_UNWRITABLE: Final = (
    "SQLITE_FULL",
    "SQLITE_READONLY",
    "SQLITE_IOERR_WRITE",
    "SQLITE_IOERR_FSYNC",
    "SQLITE_IOERR_DIR_FSYNC",
    "SQLITE_IOERR_TRUNCATE",
    "SQLITE_IOERR_SHMOPEN",
    "SQLITE_IOERR_SHMSIZE",
)
"""How the names begin of what SQLite says when the disk takes nothing."""


def unwritable(error: BaseException) -> bool:
    """Whether an error of SQLite's, or one made of it, says that the disk takes nothing.

    Then the file is as good as it was: whoever moved it away would lose what is in it.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error) and cause.sqlite_errorname.startswith(_UNWRITABLE):
            return True
        cause = cause.__context__
    return False


class StateDatabase:
    """One open file; whatever fails becomes the owner's own kind of error, with the path."""

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        version: int,
        error: type[Exception],
        hint: str = "",
        also: str = "",
    ) -> None:
        """Open the file or make it; ``hint`` tells what to do about one that can't be used.

        ``also`` is run at each opening, for what a file of this version has not had from its
        beginning; an older program that opens it doesn't mind.
        """
        self.path: Final = path
        self._error: Final = error
        self._failure: str | None = None
        try:
            make_private(path)  # SQLite gives its -wal and -shm files the same mode
            path.chmod(0o600)
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(schema, version, hint)
                self._database.executescript(also)
            except BaseException:
                self._database.close()
                raise
        except OSError as failure:
            raise error(f"{path} can't be opened: {failure.strerror}") from None
        except sqlite3.Error as failure:
            if unwritable(failure):
                raise error(f"{path} can't be written: {failure}") from None
            raise error(f"{path}: {failure}{hint}") from None

    def _prepare(self, schema: str, version: int, hint: str) -> None:
        run = self._database.execute
        mode = run("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise self._error(f"{self.path}: no write-ahead log on this file system ({mode})")
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA cache_size = {CACHE}")
        run("PRAGMA secure_delete = ON")  # what is forgotten is gone
        found = run("PRAGMA user_version").fetchone()[0]
        if found == 0:
            self._database.executescript(
                f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {version}; COMMIT;"
            )
        elif found != version:
            problem = f"{self.path}: format {found}, and this version knows {version}"
            raise self._error(f"{problem}{hint}")

    def close(self) -> None:
        """Close the file; what a transaction was left open with is undone."""
        self._database.close()

    def rows(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        """Return all rows of a question."""
        with self._failing():
            return self._database.execute(statement, values).fetchall()

    def row(self, statement: str, *values: str | int) -> tuple[Any, ...] | None:
        """Return the first row of a question, None if it has none."""
        return next(iter(self.rows(statement, *values)), None)

    @contextmanager
    def transaction(self, *, end: bool = True) -> Generator[sqlite3.Connection]:
        """Do all of a block or nothing, as part of the transaction that is open, if one is.

        Without `end` it stays open: it is on disk after the next one that ends, or :meth:`end`.
        A block that fails undoes all that was left open. Who did that goes on as if it were stored,
        so the file takes and tells nothing more then, until it is opened anew.
        """
        with self._failing():
            left_open = self._database.in_transaction
            if not left_open:
                self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
                if end:
                    self._database.execute("COMMIT")
            except BaseException as failure:
                if self._database.in_transaction:  # a COMMIT that failed leaves it open, too
                    self._database.rollback()
                if left_open:
                    self._failure = self._named(failure)
                raise

    def end(self) -> None:
        """Put on disk what a transaction was left open with, if one was."""
        with self._failing():
            if self._database.in_transaction:
                with self.transaction():
                    pass

    @contextmanager
    def _failing(self) -> Generator[None]:
        if self._failure is not None:
            raise self._error(self._failure)
        try:
            yield
        except sqlite3.Error as failure:
            raise self._error(self._named(failure)) from None

    def _named(self, failure: BaseException) -> str:
        return str(failure) if isinstance(failure, self._error) else f"{self.path}: {failure}"
