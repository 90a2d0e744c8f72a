# SPDX-License-Identifier: MIT
"""A program that erases a text, then writes another, and says on a socket what was done.

python eraser.py DIRECTORY SOCKET_FD NUMBER
"""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.ledger import Salted
from tibet_nc_protocol.records import commitment

# The directory above tests/, whatever the program was started from.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.executor import chainkit as kit


async def erase(directory: Path, number: int, say: socket.socket) -> None:
    """Open the ledger and erase, then have an intent recorded with its text."""
    ledger = kit.open_ledger(directory)
    try:
        ledger.erase_text(number)
    except OSError as error:
        say.send(f"refused {error.strerror}\n".encode())
    else:
        say.send(b"erased\n")
    text = Salted(salt=os.urandom(16), command="another")
    intent = kit.intent("$another", commitment(text.salt, text.command))
    with suppress(LedgerError):
        record, _ = await ledger.append(intent, text=text)
        say.send(f"run {record.seq}\n".encode())
    await ledger.close()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[2])) as channel:
        asyncio.run(erase(Path(sys.argv[1]), int(sys.argv[3]), channel))
