# SPDX-License-Identifier: MIT
"""The pinned operators as root wrote them down, read anew whenever the file has changed.

The executor has its own look at the file: what the agent says of an operator counts for nothing.
"""

import os
import time
from pathlib import Path
from typing import Final

from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.pins import PINS_BYTES, Pins, check_file, parse

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


STILL_NS: Final = 1_000_000_000
"""What has changed less than this before it was read, is read again the next time: within one tick
of the kernel's clock a file can change twice, and its times are the same (before Linux 6.13)."""


class PinFile:
    """One file of pins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, ...] = ()
        self._pins: Pins = {}

    def pins(self) -> Pins:
        """Return the pins as they are now; none if there is no file yet.

        Raises PinsError, with the path, if the file can't be read, if others than root or this
        uid could have written it, or if it isn't what docs/adr/0006 says.
        """
        try:
            descriptor = os.open(self._path, _FLAGS)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise PinsError(f"{self._path}: {error.strerror}") from None
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
            raise PinsError(f"{self._path}: {error.strerror}") from None
        except PinsError as error:
            raise PinsError(f"{self._path}: {error}") from None
        finally:
            os.close(descriptor)
        return self._pins
