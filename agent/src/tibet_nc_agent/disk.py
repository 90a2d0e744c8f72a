# SPDX-License-Identifier: MIT
"""The one thread that waits for the disk, so that the event loop doesn't."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Disk:
    """Runs blocking calls one after the other, in the order in which they were made."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")

    async def __call__[**P, T](self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a call returns, or raise what it raises.

        A call that has begun ends, even when the one who waits for it is cancelled.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """Wait for what was begun."""
        self._thread.shutdown()
