# SPDX-License-Identifier: MIT
"""The disk, waited for without holding up the event loop for long.

Handing a call to a thread and back takes as long as a fast disk takes to sync, or longer when the
machine is busy. So while calls mostly return within some milliseconds they are made at once, and
by a thread when they don't.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

AT_ONCE_SECONDS: Final = 0.003


class Disk:
    """Runs blocking calls one after the other, in the order in which they were made."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")
        self._last: Future[Any] | None = None
        self._usual_s = AT_ONCE_SECONDS

    async def __call__[**P, T](self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call returns, or raise what it raises.

        A call is made even when the one who waits for it is cancelled before its turn comes.
        """

        def timed() -> T:
            begin = time.monotonic()
            try:
                return call(*args, **kwargs)
            finally:
                took = time.monotonic() - begin
                self._usual_s = min((self._usual_s + took) / 2, 2 * AT_ONCE_SECONDS)

        if self._usual_s < AT_ONCE_SECONDS and (self._last is None or self._last.done()):
            return timed()
        self._last = last = self._thread.submit(timed)
        return await asyncio.shield(asyncio.wrap_future(last))

    def close(self) -> None:
        """Wait for all calls."""
        self._thread.shutdown()
