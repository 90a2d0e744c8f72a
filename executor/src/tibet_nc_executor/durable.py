# SPDX-License-Identifier: MIT
"""Writing files so that what was said to be on disk is on disk."""

import os
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def open_append(path: Path) -> int:
    """Open a private file for appending, making it if need be; returns its descriptor.

    A symbolic link in its place is refused. Raises OSError.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, PRIVATE_FILE)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes at the end of a file, or raise OSError and leave the file as it was."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        take_back(descriptor, len(data) - len(view))
        raise


def take_back(descriptor: int, count: int) -> None:
    """Cut the last bytes off a file that nobody else writes to; raises OSError."""
    if count:
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - count)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a private directory and make its name durable; an existing one is left as it is."""
    if not path.is_dir():
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True)
        sync_directory(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write a whole file that appears under its name only when complete; replaces an older one."""
    temporary = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)
