# SPDX-License-Identifier: MIT
"""What is made from the chain alone: the journal's entries, and the index.

A record that is on disk goes to the journal, whatever became of the one who asked, and then into
the index, or when somebody asks that. The next start makes both of whatever is missing, so a
command's answer need not wait for them.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tibet_nc_executor import segments
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.index import Index, Known
from tibet_nc_executor.journal import Gap, Journal
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.records import Intent, Outcome, Record

JOURNAL_AFTER_S: Final = 0.025
"""When a command's records are given to the journal's thread, which would take turns with the
answer before."""
INDEX_AFTER_S: Final = 0.05
"""When a record is taken into the index that nobody asked before. By then the journal has it, so
that the index can say so: what it doesn't call sent is sent again by the next start."""


class Derived:
    """Journal and index of one chain, which follow it."""

    def __init__(
        self, directory: Path, *, length: int, head: str, missed: Callable[[Gap], None]
    ) -> None:
        """Bring both up to a chain of this length and digest, within a running loop.

        What the one before may not have sent to the journal is sent. ``missed`` is called, in the
        loop, with each gap in the journal, which is to go on record. Raises LedgerError.
        """
        self._loop: Final = asyncio.get_running_loop()
        self._chain: Final = directory / CHAIN
        self._on_gap: Final = missed
        self._durable = length
        self._unindexed: list[tuple[Record, str]] = []
        self._indexing: asyncio.TimerHandle | None = None
        self._unsent: list[tuple[Record, str]] = []
        self._sending: asyncio.TimerHandle | None = None
        self._untold: list[Gap] = []
        """What is missing in the journal and isn't on record yet."""
        self._index: Final = Index(directory / "index.sqlite")
        told = self._index.journaled
        begin = length if told is None else told
        self._journal: Final = Journal(self._missed, begin=begin)
        self.catch_up()
        self._index.check(length, head)
        if told is None:
            self._index.catch_up((), journaled=begin)
        for record, digest in segments.read_from(self._chain, begin):
            self._journal.send(record, digest)

    @property
    def tree(self) -> Frontier:
        """A copy of the tree over all records of the start."""
        return self._index.copy_tree()

    @property
    def unjournaled(self) -> Gap | None:
        """What the journal lacks and nobody was told of yet."""
        return self._journal.gap

    @property
    def index(self) -> Index:
        """The index, brought up to the chain; raises LedgerError when that can't be done."""
        self.catch_up()
        return self._index

    @property
    def counts(self) -> Index:
        """The index, for what it has counted, also where it is behind."""
        with suppress(LedgerError):
            self.catch_up()
        return self._index

    def run(self, run: str) -> Known | None:
        """Return what the chain says about a run; raises LedgerError.

        What an index that can't be written lacks is looked up there: what ran must not be said not
        to have run.
        """
        index = self.counts
        behind = segments.read_from(self._chain, index.length)
        return index.run(run, itertools.islice(behind, max(0, self._durable - index.length)))

    def add(self, record: Record, head: str) -> None:
        """Take a record that is on disk, and its digest."""
        self._durable = record.seq + 1
        self._unsent.append((record, head))
        if not isinstance(record, Intent | Outcome):  # no answer waits for it, and it may be urgent
            self._send()
        elif self._sending is None:
            self._sending = self._loop.call_later(JOURNAL_AFTER_S, self._send)
        self._unindexed.append((record, head))
        if self._indexing is None:
            self._indexing = self._loop.call_later(INDEX_AFTER_S, self._index_later)

    def catch_up(self, *, sent: bool = False) -> None:
        """Bring the index up to what is on disk, or else to what was sent; raises LedgerError."""
        recent, self._unindexed = self._unindexed, []
        missing = self._durable - self._index.length
        if missing <= 0 and not sent:
            return
        records: Iterable[tuple[Record, str]] = recent
        if missing != len(recent):  # behind since an earlier failure
            behind = segments.read_from(self._chain, self._index.length)
            records = itertools.islice(behind, missing)
        lacking = min([self._journal.settled, *(gap.first for gap in self._untold)])
        self._index.catch_up(records, journaled=lacking)

    def told(self, gap: Gap) -> None:
        """Take note that a gap in the journal is on record."""
        self._untold.remove(gap)

    async def end_journal(self) -> Gap | None:
        """Send what is left to send, not for long; return what was not sent."""
        self._send()
        gap = await asyncio.to_thread(self._journal.close)
        if gap is not None:
            self._untold.append(gap)
        return gap

    def close(self) -> None:
        """End both, after the journal and the chain have ended."""
        for timer in (self._sending, self._indexing):
            if timer is not None:
                timer.cancel()
        with suppress(LedgerError):  # the next start catches up
            self.catch_up()
            lacking = min((gap.first for gap in self._untold), default=self._durable)
            self._index.catch_up((), journaled=lacking)
        self._index.close()

    def _missed(self, gap: Gap) -> None:
        """Have a gap in the journal recorded; called by the journal's thread."""
        self._untold.append(gap)
        with suppress(RuntimeError):  # the loop has ended: the next start sees to it
            self._loop.call_soon_threadsafe(self._on_gap, gap)

    def _send(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        unsent, self._unsent = self._unsent, []
        for record, head in unsent:
            self._journal.send(record, head)

    def _index_later(self) -> None:
        if self._unsent or self._journal.behind:  # the index is to say that the journal has those
            self._indexing = self._loop.call_later(INDEX_AFTER_S, self._index_later)
            return
        self._indexing = None
        with suppress(LedgerError):  # the disk may be full; whoever asks next is told
            self.catch_up(sent=True)
