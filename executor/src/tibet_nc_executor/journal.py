# SPDX-License-Identifier: MIT
"""Every record also goes to journald, which the auditor can query and compare.

A hung journald blocks its senders, so sending is done by a thread with a queue of its own: the
chain is the record, the journal a copy. What could not be sent is counted, and told when journald
is back.
"""

import queue
import sys
import threading
from typing import Final

from systemd import journal

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

QUEUE_RECORDS: Final = 10_000
"""Records that wait while journald hangs, about 10 MB; more are counted as lost."""

_WARNING: Final = 4
_NOTICE: Final = 5
_INFO: Final = 6


class Journal:
    """Sends records to journald, in order, from a thread."""

    def __init__(self) -> None:
        self._queue: queue.Queue[dict[str, str] | None] = queue.Queue(QUEUE_RECORDS)
        self._thread = threading.Thread(target=self._send_all, name="journal", daemon=True)
        self._thread.start()
        self.lost = 0
        """Records that journald never got."""

    def send(self, record: Record, head: str) -> None:
        """Queue one record; never blocks."""
        try:
            self._queue.put_nowait(fields(record, head))
        except queue.Full:
            self.lost += 1

    def close(self, timeout: float = 2.0) -> None:
        """Send what is queued, for at most this many seconds."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)

    def _send_all(self) -> None:
        down = False
        while (entry := self._queue.get()) is not None:
            try:
                journal.send(**entry)
            except OSError as error:
                self.lost += 1
                if not down:
                    sys.stderr.write(f"journald does not take records ({error}); chain goes on\n")
                down = True
                continue
            if down:
                sys.stderr.write(f"journald is back; {self.lost} records are only in the chain\n")
                down = False


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
        more["TIBET_NC_EXIT"] = ending(record)
    return entry | {name: value for name, value in more.items() if value is not None}


def summary(record: Record) -> str:
    """Return one line for people, without the text of any command."""
    match record:
        case Genesis():
            return f"chain of {record.executor} on {record.host} begins"
        case Intent():
            return f"{record.sender} runs a command in {record.room}"
        case Outcome():
            return f"command #{record.intent} ended: {ending(record)}, {record.reason}"
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
            return f"checkpoint of {record.size} records, root {record.root}"
        case Session():
            return f"session {record.session} of {record.sender} {record.state}: {record.detail}"


def ending(record: Outcome) -> str:
    """Return the exit status as a number, or the signal as ``signal N``."""
    return f"signal {record.signal}" if record.exit is None else str(record.exit)


def _priority(record: Record) -> int:
    if isinstance(record, Security | Aborted | Key):
        return _WARNING
    return _NOTICE if isinstance(record, Refusal) else _INFO
