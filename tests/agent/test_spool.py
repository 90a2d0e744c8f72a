# SPDX-License-Identifier: MIT
"""Output on its way to an attachment: on disk, counted exactly, and cut where a limit asks."""

import os
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings

from tests.mounts import mount_memory, private_mounts
from tibet_nc_agent.excerpt import EDGE_BYTES
from tibet_nc_agent.spool import Spool, prepare


@given(st.lists(st.binary(max_size=40_000), max_size=4), st.none() | st.integers(0, 50_000))
@example([b"x" * 99, b"y"], 49)
@example([b"x" * 99], 99)
@example([b"x\n", b"y\n"], None)
@example([b"x" * EDGE_BYTES, b"y\n"], None)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_pieces_are_the_output(tmp_path: Path, writes: list[bytes], limit: int | None) -> None:
    """The pieces are none longer than the limit, as few as can be, and together all of it (I12).

    What is told of it fits: its lines, and its two ends.
    """
    whole = b"".join(writes)
    with Spool(tmp_path) as spool:
        for data in writes:
            spool.write(data)
        pieces = spool.pieces(limit)
        stored = spool.path.read_bytes()
    assert stored == whole
    assert b"".join(stored[start : start + size] for start, size in pieces) == whole
    if limit:
        assert all(size <= limit for _, size in pieces)
        assert len(pieces) == max(1, -(-len(whole) // limit))
    else:
        assert pieces == [(0, len(whole))]
    assert spool.lines == whole.count(b"\n") + (whole[-1:] not in {b"", b"\n"})
    assert spool.head == whole[:EDGE_BYTES]
    assert spool.tail == whole[-EDGE_BYTES:]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small disk")
def test_a_full_disk_gets_its_room_back(tmp_path: Path) -> None:
    """Output that doesn't fit on the disk doesn't stay there."""

    def fill() -> None:
        with Spool(tmp_path) as spool:
            for _ in range(40):
                spool.write(b"x" * 5000)

    with private_mounts():
        mount_memory(tmp_path, "size=128k")
        with pytest.raises(OSError, match="No space left"):
            fill()
        assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    """Output doesn't lie about for ever, and nobody else may read it."""
    directory = prepare(tmp_path)
    assert directory.stat().st_mode & 0o077 == 0
    spool = Spool(directory)
    spool.write(b"secret")
    assert spool.path.stat().st_mode & 0o077 == 0
    assert list(prepare(tmp_path).iterdir()) == []
    with pytest.raises(FileNotFoundError):
        spool.__exit__(None, None, None)
