# SPDX-License-Identifier: MIT
"""The room that is kept is given up on a full disk only, and made again whole (I7)."""

import errno
import os
from pathlib import Path

import pytest

from tibet_nc_executor.reserve import RESERVE_BYTES, Reserve


def sizes(folder: Path) -> dict[str, int]:
    """Return the files that there are, with their sizes."""
    return {path.name: path.stat().st_size for path in folder.iterdir()}


WHOLE = {"reserve": RESERVE_BYTES, "reserve.2": 0}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_gets_the_room_and_a_second_try(tmp_path: Path, code: int) -> None:
    """What finds no room is done once more, when the room that was kept is there."""
    reserve = Reserve(tmp_path / "reserve")
    reserve.make()
    found: list[dict[str, int]] = []

    def write() -> str:
        found.append(sizes(tmp_path))
        if len(found) == 1:
            raise OSError(code, os.strerror(code))
        return "written"

    assert reserve.spend(write) == "written"
    assert found == [WHOLE, {}]


def test_another_fault_of_the_disk_keeps_the_room(tmp_path: Path) -> None:
    """No room helps against it: it is told at once, and what was written is not written twice."""
    reserve = Reserve(tmp_path / "reserve")
    reserve.make()
    tries: list[int] = []

    def write() -> None:
        tries.append(1)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error"):
        reserve.spend(write)
    assert tries == [1]
    assert sizes(tmp_path) == WHOLE


@pytest.mark.parametrize(
    "left", [{}, {"reserve": 10}, {"reserve.2": 0}, {"reserve": RESERVE_BYTES}, WHOLE]
)
def test_what_is_missing_of_the_room_is_made(tmp_path: Path, left: dict[str, int]) -> None:
    """Whatever a crash has left of the two files: both are there, and the room is whole."""
    for name, size in left.items():
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
    Reserve(tmp_path / "reserve").make()
    assert sizes(tmp_path) == WHOLE
