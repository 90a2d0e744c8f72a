# SPDX-License-Identifier: MIT
"""What came in and how far it got, on disk, so that a restart neither repeats nor forgets (I3, I4).

The life of an event
--------------------
1. ``received``: one transaction with the sync token of the batch that brought it, which ends with
   the answer of any event, or with :meth:`Inbox.secure`. A crash before leaves the old token,
   and the homeserver gives the batch again; a crash after leaves the event waiting here. A message
   without its key is ``provisional``: the same event with its text may still take its place, until
   it is settled that the key came too late.
2. ``forwarded``: stored, with the checked device, when the executor is asked to run it; on disk
   with the next step that is. From here on only the executor knows whether it ran, so after a
   crash it is asked again, which it answers from its records. If the crash came before this was on
   disk, the message is judged anew, and should it be refused, the executor says that it ran. What
   acts and is no command (``!in``, ``!kill``) is on disk before it is asked for, and is not asked
   for again.
3. ``answered``: stored when the homeserver has taken the final answer. A crash between the two
   sends the answer once more under the same transaction id, which makes it the same event there.
   The text of the command is erased here; the event's id stays for ever, and whatever comes again
   under that id is not new.

Beside that it keeps the news that the executor must record and has not recorded yet: they come with
a batch, and are forgotten when they are recorded; what the room is to be told of one is kept in its
place until it was. A crash between record and note may have one recorded twice.

What a step stores is on disk when it returns, but for 1 and 2. Calls must not overlap; they may
come from different threads.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_agent.statedatabase import StateDatabase

FILE_NAME: Final = "inbox.sqlite"
_FORMAT: Final = 1

_SCHEMA: Final = """
CREATE TABLE progress (only INTEGER PRIMARY KEY CHECK (only = 1), token TEXT NOT NULL);
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('received', 'forwarded', 'answered')),
    provisional INTEGER NOT NULL,
    device TEXT,
    content BLOB,
    UNIQUE (room_id, event_id),
    CHECK ((content IS NULL) = (state = 'answered')),
    CHECK (device IS NOT NULL OR state != 'forwarded')
);
CREATE INDEX waiting ON event (number) WHERE state != 'answered';
"""

_NEWS: Final = """
CREATE TABLE IF NOT EXISTS news (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    content BLOB NOT NULL
);
"""

_NOTE: Final = "INSERT INTO news (key, content) VALUES (?, ?)"


class InboxError(Exception):
    """The inbox can't be read or written; nothing may be run before it can."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An event that wants an answer; ``content`` is the caller's own form of it."""

    room_id: str
    event_id: str
    content: bytes
    provisional: bool = False


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has no answer yet; ``device`` is its sender's, once it was forwarded."""

    item: Item
    device: str | None


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of news that must be recorded; ``content`` is the caller's own form of it."""

    key: str
    content: bytes


class Inbox:
    """The events of one agent; raises InboxError from every method when the disk fails."""

    def __init__(self, state: Path) -> None:
        """Open or make the inbox in a directory, readable by this user alone."""
        self._database = StateDatabase(
            state / FILE_NAME,
            schema=_SCHEMA,
            version=_FORMAT,
            error=InboxError,
            hint="; restore it, or move it away:"
            " what has no answer yet is then refused as too old, and nothing runs twice",
            also=_NEWS,
        )

    def close(self) -> None:
        """Close the file; a batch that was not secured comes again, nothing else is lost."""
        self._database.close()

    @property
    def token(self) -> str | None:
        """The sync token after the last batch that was accepted, None before the first."""
        row = self._database.row("SELECT token FROM progress")
        return None if row is None else str(row[0])

    def accept(self, token: str, items: Iterable[Item], news: Iterable[Note] = ()) -> list[Item]:
        """Take a batch and the token after it; return the items to be dealt with now.

        Those are the ones that were not there before, or only provisionally. The homeserver must
        not see the token before :meth:`secure`: it forgets then what it gave with the batch.
        """
        new: list[Item] = []
        with self._database.transaction(end=False) as run:
            for item in items:
                inserted = run.execute(
                    "INSERT INTO event (room_id, event_id, state, provisional, content)"
                    " VALUES (?, ?, 'received', ?, ?)"
                    " ON CONFLICT DO UPDATE SET content = excluded.content, provisional = 0"
                    " WHERE provisional AND NOT excluded.provisional AND state = 'received'",
                    (item.room_id, item.event_id, item.provisional, item.content),
                )
                if inserted.rowcount:
                    new.append(item)
            for note in news:
                run.execute(_NOTE, (note.key, note.content))
            run.execute(
                "INSERT INTO progress VALUES (1, ?)"
                " ON CONFLICT (only) DO UPDATE SET token = excluded.token",
                (token,),
            )
        return new

    def note(self, note: Note) -> None:
        """Keep a piece of news that came with no batch."""
        with self._database.transaction() as run:
            run.execute(_NOTE, (note.key, note.content))

    def recorded(self, note: Note, then: Note | None = None) -> None:
        """Forget a piece of news, and keep in its place what is to be done ``then``."""
        with self._database.transaction() as run:
            run.execute("DELETE FROM news WHERE key = ?", (note.key,))
            if then is not None:
                run.execute(_NOTE, (then.key, then.content))

    def news(self) -> list[Note]:
        """Return the news that are not recorded, in the order in which they came."""
        rows = self._database.rows("SELECT key, content FROM news ORDER BY number")
        return [Note(key=key, content=content) for key, content in rows]

    def secure(self) -> None:
        """Put the last batch on disk, if it isn't there yet."""
        self._database.end()

    def provisional(self, room_id: str, event_id: str) -> bool:
        """Whether an event still waits for its text."""
        return (
            self._database.row(
                "SELECT 1 FROM event WHERE room_id = ? AND event_id = ? AND provisional",
                room_id,
                event_id,
            )
            is not None
        )

    def settle(self, room_id: str, event_id: str) -> bool:
        """Give up waiting for the text of a provisional event; False if it came in time."""
        with self._database.transaction() as run:
            return bool(
                run.execute(
                    "UPDATE event SET provisional = 0"
                    " WHERE room_id = ? AND event_id = ? AND provisional",
                    (room_id, event_id),
                ).rowcount
            )

    def forwarded(self, room_id: str, event_id: str, device: str) -> None:
        """Note that the executor is about to be asked to run this event, sent from a device."""
        with self._database.transaction(end=False) as run:
            moved = run.execute(
                "UPDATE event SET state = 'forwarded', device = ?"
                " WHERE room_id = ? AND event_id = ? AND state = 'received'",
                (device, room_id, event_id),
            )
            self._expect_one(moved, event_id)

    def answered(self, room_id: str, event_id: str) -> None:
        """Note that the final answer was taken, and forget what the event said.

        When nothing waits any more, the write-ahead log is emptied: it holds older forms of pages.
        """
        with self._database.transaction() as run:
            moved = run.execute(
                "UPDATE event SET state = 'answered', content = NULL, provisional = 0"
                " WHERE room_id = ? AND event_id = ?",
                (room_id, event_id),
            )
            self._expect_one(moved, event_id)
        if self._database.row("SELECT 1 FROM event WHERE state != 'answered'") is None:
            self._database.row("PRAGMA wal_checkpoint(TRUNCATE)")
            with self._database.transaction() as run:  # an empty log costs the first commit a sync
                run.execute("UPDATE progress SET token = token")

    def pending(self) -> list[Waiting]:
        """Return the events without an answer, in the order in which they came."""
        rows = self._database.rows(
            "SELECT room_id, event_id, content, provisional, device FROM event"
            " WHERE state != 'answered' ORDER BY number"
        )
        return [
            Waiting(
                item=Item(
                    room_id=room_id,
                    event_id=event_id,
                    content=content,
                    provisional=bool(provisional),
                ),
                device=device,
            )
            for room_id, event_id, content, provisional, device in rows
        ]

    def _expect_one(self, moved: sqlite3.Cursor, event_id: str) -> None:
        if moved.rowcount != 1:
            raise InboxError(f"{self._database.path}: {event_id} is not where it should be")
