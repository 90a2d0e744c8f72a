# SPDX-License-Identifier: MIT
"""A file that grows is synced on the way, once at a time; what fails there isn't forgotten (I1)."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.injection import descriptors_left, traced
from tests.executor.shell.driver import until
from tibet_nc_executor.writeback import REST_BYTES, STEP_BYTES, Writeback


def opened() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file is."""
    return tmp_path / "file"


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    """Open the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_it_is_synced_once_at_a_time(path: Path, file: int, tmp_path: Path) -> None:
    """While a sync is under way there is no other; what is left is synced last, unless it's little.

    Nothing stays open.
    """
    writeback = Writeback()
    before = opened()
    trace = tmp_path / "trace"
    with traced(os.getpid(), trace, "inject=fdatasync:delay_enter=2s:when=1", [path]):
        writeback.wrote(file, REST_BYTES)
        await writeback.settle(file)
        held = opened()
        writeback.wrote(file, STEP_BYTES)
        assert opened() == held + 1
        for _ in range(3):
            writeback.wrote(file, STEP_BYTES)
        assert opened() == held + 1
        await writeback.settle(file)
        assert opened() == held
        await writeback.settle(file)
    assert trace.read_text().count("fdatasync(") == 2
    assert opened() == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_sync_that_failed_on_the_way_counts(path: Path, file: int, tmp_path: Path) -> None:
    """Though all later ones would go well: the kernel tells of a failure only once."""
    writeback = Writeback()
    before = opened()
    with traced(os.getpid(), tmp_path / "trace", "inject=fdatasync:error=EIO:when=1", [path]):
        held = opened()
        writeback.wrote(file, STEP_BYTES)
        await until(lambda: opened() == held)
        await asyncio.sleep(0.1)  # until the loop knows as well
        writeback.wrote(file, STEP_BYTES)
        with pytest.raises(OSError, match="Input/output error"):
            await writeback.settle(file)
    assert opened() == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_without_descriptors_it_is_synced_later(
    path: Path, file: int, tmp_path: Path
) -> None:
    """That none is left for a sync on the way is no failure of one."""
    writeback = Writeback()
    trace = tmp_path / "trace"
    with traced(os.getpid(), trace, "trace=fdatasync", [path]):
        with descriptors_left(0):
            writeback.wrote(file, STEP_BYTES)
            await writeback.settle(file)
        await writeback.settle(file)
    assert trace.read_text().count("fdatasync(") == 1
