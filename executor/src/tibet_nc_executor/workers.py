# SPDX-License-Identifier: MIT
"""Threads for what may block, such as a sync of the disk; all of them exist from the start.

A pool makes a thread when there is work for it. That fails when commands have taken all the
processes that the unit may have, and then a record would never be on the disk, nor anybody told.
"""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from tibet_nc_executor.errors import ConfigError

COUNT: Final = 2  # one syncs the chain; the other deletes old recordings
_START_S: Final = 5.0


class _Loop(asyncio.SelectorEventLoop):
    """An event loop with its threads; asyncio would need one more to end them."""

    def __init__(self, workers: ThreadPoolExecutor) -> None:
        super().__init__()
        self._workers = workers
        self.set_default_executor(workers)

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - as asyncio has it
    ) -> None:
        """End the threads, when they have done what they were given."""
        self._workers.shutdown()


def loop() -> asyncio.AbstractEventLoop:
    """Return an event loop with its threads; raises ConfigError if they can't be had."""
    return _Loop(_workers())


@contextmanager
def thread_wanted() -> Generator[None]:
    """Raise ConfigError if a thread that is started here can't be had."""
    try:
        yield
    except RuntimeError:
        raise ConfigError(
            "no thread can be started: allow it more with TasksMax= and LimitNPROC= of its unit"
        ) from None


def _workers() -> ThreadPoolExecutor:
    """Return a pool that never has to make a thread."""
    pool = ThreadPoolExecutor(COUNT, thread_name_prefix="worker")
    together = threading.Barrier(COUNT, timeout=_START_S)  # none does the other's part as well
    with thread_wanted():
        try:
            started = [pool.submit(together.wait) for _ in range(COUNT)]
        except RuntimeError:
            together.abort()  # nobody joins the one that waits
            raise
        for one in started:
            one.result()
    return pool
