# SPDX-License-Identifier: MIT
"""What holds a command in and what it may take, told to whoever asks for the status.

A program that explains a failure must not name a wall that isn't up. So each flag here is what was
looked at: the self-test's attempts, the mounts as this process sees them; commands inherit both.
"""

import os
from pathlib import Path
from typing import Final

from tibet_nc_executor.config import Config
from tibet_nc_executor.selftest import Breach, Wall
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.messages import Cage, Limits

SYSTEM: Final = (Path("/"), Path("/etc"), Path("/usr"), Path("/var"))
"""What the unit mounts read-only (ProtectSystem=strict)."""


def cage(config: Config, shell: Shell, breaches: tuple[Breach, ...]) -> Cage:
    """Return what holds a command in, and what does not."""
    own = "a uid of its own" if shell.cage.separated else "NO uid of its own"
    kind = "restricted bash" if config.shell.restricted else "bash"
    apart = "sessions apart" if shell.cage.keeps_apart else "NO wall between sessions' processes"
    missing = {breach.wall for breach in breaches}
    given_up = sorted(f"NO {wall} wall: accepted" for wall in missing)
    return Cage(
        separated=shell.cage.separated,
        restricted=config.shell.restricted,
        network=Wall.NETWORK in missing,
        network_view=Wall.NETWORK_VIEW in missing,
        read_only=all(map(_read_only, SYSTEM)),
        walls=(own, kind, apart, f"processes ended by {shell.cage.containment.value}", *given_up),
    )


def limits(config: Config) -> Limits:
    """Return what one command may take."""
    shell = config.shell
    return Limits(
        idle_s=shell.idle_s,
        total_s=shell.total_s,
        session_idle_s=shell.session_idle_s,
        session_total_s=shell.session_total_s,
        processes=shell.processes,
        memory_bytes=shell.memory_bytes,
        address_space_bytes=shell.address_space_bytes,
        file_bytes=shell.file_bytes,
        open_files=shell.open_files,
        recording_bytes=config.audit.recording_bytes,
        home_bytes=_size(Path(shell.home)),
    )


def _size(directory: Path) -> int:
    """Return the bytes of a file system that isn't the root's, else 0."""
    try:
        if directory.stat().st_dev == Path("/").stat().st_dev:
            return 0
        status = os.statvfs(directory)
    except OSError:
        return 0
    return status.f_blocks * status.f_frsize


def _read_only(directory: Path) -> bool:
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:  # whether it is can't be told, so nothing is said of it
        return False
