# SPDX-License-Identifier: MIT
"""Which files a sweep of the recordings deletes, and when there is one."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from tests.executor.chainkit import IDENTITY, OPERATOR, verify
from tests.executor.shell.driver import until
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.retention import Limits, Retention
from tibet_nc_protocol.layout import RECORDINGS, recording_name, remainder_name
from tibet_nc_protocol.messages import Job
from tibet_nc_protocol.records import Security, SecurityEvent

BYTES = 100
NOW = time.time()


@pytest_asyncio.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """Make a chain of twenty records."""
    made = Archive(
        tmp_path, IDENTITY, clock=time.time, segment_bytes=1 << 20, checkpoint_records=1000
    )
    await made.begin(host="host", version="0", agent_key=IDENTITY.public_key)
    while made.length < 20:
        await made.security(SecurityEvent.AGENT, "one more")
    (tmp_path / RECORDINGS).mkdir()
    yield made
    await made.close()


def job(number: int) -> Job:
    """Return what is said of a command that runs."""
    return Job(number=number, sender=OPERATOR, seconds=0, output_bytes=0, command="x", left=0)


def record(folder: Path, *names: str, age_s: float = 0.0) -> None:
    """Write recordings that were last written to so long ago."""
    for name in names:
        (folder / name).write_bytes(bytes(BYTES))
        os.utime(folder / name, (NOW - age_s, NOW - age_s))


def retention(
    archive: Archive, folder: Path, limits: Limits, jobs: Sequence[Job] = ()
) -> Retention:
    """Return the retention of some limits while some commands run."""
    return Retention(archive, folder, limits, jobs=lambda: jobs, clock=lambda: NOW)


def there(folder: Path) -> list[str]:
    """Return what is there."""
    return sorted(path.name for path in folder.iterdir())


def deletions(folder: Path) -> list[str]:
    """Return what is on record as deleted."""
    return [
        record.detail
        for record in verify(folder.parent)
        if isinstance(record, Security) and record.what is SecurityEvent.RETENTION
    ]


@pytest.fixture
def folder(tmp_path: Path, archive: Archive) -> Path:
    """Return where the recordings are."""
    del archive  # it has made the directory
    return tmp_path / RECORDINGS


async def test_what_runs_keeps_what_it_writes(archive: Archive, folder: Path) -> None:
    """Nothing of a command that runs goes, nor of a later one, nor what no record is about yet."""
    names = [recording_name(number) for number in (2, 4, 6, 8, 19, 30, 31)]
    record(folder, *names)
    over = Limits(seconds=0, bytes=1)
    await retention(archive, folder, over, [job(9), job(6)]).sweep()
    assert there(folder) == names[2:]
    await retention(archive, folder, over).sweep()
    assert there(folder) == names[5:]


async def test_a_remainder_goes_and_counts_with_its_command(archive: Archive, folder: Path) -> None:
    """Both recordings of a command are one: in bytes, in age, in going, and on record."""
    first, second = (recording_name(2), remainder_name(2)), (recording_name(4), remainder_name(4))
    record(folder, *first, *second)
    await retention(archive, folder, Limits(seconds=0, bytes=3 * BYTES)).sweep()
    assert there(folder) == sorted(second)
    kept = f"kept are {3 * BYTES} bytes in all"
    deleted = f"recordings of 1 command up to #2, {2 * BYTES} bytes, are deleted: {kept}"
    assert deletions(folder) == [deleted]
    for young, old in (second, second[::-1]):
        record(folder, young, age_s=1)
        record(folder, old, age_s=1000)
        await retention(archive, folder, Limits(seconds=100, bytes=0)).sweep()
        assert there(folder) == sorted(second)
    record(folder, *second, age_s=1000)
    await retention(archive, folder, Limits(seconds=100, bytes=0)).sweep()
    assert there(folder) == []


async def test_what_is_no_recording_stays(archive: Archive, folder: Path) -> None:
    """A file of another name is neither deleted nor counted."""
    others = ["2.cast", "000000000002.cast.txt", "x000000000002.cast", "000000000002.remainder"]
    record(folder, *others, recording_name(4))
    await retention(archive, folder, Limits(seconds=0, bytes=BYTES)).sweep()
    assert there(folder) == sorted([*others, recording_name(4)])
    assert deletions(folder) == []


async def test_there_is_one_sweep_for_a_checkpoint(archive: Archive, folder: Path) -> None:
    """It sweeps at the start and after each checkpoint, and does nothing in between."""
    looks = 0

    def jobs() -> Sequence[Job]:
        nonlocal looks
        looks += 1
        return ()

    def looked(times: int) -> bool:
        return looks >= times

    duty = asyncio.create_task(
        Retention(archive, folder, Limits(seconds=0, bytes=1), jobs=jobs).sweep_regularly()
    )
    for expected in (1, 2, 3):
        await until(partial(looked, expected))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert looks == expected
        await archive.security(SecurityEvent.AGENT, "so that there is something new")
        await archive.checkpoint()
    duty.cancel()
    await asyncio.gather(duty, return_exceptions=True)


@pytest.mark.parametrize("limits", [Limits(seconds=100, bytes=0), Limits(seconds=0, bytes=1)])
async def test_either_limit_alone_has_what_is_beyond_it_swept(
    archive: Archive, folder: Path, limits: Limits
) -> None:
    """Who sets only an age, or only a size, has recordings deleted without asking for it."""
    record(folder, recording_name(2), age_s=1000)
    duty = asyncio.create_task(retention(archive, folder, limits).sweep_regularly())
    await until(lambda: there(folder) == [])
    duty.cancel()
    await asyncio.gather(duty, return_exceptions=True)


async def test_without_limits_there_is_no_sweep(archive: Archive, folder: Path) -> None:
    """Recordings are kept for ever unless the settings say something else."""
    record(folder, recording_name(2), age_s=1e8)
    await asyncio.wait_for(
        retention(archive, folder, Limits(seconds=0, bytes=0)).sweep_regularly(), 20
    )
    assert there(folder) == [recording_name(2)]
