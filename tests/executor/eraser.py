# SPDX-License-Identifier: MIT
"""A program that erases the text of record 1 and says so on a socket.

python eraser.py DIRECTORY SOCKET_FD
"""

import asyncio
import socket
import sys
from pathlib import Path

# The directory above tests/, whatever the program was started from.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.executor import chainkit as kit


async def erase(directory: Path, say: socket.socket) -> None:
    """Open the ledger and erase."""
    ledger = kit.open_ledger(directory, segment_bytes=2000)
    try:
        ledger.erase_text(1)
    except OSError as error:
        say.send(f"refused {error.strerror}\n".encode())
    else:
        say.send(b"erased\n")
    await ledger.close()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[2])) as channel:
        asyncio.run(erase(Path(sys.argv[1]), channel))
