# SPDX-License-Identifier: MIT
"""The file of the pinned operators: read by the running agent, written by root alone.

A change is a new file in the old one's place, made under a lock: a reader sees the old pins or the
new ones, and of two changes at the same time neither is lost.
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tibet_nc_agent.statefile import write_whole
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.pins import PINS_BYTES, Pin, Pins, check_file, parse, render

MODE: Final = 0o644
"""Both daemons read the file; there is nothing secret in it."""

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


STILL_NS: Final = 1_000_000_000
"""What has changed less than this before it was read, is read again the next time: within one tick
of the kernel's clock a file can change twice, and its times are the same (before Linux 6.13)."""


class PinFile:
    """One file of pins, read anew whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._read: tuple[int, ...] = ()
        self._pins: Pins = {}

    def pins(self) -> Pins:
        """Return the pins as they are now; none if there is no file yet.

        Raises PinsError, with the path, if the file can't be read, if others than root or this
        uid could have written it, or if it isn't what docs/adr/0006 says.
        """
        try:
            descriptor = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise PinsError(f"{self.path}: {error.strerror}") from None
        try:
            status = os.fstat(descriptor)
            check_file(owner=status.st_uid, mode=status.st_mode, reader=os.geteuid())
            version = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            if version != self._read:
                with os.fdopen(descriptor, "rb", closefd=False) as file:
                    self._pins = parse(file.read(PINS_BYTES + 1))
                still = time.time_ns() - status.st_ctime_ns > STILL_NS
                self._read = version if still else ()
        except OSError as error:
            raise PinsError(f"{self.path}: {error.strerror}") from None
        except PinsError as error:
            raise PinsError(f"{self.path}: {error}") from None
        finally:
            os.close(descriptor)
        return self._pins


def pin(path: Path, new: Pin) -> None:
    """Pin an operator, in place of an earlier pin of that user, and make it durable.

    Raises PinsError, and then nothing has changed.
    """
    _change(path, lambda pins: [*(old for old in pins.values() if old.user != new.user), new])


def unpin(path: Path, user_id: str) -> None:
    """Take an operator's pin back, durably; raises PinsError, and then nothing has changed."""

    def without(pins: Pins) -> list[Pin]:
        if user_id not in pins:
            raise PinsError(f"{path}: {user_id} is not pinned")
        return [pin for pin in pins.values() if pin.user != user_id]

    _change(path, without)


def _change(path: Path, change: Callable[[Pins], list[Pin]]) -> None:
    try:
        with _locked(path.parent):
            write_whole(path, render(change(PinFile(path).pins())), mode=MODE)
    except OSError as error:
        hint = "" if os.geteuid() == 0 else "; run this as root"
        raise PinsError(f"{path}: {error.strerror}{hint}") from None


@contextmanager
def _locked(directory: Path) -> Generator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
