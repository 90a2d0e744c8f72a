# SPDX-License-Identifier: MIT
"""Calls that wait for the disk: in order, one at a time, at once or by a thread."""

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from tibet_nc_agent.disk import Disk


def slow() -> int:
    """Take as long as a disk with a moving arm; return the thread that did."""
    time.sleep(0.02)
    return threading.get_ident()


async def mostly_here(disk: Disk, call: Callable[[], int]) -> bool:
    """Make a call until the disk has made up its mind about it; say if that was mostly at once.

    Not always: a busy machine may hold up any of them.
    """
    threads = [await disk(call) for _ in range(20)]
    return threads.count(threading.get_ident()) > len(threads) / 2


async def test_quick_calls_are_made_at_once() -> None:
    """What mostly returns at once is called without a thread; what doesn't is called by one."""
    disk = Disk()
    assert await mostly_here(disk, threading.get_ident)
    assert not await mostly_here(disk, slow)
    assert await mostly_here(disk, threading.get_ident)
    disk.close()


async def test_calls_keep_their_order() -> None:
    """A quick call doesn't overtake one that a thread still makes, nor run beside it."""
    disk, made = Disk(), list[int]()
    await mostly_here(disk, threading.get_ident)

    def first() -> None:
        time.sleep(0.05)
        made.append(1)

    await mostly_here(disk, slow)
    waiting = asyncio.create_task(disk(first))
    await asyncio.sleep(0)
    disk._usual_s = 0.0  # as if all before had been quick
    await disk(made.append, 2)
    await waiting
    assert made == [1, 2]
    disk.close()


async def test_a_call_is_made_whoever_waits_for_it() -> None:
    """A stop takes nothing back from the disk, so that what was sent is noted as sent (I4)."""
    disk, gate, made = Disk(), threading.Event(), list[int]()
    holding = asyncio.create_task(disk(gate.wait))
    waiting = asyncio.create_task(disk(made.append, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    gate.set()
    await holding
    disk.close()
    assert made == [1]


async def test_errors_come_back() -> None:
    """What a call raises is raised to the one who waits for it, from either place."""
    disk = Disk()
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            await disk(lambda: 1 // 0)
    disk.close()
