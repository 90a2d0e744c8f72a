# SPDX-License-Identifier: MIT
"""Private files and the lock on a directory."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tibet_nc_agent.matrix_errors import StoreInUse
from tibet_nc_agent.statefile import DirectoryLock, make_private, read_private, write_whole


def test_write_and_read(tmp_path: Path) -> None:
    """What was written last is read, for the owner alone, and nothing else is left."""
    file = tmp_path / "file"
    assert read_private(file) is None
    write_whole(file, b"old")
    (tmp_path / ".file.new").write_bytes(b"left by a crash")
    write_whole(file, b"new")
    assert read_private(file) == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """Where a file can't be written whole the error names it, and what was there stays alone."""
    file = tmp_path / "file"
    write_whole(file, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_whole(file, b"new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(file)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """A power cut at any point leaves the old file or the new one: pins, pauses and keys alike."""
    state, trace = tmp_path / "state", tmp_path / "trace"
    state.mkdir()
    program = "import sys; from pathlib import Path; from tibet_nc_agent.statefile import *; "
    program += "write_whole(Path(sys.argv[1]), b'new')"
    tracer = ["strace", "-y", "-o", str(trace), "-e", "trace=write,fsync,rename"]
    watched = [part for name in ("", ".file.new", "file") for part in ("-P", str(state / name))]
    subprocess.run([*tracer, *watched, sys.executable, "-c", program, state / "file"], check=True)
    calls = re.findall(r"^(\w+)\((?:\d+<([^>]*)>)?", trace.read_text(), re.MULTILINE)
    draft = str(state / ".file.new")
    assert calls == [("write", draft), ("fsync", draft), ("rename", ""), ("fsync", str(state))]


def test_private_file_is_not_emptied(tmp_path: Path) -> None:
    """Making a file private that is there leaves what is in it."""
    write_whole(tmp_path / "file", b"data")
    make_private(tmp_path / "file")
    assert read_private(tmp_path / "file") == b"data"


def test_a_file_is_private_from_the_start(tmp_path: Path) -> None:
    """What is made here to be written by others is for the owner alone before they open it."""
    make_private(tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_lock_is_exclusive_and_can_be_given_back(tmp_path: Path) -> None:
    """One holder at a time; a directory that isn't there is made, for the owner alone."""
    directory = tmp_path / "state" / "store"
    lock = DirectoryLock(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(StoreInUse, match="another agent"):
        DirectoryLock(directory)
    lock.release()
    DirectoryLock(directory).release()


def test_a_file_system_without_locks_is_not_another_agent(tmp_path: Path) -> None:
    """A lock that can't be had for another reason than its holder is told with that reason."""
    program = "import sys; from pathlib import Path; from tibet_nc_agent.statefile import *; "
    program += "DirectoryLock(Path(sys.argv[1]))"
    tracer = ("strace", "-qq", "-o", os.devnull, "-e", "inject=flock:error=ENOLCK")
    done = subprocess.run(
        [*tracer, sys.executable, "-c", program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.endswith(f"No locks available: {str(tmp_path)!r}\n")
