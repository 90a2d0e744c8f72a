# SPDX-License-Identifier: MIT
"""Writing files so that what was said to be on disk is on disk."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
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
    """Write all bytes; raises OSError, and then some of them may be in the file."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def append(descriptor: int, end: int, data: bytes) -> int:
    """Write all bytes at the end of a file that nobody else writes to; return where it ends then.

    Raises OSError and leaves the file as it was. If not even that can be done, since the disk has
    turned read-only meanwhile, the next call does it before it writes.
    """
    cut(descriptor, end)
    try:
        write_all(descriptor, data)
    except OSError:
        with suppress(OSError):  # what failed first is what is told
            cut(descriptor, end)
        raise
    return end + len(data)


def cut(descriptor: int, end: int) -> None:
    """Cut off what a file has beyond its end; raises OSError."""
    if os.fstat(descriptor).st_size > end:
        os.ftruncate(descriptor, end)


def open_directory(path: Path) -> int:
    """Open a directory, whose names a sync makes durable; raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; raises OSError, which names it."""
    descriptor = open_directory(path)
    try:
        with _naming(path):
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
    write_draft(path, data, mode=mode).replace(path)
    sync_directory(path.parent)


def write_draft(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> Path:
    """Write a whole file beside another whose place it will take.

    Raises OSError, which names that other one, and then leaves nothing there.
    """
    draft = path.with_name(f".{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with _naming(path):
        descriptor = os.open(draft, flags, mode)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError:  # the disk may be full, and needs the room
            draft.unlink()
            raise
        finally:
            os.close(descriptor)
    return draft


@contextmanager
def _naming(path: Path) -> Generator[None]:
    """Have an OSError name a file: what is done to a descriptor names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
