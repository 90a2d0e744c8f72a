# SPDX-License-Identifier: MIT
"""Which ciphertexts were seen, and in which event: in a file, so that a restart forgets nothing.

A Megolm message is named by the sender's key, the session and its index in it. A homeserver can
deliver one again in another event; the first event keeps it. The same event may come again (after
a crash, before the sync token was saved), and then it is not a replay.

What was seen last may be forgotten when the machine loses power, since a sync for each message is
as long as the rest of taking it in. No command runs twice for that: the executor, which has the
last word (I3), has the ciphertext in a record on its disk before the command starts.
"""

import hashlib
import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Self

from tibet_nc_agent.matrix_errors import StoreDamaged
from tibet_nc_agent.statedatabase import CACHE, unwritable
from tibet_nc_agent.statefile import make_private

_SCHEMA: Final = """
create table if not exists seen (ciphertext text primary key, event text not null) without rowid
"""


def ciphertext_digest(sender_key: str, session_id: str, index: int) -> str:
    """Return the SHA-256, in hex, that names a Megolm message wherever it turns up."""
    return hashlib.sha256(f"{sender_key}\n{session_id}\n{index}".encode()).hexdigest()


class ReplayGuard:
    """The table of ciphertexts and the event each was first seen in."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the table; raise :class:`StoreDamaged` if the file isn't one."""
        make_private(path)  # SQLite gives its journal the same mode
        try:
            with ExitStack() as undo:
                database = sqlite3.connect(path, autocommit=True)
                undo.callback(database.close)
                database.execute("pragma journal_mode = wal")
                database.execute("pragma synchronous = normal")
                database.execute(f"pragma cache_size = {CACHE}")
                database.execute(_SCHEMA)
                database.autocommit = False
                undo.pop_all()
        except sqlite3.Error as error:
            if unwritable(error):
                raise StoreDamaged(f"{path} can't be written: {error}") from error
            raise StoreDamaged(f"{path} can't be read: {error}; move it away to go on") from error
        return cls(database)

    def first_event(self, ciphertext: str, event_id: str) -> str:
        """Return the event that a ciphertext belongs to: ``event_id`` unless it was seen before.

        What was seen outlives this process after :meth:`commit`. Raises :class:`StoreDamaged`.
        """
        insert = "insert or ignore into seen values (?, ?)"
        select = "select event from seen where ciphertext = ?"
        with _accessing():
            self._database.execute(insert, (ciphertext, event_id))
            (event,) = self._database.execute(select, (ciphertext,)).fetchone()
        return str(event)

    def commit(self) -> None:
        """Write down everything seen so far; raise :class:`StoreDamaged` if that can't be."""
        with _accessing():
            self._database.commit()

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._database.close()


@contextmanager
def _accessing() -> Generator[None]:
    """Turn SQLite's errors (a full disk, a page that is gone) into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreDamaged(f"the table of seen messages can't be used ({error})") from error
