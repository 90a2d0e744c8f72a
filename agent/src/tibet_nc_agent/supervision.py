# SPDX-License-Identifier: MIT
"""What systemd is told: ready, alive because things move, stopping (sd_notify(3)).

Without systemd nobody listens, and nothing changes.
"""

import os
import time
from collections.abc import Mapping
from typing import Final

from systemd import daemon

STALL_SECONDS: Final = 600.0
"""How long the homeserver may bring nothing at all, not even an empty batch (one comes every 30 s),
before the agent ends, to be started anew with fresh connections."""

UNWATCHED_SECONDS: Final = 30.0
"""How often it is looked whether anything moves, where no watchdog asks for it more often."""


class StalledError(Exception):
    """Nothing has moved for STALL_SECONDS."""


class Supervisor:
    """One process's relation to the service manager."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._moved = time.monotonic()

    @property
    def interval_s(self) -> float:
        """How often to call :meth:`beat`: thrice as often as a watchdog of this process asks."""
        microseconds = self._environ.get("WATCHDOG_USEC", "")
        owner = self._environ.get("WATCHDOG_PID", "")
        if not microseconds.isdigit() or (owner and owner != str(os.getpid())):
            return UNWATCHED_SECONDS
        return int(microseconds) / 1_000_000 / 3

    def moved(self) -> None:
        """Note that the sync loop has made a step."""
        self._moved = time.monotonic()

    def beat(self) -> None:
        """Tell the watchdog that things move; raises StalledError when they don't."""
        still = time.monotonic() - self._moved
        if still > STALL_SECONDS:
            raise StalledError(f"the homeserver has brought nothing for {still:.0f} s")
        daemon.notify("WATCHDOG=1")

    def ready(self, status: str) -> None:
        """Tell that the agent serves."""
        daemon.notify(f"READY=1\nSTATUS={status}")

    def waiting(self, status: str, seconds: float) -> None:
        """Tell that the start takes longer, and why."""
        daemon.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}\nSTATUS={status}")

    def stopping(self) -> None:
        """Tell that the agent is about to end."""
        daemon.notify("STOPPING=1")
