# SPDX-License-Identifier: MIT
"""What the cage and its commands are told: plain values, checked by whoever reads the file."""

from dataclasses import dataclass

SEARCH_PATH = (
    "/usr/local/tibet-nc-bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"  # the curated one first
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceLimits:
    """What one command may take; soft and hard limit are the same, so it cannot raise them.

    `processes` is per command where the pids controller is delegated; elsewhere the kernel counts
    per uid, and a command that starts while others run gets that many on top of theirs; without a
    uid of its own there is no such limit.
    `address_space` is per process; `memory` is of the whole command and needs the memory
    controller.
    """

    processes: int
    address_space: int  # bytes
    file_size: int  # bytes
    open_files: int  # at least 64: the shell keeps one descriptor at 63
    memory: int  # bytes


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
    groups: tuple[int, ...]
    home: str
    path: str
    restricted: bool
    limits: ResourceLimits
    rows: int
    columns: int
    idle_s: float
    total_s: float
    grace_s: float = 2.0
    cgroups: bool = True
