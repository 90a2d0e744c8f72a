# SPDX-License-Identifier: MIT
"""Recordings that are kept no longer: the oldest go first, and the chain says so (SPEC §9).

It is recorded before anything is deleted. A crash in between leaves recordings that are on record
as deleted and go with the next sweep; never one that vanished without a record.
"""

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tibet_nc_executor.archive import Archive
from tibet_nc_executor.durable import sync_directory
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.printing import say
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.layout import recording_name, remainder_name
from tibet_nc_protocol.messages import Job
from tibet_nc_protocol.records import SecurityEvent

DAY_S: Final = 24 * 3600

_NAME: Final = re.compile(r"\A([0-9]{12})(\.remainder)?\.cast\Z")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """For how many seconds and up to how many bytes recordings are kept; 0 is without end."""

    seconds: int
    bytes: int

    def __str__(self) -> str:
        """Say it for the record."""
        parts = [counted(self.seconds // DAY_S, "day")] if self.seconds else []
        parts += [f"{counted(self.bytes, 'byte')} in all"] if self.bytes else []
        return " and ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The recordings of one command: their size, and when they were last written to."""

    number: int
    bytes: int
    written: float


def expired(kept: Sequence[Kept], limits: Limits, now: float, below: int) -> list[Kept]:
    """Return which recordings go; they are the first of ``kept``, which is ordered by number.

    Those from the number ``below`` on stay, but count. Age ends with the first that is young.
    """
    surplus = sum(item.bytes for item in kept) - limits.bytes if limits.bytes else 0
    gone: list[Kept] = []
    for item in kept:
        old = limits.seconds and item.written < now - limits.seconds
        if item.number >= below or not (old or surplus > 0):
            break
        surplus -= item.bytes
        gone.append(item)
    return gone


class Retention:
    """Sees to it that recordings are kept no longer than the settings say."""

    def __init__(
        self,
        archive: Archive,
        directory: Path,
        limits: Limits,
        *,
        jobs: Callable[[], Sequence[Job]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._directory = directory
        self._limits = limits
        self._jobs = jobs
        self._clock = clock
        self._due = asyncio.Event()
        archive.on_checkpoint.append(lambda _: self._due.set())

    async def sweep_regularly(self) -> None:
        """Sweep now and after each checkpoint; what fails is said, and tried again then."""
        if not (self._limits.seconds or self._limits.bytes):
            return
        while True:
            try:
                await self.sweep()
            except (LedgerError, OSError) as error:
                say(f"recordings stay for now: {error}")
            await self._due.wait()
            self._due.clear()

    async def sweep(self) -> None:
        """Record and delete what is kept no longer; raises LedgerError or OSError."""
        # What runs now, or begins meanwhile, has a number that is not below this one.
        below = min([self._archive.index.length, *(job.number for job in self._jobs())])
        kept = await asyncio.to_thread(_kept, self._directory)
        gone = expired(kept, self._limits, self._clock(), below)
        if not gone:
            return
        size = sum(item.bytes for item in gone)
        await self._archive.security(
            SecurityEvent.RETENTION,
            f"recordings of {counted(len(gone), 'command')} up to #{gone[-1].number},"
            f" {counted(size, 'byte')}, are deleted: kept are {self._limits}",
            number=gone[-1].number,
        )
        await asyncio.to_thread(_delete, self._directory, [item.number for item in gone])


def _kept(directory: Path) -> list[Kept]:
    """Return what is there, ordered by number; raises OSError."""
    found: dict[int, Kept] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.match(entry.name)
            if match is None:
                continue
            number, status = int(match[1]), entry.stat(follow_symlinks=False)
            before = found.get(number, Kept(number=number, bytes=0, written=0.0))
            found[number] = Kept(
                number=number,
                bytes=before.bytes + status.st_size,
                written=max(before.written, status.st_mtime),
            )
    return [found[number] for number in sorted(found)]


def _delete(directory: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        for name in (recording_name(number), remainder_name(number)):
            with suppress(FileNotFoundError):
                (directory / name).unlink()
    sync_directory(directory)
