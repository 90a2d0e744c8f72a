# SPDX-License-Identifier: MIT
"""The executor's own look at the pins: what the file holds now, or nobody (I5)."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.executor.rig import pin_of
from tests.mounts import private_mounts
from tibet_nc_executor.pinfile import STILL_NS, PinFile
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.pins import PINS_BYTES, render

ONE, OTHER = "@op:example.org", "@os:example.org"


def pinning(user: str) -> bytes:
    """Return a file that pins one user; it is of one length for both."""
    return render([pin_of(user)])


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Return where the file is to be: where files have the coarse times of all kernels, as root."""
    with ExitStack() as stack:
        if os.getuid() == 0:
            stack.enter_context(private_mounts())
            subprocess.run(["mount", "-t", "ramfs", "ramfs", tmp_path], check=True)
        yield tmp_path / "operators.toml"


def rested(path: Path) -> Path:
    """Wait until a file has not been changed for so long that it isn't read again."""
    while time.time_ns() - path.stat().st_ctime_ns <= STILL_NS:
        time.sleep(0.05)
    return path


def test_what_is_written_is_what_is_seen(path: Path) -> None:
    """However fast a file is written over in its place, each look gives what it holds."""
    file = PinFile(path)
    for round_ in range(100):
        user = (ONE, OTHER)[round_ % 2]
        path.write_bytes(pinning(user))
        assert list(file.pins()) == [user]


def test_another_file_of_the_same_time_is_seen(path: Path) -> None:
    """A file that was put in the old one's place is read, also one of the same size and time."""
    path.write_bytes(pinning(ONE))
    file = PinFile(rested(path))
    assert list(file.pins()) == [ONE]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(pinning(OTHER))
    os.utime(path, ns=times)
    assert list(file.pins()) == [OTHER]
    draft = path.with_suffix(".new")
    draft.write_bytes(pinning(ONE))
    os.utime(draft, ns=times)
    draft.replace(path)
    assert list(file.pins()) == [ONE]


def test_no_more_of_a_file_is_read_than_one_may_have(path: Path) -> None:
    """However long a file is, it takes a bounded part of the memory to refuse it."""
    path.write_bytes(pinning(ONE))
    os.truncate(path, 1 << 42)  # with a hole; no memory would hold it
    with pytest.raises(PinsError, match="at most"):
        PinFile(path).pins()


@pytest.mark.parametrize(
    "wrong", [b"\xff", b"[[operator]]\n", b"#" * (PINS_BYTES + 1)], ids=["bytes", "half", "long"]
)
def test_a_bad_file_stays_bad(path: Path, wrong: bytes) -> None:
    """Pins that were good once count for nothing while the file is bad, however often asked."""
    path.write_bytes(pinning(ONE))
    file = PinFile(rested(path))
    assert list(file.pins()) == [ONE]
    path.write_bytes(wrong)
    rested(path)
    for _ in range(3):
        with pytest.raises(PinsError):
            file.pins()
    path.write_bytes(pinning(OTHER))
    assert list(file.pins()) == [OTHER]
