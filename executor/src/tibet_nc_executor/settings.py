# SPDX-License-Identifier: MIT
"""What the cage and its commands are told: plain values, checked by whoever reads the file."""

from dataclasses import dataclass, field

SEARCH_PATH = (
    "/usr/local/tibet-nc-bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"  # the curated one first
)

_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceLimits:
    """What one command may take; soft and hard limit are the same, so it cannot raise them.

    `processes` is per command where the pids controller is delegated; elsewhere the kernel counts
    per uid, and a command that starts while others run gets that many on top of theirs; without a
    uid of its own there is no such limit.
    `address_space` is per process; `memory` is of the whole command and needs the memory
    controller.
    """

    processes: int = 128
    address_space: int = 4 * _GIB  # bytes
    file_size: int = _GIB  # bytes
    open_files: int = 1024  # at least 64: the shell keeps one descriptor at 63
    memory: int = 2 * _GIB  # bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class ShellSettings:
    """The shell uid and what its commands get.

    `user` is the name of the account that has the uid. `groups` are supplementary groups by number.
    Times are in seconds: `idle_s` restarts with every output, `total_s` never, and after either a
    command has `grace_s` to end by itself. With `cgroups` false a delegated cgroup is left alone.
    """

    uid: int
    gid: int
    user: str
    groups: tuple[int, ...] = ()
    home: str
    path: str = SEARCH_PATH
    restricted: bool = True
    limits: ResourceLimits = field(default_factory=ResourceLimits)
    rows: int = 24
    columns: int = 80
    idle_s: float = 300.0
    total_s: float = 3600.0
    grace_s: float = 2.0
    cgroups: bool = True
