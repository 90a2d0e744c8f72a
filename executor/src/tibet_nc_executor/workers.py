# SPDX-License-Identifier: MIT
"""Threads for what may block, such as a sync of the disk; all of them exist from the start.

A pool makes a thread when there is work for it. That fails when commands have taken all the
processes that the unit may have, and then a record would never be on the disk, nor anybody told.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

COUNT: Final = 2  # one syncs the chain; the other deletes old recordings
_START_S: Final = 5.0


def workers() -> ThreadPoolExecutor:
    """Return a pool that never has to make a thread; raises RuntimeError if it can't be made."""
    pool = ThreadPoolExecutor(COUNT, thread_name_prefix="worker")
    together = threading.Barrier(COUNT, timeout=_START_S)  # none does the other's part as well
    for started in [pool.submit(together.wait) for _ in range(COUNT)]:
        started.result()
    return pool
