# SPDX-License-Identifier: MIT
"""A program that writes a small chain and says, on a socket, what it was promised.

    python writer.py DIRECTORY SOCKET_FD thread|once|burst

The last word says how it syncs, whatever the disk is like: by a thread, or at once. In
bursts some commands come at the same time, which share a sync by a thread, over some segments.
``run N`` is sent when record N is said to be on disk, which is when a command would start. The
socket keeps the program's own words apart from its writes to files, which are made to fail.
"""

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import Awaitable
from pathlib import Path

from tibet_nc_executor import ledger as ledger_module
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.ledger import Ledger, Salted
from tibet_nc_protocol.records import Record, commitment

# The directory above tests/, whatever the program was started from.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.executor import chainkit as kit

COMMANDS = 3
BURST = 4
SALT = bytes(16)


async def write(directory: Path, say: socket.socket, *, burst: bool) -> None:
    """Open the ledger, then append commands with their outcomes, over two segments."""
    told: list[int] = []
    try:
        ledger = Ledger(
            directory,
            kit.IDENTITY,
            clock=lambda: 1_790_000_000.0,
            segment_bytes=2000,
            after=lambda record, _head: told.append(record.seq),
        )
    except LedgerError as error:
        say.send(f"closed {error}\n".encode())
        return
    if ledger.length == 0 and await attempt(ledger.append(kit.genesis), say, "genesis") is None:
        return
    if burst:
        for numbers in itertools.batched(range(COMMANDS * BURST), BURST, strict=True):
            await asyncio.gather(*(command(ledger, say, number) for number in numbers))
        return
    for number in range(COMMANDS):
        if (record := await command(ledger, say, number)) is not None:
            outcome = kit.outcome(f"$event{os.getpid()}x{number}", record)
            await attempt(ledger.append(outcome), say, "outcome")


async def command(ledger: Ledger, say: socket.socket, number: int) -> int | None:
    """Append an intent with its text, and say its number when it is on disk; return that."""
    event = f"$event{os.getpid()}x{number}"
    digest = commitment(SALT, event)
    text = Salted(salt=SALT, command=event)
    record = await attempt(
        ledger.append(kit.intent(event, digest), text=text, critical=False), say, "intent"
    )
    if record is not None:
        say.send(f"run {record}\n".encode())
    return record


async def attempt(
    append: Awaitable[tuple[Record, str]], say: socket.socket, what: str
) -> int | None:
    """Return the number of a record that was appended, None when it was refused."""
    try:
        record, _ = await append
    except LedgerError as error:
        say.send(f"refused {what}: {error}\n".encode())
        return None
    return record.seq


if __name__ == "__main__":
    ledger_module.AT_ONCE_S = 1e9 if sys.argv[3] == "once" else 0.0  # type: ignore[misc]
    with socket.socket(fileno=int(sys.argv[2])) as channel:
        asyncio.run(write(Path(sys.argv[1]), channel, burst=sys.argv[3] == "burst"))
