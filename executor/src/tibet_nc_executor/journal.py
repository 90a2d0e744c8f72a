# SPDX-License-Identifier: MIT
"""Every record also goes to journald, which the auditor can query and compare.

A hung journald blocks its senders, so sending is done by a thread with a queue of its own: the
chain is the record, the journal a copy. It sends by itself, in journald's native protocol
(systemd's JOURNAL_NATIVE_PROTOCOL): systemd-python keeps the interpreter's lock while libsystemd
waits for journald, and the whole executor would wait. What could not be sent is a gap, of which
whoever asked is told when journald is back: an auditor must not take it for entries that somebody
removed. What was still to be sent, or to be told, when the executor was killed is sent again when
the next one starts.
"""

import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tibet_nc_executor.printing import say
from tibet_nc_executor.workers import thread_wanted
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.journal_ids import MESSAGE_IDS, SYSLOG_IDENTIFIER
from tibet_nc_protocol.records import (
    Aborted,
    Checkpoint,
    Genesis,
    Intent,
    Key,
    Outcome,
    Record,
    Refusal,
    Remainder,
    Security,
    Session,
)
from tibet_nc_protocol.terms import ending_of

QUEUE_RECORDS: Final = 10_000
"""Records that wait while journald hangs, about 10 MB; more are counted as lost."""

SOCKET: Final = "/run/systemd/journal/socket"
"""Where journald listens."""

_WARNING: Final = 4
_NOTICE: Final = 5
_INFO: Final = 6


@dataclass(frozen=True, kw_only=True)
class Gap:
    """Records whose entries journald did not take: how many, the first and the last."""

    count: int
    first: int
    last: int

    def __str__(self) -> str:
        """Say it for the record."""
        return (
            f"journald did not take {counted(self.count, 'entry', 'entries')}, of records"
            f" #{self.first} to #{self.last}"
        )


class Journal:
    """Sends records to journald, in order, from a thread."""

    def __init__(self, on_gap: Callable[[Gap], None], *, begin: int) -> None:
        """Begin with this record; raises ConfigError if the thread can't be had.

        ``on_gap`` is called by the thread when journald takes entries again after a gap.
        """
        self._queue: queue.Queue[tuple[int, dict[str, str]] | None] = queue.Queue(QUEUE_RECORDS)
        self._on_gap = on_gap
        self._guard = threading.Lock()
        self._gap: Gap | None = None
        self._settled = begin
        self._given = begin
        self._thread = threading.Thread(target=self._send_all, name="journal", daemon=True)
        with thread_wanted():
            self._thread.start()

    @property
    def gap(self) -> Gap | None:
        """What journald did not take and nobody was told of yet."""
        with self._guard:
            return self._gap

    @property
    def settled(self) -> int:
        """The first record of which journald has no entry and nobody was told so."""
        with self._guard:
            return self._settled if self._gap is None else min(self._settled, self._gap.first)

    @property
    def behind(self) -> bool:
        """Whether the thread has not come to all that it was given."""
        return self._settled < self._given

    def send(self, record: Record, head: str) -> None:
        """Queue one record; never blocks."""
        try:
            self._queue.put_nowait((record.seq, fields(record, head)))
        except queue.Full:
            self._miss(record.seq)
        else:
            self._given = record.seq + 1

    def close(self, timeout: float = 2.0) -> Gap | None:
        """Send what is queued, for at most this many seconds; return what was not sent."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            pass
        else:
            self._thread.join(timeout)
        if self._thread.is_alive():  # what is still queued, and perhaps the one that is being sent
            with self._queue.mutex:
                waiting = [entry[0] for entry in self._queue.queue if entry is not None]
            for number in waiting:
                self._miss(number)
        return self.gap

    def _send_all(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            down = False
            while (entry := self._queue.get()) is not None:
                number, values = entry
                try:
                    sender.sendto(_datagram(values), SOCKET)
                except OSError as error:
                    self._miss(number)
                    if not down:
                        reason = error.strerror
                        say(f"journald does not take records ({reason}); the chain goes on")
                    down = True
                    continue
                finally:
                    self._settled = number + 1
                if down:
                    say("journald takes records again")
                    down = False
                # While the queue is full, records of gaps would make more of them.
                if self._gap is not None and self._queue.qsize() < QUEUE_RECORDS // 2:
                    self._tell_gap()

    def _miss(self, number: int) -> None:
        with self._guard:
            gap = self._gap or Gap(count=0, first=number, last=number)
            self._gap = Gap(
                count=gap.count + 1, first=min(gap.first, number), last=max(gap.last, number)
            )

    def _tell_gap(self) -> None:
        with self._guard:  # it is known here until it is known there
            if self._gap is not None:
                self._on_gap(self._gap)
            self._gap = None


def fields(record: Record, head: str) -> dict[str, str]:
    """Return the journal entry of a record."""
    kind = type(record).__name__.lower()
    entry = {
        "MESSAGE": f"#{record.seq} {summary(record)}",
        "MESSAGE_ID": MESSAGE_IDS[kind],
        "PRIORITY": str(_priority(record)),
        "SYSLOG_IDENTIFIER": SYSLOG_IDENTIFIER,
        "TIBET_NC_SEQ": str(record.seq),
        "TIBET_NC_HEAD": head,
        "TIBET_NC_KIND": kind,
    }
    more = {
        "TIBET_NC_SENDER": getattr(record, "sender", None),
        "TIBET_NC_EVENT": getattr(record, "event", None),
        "TIBET_NC_RUN": getattr(record, "run", None),
    }
    if isinstance(record, Checkpoint):
        more["TIBET_NC_CHECKPOINT"] = record.note
    if isinstance(record, Outcome):
        more["TIBET_NC_EXIT"] = ending_of(record.exit, record.signal)
    return entry | {name: value for name, value in more.items() if value is not None}


def _datagram(values: dict[str, str]) -> bytes:
    """Encode an entry, each field in the form that any value can have: its length before it."""
    parts: list[bytes] = []
    for name, text in values.items():
        value = text.encode()
        parts += [name.encode(), b"\n", len(value).to_bytes(8, "little"), value, b"\n"]
    return b"".join(parts)


def summary(record: Record) -> str:
    """Return one line for people, without the text of any command."""
    match record:
        case Genesis():
            return f"chain of {record.executor} on {record.host} begins"
        case Intent():
            return f"{record.sender} runs a command in {record.room}"
        case Outcome():
            ending = ending_of(record.exit, record.signal)
            return f"command #{record.intent} ended: {ending}, {record.reason}"
        case Aborted():
            return f"command #{record.intent} was aborted: {record.detail}"
        case Remainder():
            return f"what command #{record.intent} had left running ended: {record.reason}"
        case Refusal():
            return f"{record.sender} was refused at {record.stage}: {record.detail}"
        case Security():
            return f"security ({record.what}): {record.detail}"
        case Key():
            return f"the chain goes on with the key of {record.executor}"
        case Checkpoint():
            return f"checkpoint of {counted(record.size, 'record')}, root {record.root}"
        case Session():
            return f"session {record.session} of {record.sender} {record.state}: {record.detail}"


def _priority(record: Record) -> int:
    if isinstance(record, Security | Aborted | Key):
        return _WARNING
    return _NOTICE if isinstance(record, Refusal) else _INFO
