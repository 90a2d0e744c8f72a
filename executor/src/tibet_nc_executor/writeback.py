# SPDX-License-Identifier: MIT
"""Getting a file on the disk while it grows, so that its last sync holds nobody up.

The ledger syncs what a record speaks of together with the record, mostly here and now, and no other
session goes on meanwhile. That is right for a few lines and wrong for a recording of megabytes.
"""

import asyncio
import os
from contextlib import suppress
from typing import Final

STEP_BYTES: Final = 8 * 1024 * 1024
"""What is written between two syncs of a file that grows."""
REST_BYTES: Final = 256 * 1024
"""What may be left for the last one."""


class Writeback:
    """Syncs one file in a thread, one time after the other."""

    def __init__(self) -> None:
        self._unsynced = 0
        self._syncing: asyncio.Task[None] | None = None

    def wrote(self, descriptor: int, count: int) -> None:
        """Take notice of bytes that were written to the file."""
        self._unsynced += count
        if self._unsynced >= STEP_BYTES and (self._syncing is None or _went_well(self._syncing)):
            self._sync(descriptor)

    async def settle(self, descriptor: int) -> None:
        """Return when nearly all is on the disk; raises OSError if any sync failed.

        The kernel tells of a failure once, so what it said on the way counts.
        """
        if self._syncing is not None:
            await self._syncing
        if self._unsynced > REST_BYTES:
            self._sync(descriptor)
            if self._syncing is not None:
                await self._syncing

    def _sync(self, descriptor: int) -> None:
        with suppress(OSError):  # out of descriptors: later, then, with the record at the latest
            # A duplicate, so that whoever gave the file may close it at any time.
            syncing = asyncio.to_thread(_sync_and_close, os.dup(descriptor))
            self._unsynced = 0
            self._syncing = asyncio.create_task(syncing)


def _went_well(syncing: asyncio.Task[None]) -> bool:
    return syncing.done() and syncing.exception() is None


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
