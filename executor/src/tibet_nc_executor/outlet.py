# SPDX-License-Identifier: MIT
"""What comes out of a command's terminal, handed on byte for byte, and cut where it must be cut.

A fence (fence.py) is the cut. With nobody left on the terminal it is the end of the output. With
processes that go on it is the line between what the command printed and what they print later:
bytes before it go to the old consumer, bytes after it to the new one, and none to both.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from tibet_nc_executor.fence import TOKEN_BYTES, FenceScanner, framed
from tibet_nc_executor.terminal import HangUpError, Terminal

_COMPLAINT_BYTES: Final = 200  # of what setpriv and its like say when they cannot go on

type OnOutput = Callable[[bytes], None]


class Outlet:
    """Reads a terminal while the event loop turns, and gives what it reads to a consumer.

    `heard` is called whenever there was output, `failed` when the consumer raised an exception: it
    is kept as `failure`, and nothing more is handed on.
    """

    def __init__(
        self,
        terminal: Terminal,
        consumer: OnOutput,
        *,
        heard: Callable[[], None],
        failed: Callable[[], None],
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._terminal: Final = terminal
        self._consumer = consumer
        self._heard: Final = heard
        self._failed: Final = failed
        self._scanner: FenceScanner | None = None
        self._next: OnOutput | None = None
        self._unwritten = b""
        self._readable = asyncio.Event()
        self.failure: Exception | None = None
        self.hung_up = False
        """Whether the terminal broke, so that output may be missing."""
        self.first_words = b""
        """The very first bytes."""
        self._loop.add_reader(terminal, self._read)

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._terminal)

    async def cut(self, within_s: float, then: OnOutput | None = None) -> bool:
        """Hand on all that was printed before now; what comes later goes to `then`, if given.

        Return False if that was not possible in the time: nothing was cut, and all that can be had
        was or will be given to the old consumer.
        """
        try:
            self._terminal.restore()
            async with asyncio.timeout(within_s):
                await self._through()  # one that did not get through in its time
                token = secrets.token_bytes(TOKEN_BYTES)
                self._scanner, self._unwritten = FenceScanner(token), framed(token)
                self._next = then
                await self._through()
        except (OSError, TimeoutError):
            pass
        if self._scanner is None:
            return True
        self._next = None
        return False

    def rest(self) -> None:
        """Hand on what was held back because it might have been a fence, which never came."""
        if self._scanner is not None:
            self._deliver(self._scanner.rest())
            self._scanner = None

    async def _through(self) -> None:
        """Write the fence and wait until it has come out."""
        while self._scanner is not None and not self.hung_up:
            self._unwritten = self._unwritten[self._terminal.mark(self._unwritten) :]
            self._readable.clear()
            await self._readable.wait()

    def _read(self) -> None:
        try:
            data = self._terminal.read()
        except HangUpError:
            self.hung_up = True
            self._loop.remove_reader(self._terminal)
            return
        finally:
            self._readable.set()
        if not data:
            return
        self._heard()
        scanner = self._scanner
        if scanner is None:
            self._deliver(data)
            return
        self._deliver(scanner.feed(data))
        if scanner.found:
            self._scanner = None
            self._consumer = self._next or self._consumer
            self._deliver(scanner.after)

    def _deliver(self, data: bytes) -> None:
        if not data or self.failure is not None:
            return
        if len(self.first_words) < _COMPLAINT_BYTES:
            self.first_words += data[:_COMPLAINT_BYTES]
        try:
            self._consumer(data)
        except Exception as error:
            self.failure = error
            self._failed()
