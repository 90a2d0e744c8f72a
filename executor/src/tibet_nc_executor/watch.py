# SPDX-License-Identifier: MIT
"""When a child has ended, as its process descriptor tells, and waiting for it without blocking.

A child's tracer is told before its parent is. What the tracer doesn't wait for the parent can't
wait for either, although the descriptor says that the child has ended. Whoever may trace a child
makes that last for as long as it likes, so nothing here relies on it: there is a look now and then,
and a limit where one waits.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_AGAIN_S: Final = 0.05  # how often one is looked at that has ended and can't be waited for


class Watch:
    """Tells once when a child has ended and can be waited for; the child stays until it is."""

    def __init__(self, pidfd: int, tell: Callable[[os.waitid_result], None]) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._pidfd: Final = pidfd
        self._tell: Final = tell
        self._again: asyncio.TimerHandle | None = None
        self._loop.add_reader(pidfd, self._look)

    def _look(self) -> None:
        self._loop.remove_reader(self._pidfd)
        result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result is None:
            self._again = self._loop.call_later(_AGAIN_S, self._look)
        else:
            self._again = None
            self._tell(result)

    def close(self) -> None:
        """Tell nobody any more; to be called before the descriptor is closed."""
        self._loop.remove_reader(self._pidfd)
        if self._again is not None:
            self._again.cancel()


async def ended(pidfd: int, limit_s: float) -> bool:
    """Wait until a child can be waited for, at most so many seconds; say whether it can."""
    over = asyncio.Event()
    watch = Watch(pidfd, lambda _: over.set())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await over.wait()
    finally:
        watch.close()
    return over.is_set()


def reaped(process: subprocess.Popen[bytes]) -> bool:
    """Wait for a child that was killed, if that can be done now; say whether it was.

    Otherwise it is left to whoever waits for strangers (children.py). It must not be waited for by
    its Popen later, when its id may be another child's.
    """
    if process.poll() is not None:
        return True
    process.returncode = -signal.SIGKILL
    return False
