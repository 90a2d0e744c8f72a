# SPDX-License-Identifier: MIT
"""The chain against the journal: which records it has, which it lacks, and which are others.

Facts. Any process may send any field, so only entries with the executor's uid count, which is
journald's own word (``_UID``); others that claim to be of a chain are counted and are no evidence.
journald drops what comes faster than its limits permit, and says with the next message of that
service how many it dropped (MESSAGE_ID below, ``N_DROPPED``, ``_TRANSPORT=driver``). Old entries
are deleted first, and the newest may not be there yet. So records before the first entry and after
the last are said, and held against nobody; in between, what journald says it dropped, and what the
chain itself says it could not send, is told apart from what is missing without a word.
"""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from tibet_nc_audit.crosscheck.copy import FIELDS, ChainCopy
from tibet_nc_audit.crosscheck.discrepancies import KEPT, Comparison, Discrepancies, Kind
from tibet_nc_audit.crosscheck.exports import Entry
from tibet_nc_audit.errors import AuditError
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.limits import EXACT_INTEGER

DROPPED: Final = "a596d6fe7bfa4994828e72309e95d61e"
"""MESSAGE_ID of journald's own note that it dropped messages (sd-messages(3))."""

_NUMBER: Final = re.compile(r"\A(0|[1-9][0-9]{0,15})\Z")
_STRANGERS_NAMED: Final = 5
_STRANGERS_COUNTED: Final = 1000
"""Uids that are told apart: a file that somebody made up may have as many as entries."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Whose entries count: the executor's uid, and its program if that is known."""

    uid: int
    exe: str | None = None


def compare(chain: ChainCopy, entries: Iterable[Entry], sender: Sender, source: str) -> Comparison:
    """Compare a chain with the entries of a journal, in their order, as far as they can be read.

    Raises AuditError when none can be.
    """
    comparing = _Comparing(chain, sender)
    unread: list[str] = []
    number = 0
    try:
        for number, entry in enumerate(entries, 1):
            comparing.take(entry, f"entry {number}")
    except AuditError as error:
        if number == 0:
            raise
        unread.append(str(error))
    return comparing.finish(source, unread)


class _Comparing:
    def __init__(self, chain: ChainCopy, sender: Sender) -> None:
        self._chain = chain
        self._sender = sender
        self._found = Discrepancies()
        self._seen = bytearray(len(chain))
        """Which records of the chain have an entry, by their places."""
        self._unknown = 0
        """Entries whose records can't be read."""
        self._counted = 0
        """Entries of the executor so far."""
        self._own = False
        """Whether an entry of this very chain has come: then none before it was of another."""
        self._latest = -1
        """The record of the latest entry that counted."""
        self._drops: Counter[int] = Counter()
        """How many messages journald dropped, by the latest record before its note."""
        self._repeated = 0
        self._unnamed = 0
        """Gaps that aren't named any more: a journal may have as many as the chain has records."""
        self._strangers: Counter[str] = Counter()
        self._unsent: list[tuple[int, int, int]] = []
        """From where on journald took no entries, how far of those until then, and who says so."""
        reach, said_by = 0, 0
        for part, number in sorted(chain.unsent, key=lambda said: said[0].start):
            if part.stop > reach:
                reach, said_by = part.stop, number
            self._unsent.append((part.start, reach, said_by))

    def take(self, entry: Entry, place: str) -> None:
        """Compare one entry."""
        if entry.get("MESSAGE_ID") == DROPPED and entry.get("_TRANSPORT") == "driver":
            if entry.get("OBJECT_UID") in {None, str(self._sender.uid)}:
                self._drops[self._latest] += _number(entry.get("N_DROPPED")) or 0
            return
        if "TIBET_NC_SEQ" not in entry and "TIBET_NC_HEAD" not in entry:
            return
        if entry.get("_UID") != str(self._sender.uid):
            who = f"uid {entry.get('_UID', 'unknown')}"
            known = who in self._strangers or len(self._strangers) < _STRANGERS_COUNTED
            self._strangers[who if known else "others"] += 1
            return
        number = _number(entry.get("TIBET_NC_SEQ"))
        if self._sender.exe is not None and entry.get("_EXE") != self._sender.exe:
            self._found.add(
                Kind.EXTRA,
                number,
                "an entry of the executor's uid by another program",
                place=place,
                expected=self._sender.exe,
                found=entry.get("_EXE", ""),
            )
            return
        self._compare(number, entry, place)

    def _compare(self, number: int | None, entry: Entry, place: str) -> None:
        head = entry.get("TIBET_NC_HEAD", "")
        if number is None:
            self._found.add(Kind.EXTRA, None, "an entry without a number", place=place, found=head)
            return
        if number in self._chain.lost:
            self._unknown += 1
            self._latest = number
            return
        at = self._chain.place(number)
        if at is None:
            self._counted += 1
            self._found.add(
                Kind.EXTRA,
                number,
                "the chain does not have this record: it was cut, or replaced",
                place=place,
                expected=self._end() if number >= self._chain.end else "",
                found=f"head {head}",
            )
            return
        own = head == self._chain.digest(at)
        if number == 0 and own and self._counted and not self._own:
            self._begin_anew(place)
        self._own |= own
        self._counted += 1
        self._latest = number
        if self._seen[at]:
            self._repeated += 1
        self._seen[at] = 1
        if not own:
            self._found.add(
                Kind.DIFFERS,
                number,
                "another record",
                place=place,
                expected=f"head {self._chain.digest(at)}",
                found=f"head {head}",
            )
        elif not self._chain.looks_like(at, entry):
            self._name_fields(number, entry, place)

    def _end(self) -> str:
        end = self._chain.end
        said = f"the end after {counted(end, 'record')}"
        return said + (f", with head {self._chain.digest(len(self._chain) - 1)}" if end else "")

    def _begin_anew(self, place: str) -> None:
        """Leave what came before the chain's own beginning: it is of another chain."""
        self._found = Discrepancies()
        self._found.add(
            Kind.EXTRA,
            None,
            f"{counted(self._counted, 'entry', 'entries')} of another chain, before this one began:"
            " it was replaced (journalctl --since leaves that out)",
            place=place,
        )
        self._seen = bytearray(len(self._chain))
        self._drops.clear()
        self._repeated = self._counted = 0

    def _name_fields(self, number: int, entry: Entry, place: str) -> None:
        expected = self._chain.fields(number)
        for field in FIELDS:
            if expected.get(field) != entry.get(field):
                self._found.add(
                    Kind.DIFFERS,
                    number,
                    f"{field} is not what the record says",
                    place=place,
                    expected=expected.get(field, "nothing"),
                    found=entry.get(field, "nothing"),
                )

    def finish(self, source: str, unread: list[str]) -> Comparison:
        """Tell what is missing, and why where that can be known."""
        notes: list[str] = []
        unread = [*unread, *self._chain.unread]
        first, end = self._seen.find(1), self._seen.rfind(1) + 1
        if first < 0 and (self._unknown or (self._chain.lost and not len(self._chain))):
            notes.append("no entry is of a record that can be read")
        elif first < 0:
            self._found.add(
                Kind.MISSING,
                0,
                f"no entry with uid {self._sender.uid} is of this chain",
                last=self._chain.end - 1,
            )
        else:
            if first > 0:
                begin, _ = self._chain.row_at(first)
                notes.append(f"the journal begins at record {begin}: older entries were deleted")
            if end < len(self._chain):
                last, _ = self._chain.row_at(end - 1)
                notes.append(
                    f"the journal ends at record {last}, {len(self._chain) - end} before the"
                    " chain: it was exported earlier, or they are not there yet"
                )
            for begin, last in self._gaps(first, end):
                self._explain(begin, last, notes, unread)
            if self._unnamed:
                notes.append(f"more gaps with such a reason: {self._unnamed}")
        if self._unknown:
            notes.append(f"entries whose records can't be read: {self._unknown}")
        if self._repeated:
            notes.append(f"entries that are there more than once: {self._repeated}")
        if self._strangers:
            named = ", ".join(
                f"{who} ({times})" for who, times in self._strangers.most_common(_STRANGERS_NAMED)
            )
            notes.append(f"others claim to be an executor, and are no evidence: {named}")
        return Comparison(
            source=source,
            compared=self._seen.count(1),
            notes=notes,
            total=self._found.total,
            counts=self._found.counts,
            discrepancies=self._found.kept,
            unread=unread,
        )

    def _gaps(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the records without an entry, each row of them as its first and last number.

        Taken are those between two places; what can't be read ends a row.
        """
        at = self._seen.find(0, first, end)
        while at >= 0:
            begin, furthest = self._chain.row_at(at)
            last = min(begin + self._seen.find(1, at, end) - at - 1, furthest)
            yield begin, last
            at = self._seen.find(0, at + last - begin + 1, end)

    def _explain(self, begin: int, last: int, notes: list[str], unread: list[str]) -> None:
        """Tell why records have no entry, or that they are missing."""
        missing = last - begin + 1
        dropped = self._drops[begin - 1]
        which = f"record {begin}" if missing == 1 else f"records {begin} to {last}"
        said_by = self._said_unsent(begin, last)
        if said_by is not None:
            self._name(notes, f"{which}: journald did not take them, as record {said_by} says")
        elif missing <= dropped:
            self._name(notes, f"{which}: dropped by journald's rate limit, which says so")
        elif self._chain.lost.after(last):
            why = "not in the journal, and why may be in what can't be read"
            self._name(unread, f"{which}: {why}")
        else:
            said = f", which says that it dropped {dropped} there" if dropped else ""
            self._found.add(Kind.MISSING, begin, f"not in the journal{said}", last=last)

    def _name(self, named: list[str], text: str) -> None:
        if len(named) < KEPT:
            named.append(text)
        else:
            self._unnamed += 1

    def _said_unsent(self, begin: int, last: int) -> int | None:
        """Return the record that says that journald took no entry from one record to another."""
        at = bisect_right(self._unsent, begin, key=itemgetter(0)) - 1
        _, reach, said_by = self._unsent[at] if at >= 0 else (0, 0, 0)
        return said_by if last < reach else None


def _number(text: str | None) -> int | None:
    if text is None or not _NUMBER.match(text):
        return None
    number = int(text)
    return number if number <= EXACT_INTEGER else None
