# SPDX-License-Identifier: MIT
"""Acting as another user for a while, within the process of the tests."""

import gc
import os
from collections.abc import Generator
from contextlib import contextmanager

NOBODY = 65534


@contextmanager
def acting_as(uid: int) -> Generator[None]:
    """Have a uid for what the block does; who isn't root has no other, and keeps it.

    What an earlier test left is collected before, and nothing in the block: a semaphore that root
    made can't be removed by anybody else.
    """
    if os.geteuid() != 0:
        yield
        return
    gc.collect()
    gc.disable()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        gc.enable()
