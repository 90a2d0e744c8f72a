# SPDX-License-Identifier: MIT
"""Files that must survive a crash and that nobody else may read.

A file is written beside its place, synced, renamed over it, and the directory is synced: after a
crash at any point there is the old file or the new one, never half of one.
"""

import fcntl
import os
from pathlib import Path
from typing import Final

from tibet_nc_agent.matrix_errors import StoreDamaged, StoreInUse
from tibet_nc_agent.regular import open_regular

PRIVATE: Final = 0o600


def write_whole(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Replace ``path`` by ``data``, durably, of this mode whatever the umask.

    Raises OSError, which names the file, and then leaves it as it was.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # of a change that was cut short
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:  # the disk may be full, and needs the room
        draft.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from None
    draft.rename(path)
    sync_directory(path.parent)


def read_private(path: Path) -> bytes | None:
    """Return what is in ``path``, or None if there is no such file; raises StoreDamaged."""
    try:
        with open_regular(path) as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreDamaged(f"{path}: {error.strerror}") from None


def make_private(path: Path) -> None:
    """Make an empty file that only the owner can read, unless there is one."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DirectoryLock:
    """The right to use a directory, held until :meth:`release` or the end of the process."""

    def __init__(self, directory: Path) -> None:
        """Make the directory if need be and lock it.

        Raises :class:`StoreInUse` if it is held, and OSError if it can't be locked at all.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if not isinstance(error, BlockingIOError):
                raise OSError(error.errno, error.strerror, str(directory)) from None
            raise StoreInUse(
                f"another agent is using {directory}: systemctl stop tibet-nc-agent ends the unit's"
            ) from error

    def release(self) -> None:
        """Give the right back."""
        os.close(self._descriptor)
