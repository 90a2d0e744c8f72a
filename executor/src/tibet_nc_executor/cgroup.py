# SPDX-License-Identifier: MIT
"""A control group (version 2) per run, where one was delegated to the executor.

Facts that the code below rests on:

- With `Delegate=` and `DelegateSubgroup=daemon` systemd puts the executor in `…/daemon`; the runs
  go beside it. Elsewhere the executor's own group is used if it may be written, and the executor
  steps into `daemon` by itself (systemd before 254 doesn't know that setting): a group that has
  processes can't hand its controllers on to groups below it.
- systemd is the only writer of groups it has not delegated: root's right to write is not enough
  where systemd runs, the `delegate` attribute is.
- A process enters by writing `0` to a `cgroup.procs` that the executor has opened: the kernel asks
  the opener's rights, so the shell enters by itself before its first word, and no process can be
  made in between that stays outside.
- `cgroup.kill` reaches every process, also those just being made and those of groups below, and
  `populated` in `cgroup.events` is 0 when the last one is gone.
- A group is removed when it is empty and has no group below. A run's group belongs to the executor,
  so only a command that runs as the executor's own uid can make some there.
"""

import asyncio
import errno
import os
import re
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from tibet_nc_executor.children import Children
from tibet_nc_executor.enclosure import Entry, MemoryKills, Pauses, Remains
from tibet_nc_executor.process import Tag, read_kernel
from tibet_nc_executor.settings import ResourceLimits

DAEMON_GROUP: Final = "daemon"
_PREFIX: Final = "tibet-nc-"
_OWNED: Final = re.compile(rf"{_PREFIX}([0-9]+)-.+", re.ASCII)
_GONE: Final = (errno.ENOENT, errno.ENODEV)
_CHILDLESS: Final = 2  # links of a group's directory: its name and its own "."
_SYSTEMD: Final = Path("/run/systemd/system")
_FREEZE_PAUSE_S: Final = 0.001
# A tenth of it may pass on a busy machine, and a process that waits for a disk or a network share
# may take for ever.
_FREEZE_LOOKS: Final = 1000
_DELEGATION: Final = ("user.delegate", "trusted.delegate")


def locate(mountinfo: str, membership: str) -> Path | None:
    """Return this process's group directory from /proc/self/mountinfo and /proc/self/cgroup.

    None if there is no version 2 hierarchy or the group lies outside of what is mounted.
    """
    own = next((line[3:] for line in membership.splitlines() if line.startswith("0::")), None)
    if own is None or own.startswith("/.."):
        return None
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] != "cgroup2":
            continue
        root, point = fields.split(" ")[3:5]
        below = os.path.relpath(own, root)
        if below.split("/", 1)[0] != "..":
            return Path(point) if below == "." else Path(point, below)
    return None


def _delegated(directory: Path) -> bool:
    """Say whether whoever manages the groups has left this one to us."""
    if os.geteuid() != 0 or not _SYSTEMD.exists():
        return True
    for attribute in _DELEGATION:
        with suppress(OSError):
            if os.getxattr(directory, attribute) == b"1":
                return True
    return False


def _step_aside(directory: Path) -> None:
    """Move this process from its group into one below, unless others are in the group as well."""
    aside = directory / DAEMON_GROUP
    with suppress(OSError):
        if read_kernel(f"{directory}/cgroup.procs").split() == [b"%d" % os.getpid()]:
            aside.mkdir(exist_ok=True)
            (aside / "cgroup.procs").write_text("0")


class CgroupBase:
    """The group below which every run gets one of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0
        # With "cpu" the executor's own group has the share of one command, however many processes
        # a command has.
        for controller in ("cpu", "pids", "memory"):
            # Not everything can be had everywhere: what is missing is not limited this way.
            with suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")

    @classmethod
    def find(cls) -> "CgroupBase | None":
        """Return the delegated group of this process, None if it has none that works."""
        own = locate(
            Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
        )
        if own is None:
            return None
        directory = own.parent if own.name == DAEMON_GROUP else own
        probe = directory / f"{_PREFIX}{os.getpid()}-probe"
        try:
            if not _delegated(directory):
                return None
            probe.mkdir()
            works = (probe / "cgroup.kill").exists()
            probe.rmdir()
        except OSError:
            return None
        if not works:
            return None
        if directory == own:
            _step_aside(directory)
        return cls(directory)

    def new(self, limits: ResourceLimits, children: Children, tag: Tag | None) -> "CgroupRun":
        """Make the group of a run, whose processes have a tag too; raises OSError."""
        while True:
            self._made += 1
            directory = self._directory / f"{_PREFIX}{os.getpid()}-{self._made}"
            # One may be left from an earlier executor that had our process id.
            with suppress(FileExistsError):
                return CgroupRun(directory, limits=limits, children=children, tag=tag)

    @property
    def counts_processes(self) -> bool:
        """Whether the kernel limits processes per run here."""
        try:
            return b"pids" in read_kernel(f"{self._directory}/cgroup.subtree_control").split()
        except OSError:
            return False

    async def clear(self, pauses: Pauses) -> Remains:
        """Kill what executors that are gone have left in their groups, and remove the groups.

        All of them are waited for together.
        """
        return await _empty(self._abandoned(), pauses)

    def _abandoned(self) -> list[Path]:
        """Return the groups whose executor is gone; their names tell its process id."""
        return [
            directory
            for directory in self._directory.glob(f"{_PREFIX}*")
            if (owned := _OWNED.fullmatch(directory.name)) is not None
            and not Path("/proc", owned[1]).exists()
        ]


class CgroupRun:
    """The control group of one run."""

    frozen = False

    def __init__(
        self, directory: Path, *, limits: ResourceLimits, children: Children, tag: Tag | None
    ) -> None:
        self._directory = directory
        self._children = children
        self._tag = tag
        self._leader = 0
        directory.mkdir(0o700)  # a command makes no groups below, whatever the umask
        try:
            for name, value in (
                ("pids.max", limits.processes),
                ("memory.max", limits.memory),
                ("memory.swap.max", 0),
            ):
                if (directory / name).exists():
                    (directory / name).write_text(str(value))
            self._gate = os.open(directory / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError:
            directory.rmdir()
            raise

    @property
    def entry(self) -> Entry:
        """The shell writes itself into the group; if it cannot, it ends."""
        return Entry(
            descriptors=(self._gate,),
            commands=f"echo 0 >&{self._gate} || exit 125\nexec {self._gate}>&-\n",
        )

    def entered(self, leader: int) -> None:
        """Note the shell and close our end of the way in."""
        self._leader = leader
        self._children.register(leader)
        self._close_gate()

    def members(self) -> list[int]:
        """Return the processes in the group and below it."""
        try:
            return _processes(self._directory)
        except OSError:
            return []

    def holds(self, pid: int) -> bool:
        """Say whether a process is in the group."""
        return pid in self.members()

    def others(self) -> list[int]:
        """Return what is in the group beside the shell; raises OSError."""
        return [pid for pid in _processes(self._directory) if pid != self._leader]

    def tend(self) -> None:
        """Wait for inherited children that have ended."""
        self._children.strangers()

    def memory_kills(self) -> MemoryKills:
        """Return what the kernel has killed for want of memory."""
        try:
            return oom_kills(read_kernel(f"{self._directory}/memory.events"))
        except OSError:  # the controller is not delegated, so nobody counts
            return MemoryKills()

    @asynccontextmanager
    async def still(self) -> AsyncGenerator[None]:
        """Freeze the group for a moment; one that doesn't freeze in time goes on meanwhile."""
        try:
            self._freeze(b"1")
            for _ in range(_FREEZE_LOOKS):
                if self._is_still():
                    break
                await asyncio.sleep(_FREEZE_PAUSE_S)
            yield
        finally:
            self._freeze(b"0")

    def _freeze(self, word: bytes) -> None:
        with suppress(OSError):  # the group is gone
            (self._directory / "cgroup.freeze").write_bytes(word)

    def _is_still(self) -> bool:
        try:
            return b"frozen 1" in read_kernel(f"{self._directory}/cgroup.events")
        except OSError:
            return True

    async def end(self) -> Remains:
        """Kill everything in the group and below it, and remove it."""
        remains = await _empty([self._directory], Pauses(now=time.monotonic()))
        if self._tag is not None:
            await self._children.settle(self._tag.marks)
        return remains

    def close(self) -> None:
        """Close what is open and remove the group if it is still there."""
        self._close_gate()
        self._children.forget(self._leader)
        with suppress(OSError):
            _remove(self._directory)

    def _close_gate(self) -> None:
        gate, self._gate = self._gate, -1
        if gate >= 0:
            os.close(gate)


def oom_kills(events: bytes) -> MemoryKills:
    """Return what a group's memory.events say of killed processes.

    `oom_kill` counts the group's processes, whoever's memory was used up; `oom` counts how often
    that was the memory of the group itself, or of one below it.
    """
    lines = (line.partition(b" ") for line in events.splitlines())
    counts = {name: int(count) for name, _, count in lines if count.isdigit()}
    return MemoryKills(processes=counts.get(b"oom_kill", 0), own=counts.get(b"oom", 0) > 0)


def _populated(directory: Path) -> bool:
    return b"populated 1" in read_kernel(f"{directory}/cgroup.events")


async def _empty(tops: list[Path], pauses: Pauses) -> Remains:
    """Kill what is in groups and below them, wait until it is gone, remove the groups."""
    killed: set[int] = set()
    left = tops
    while left := [top for top in left if not _settled(top, killed)]:
        pause = pauses.next(time.monotonic())
        if pause is None:
            break
        await asyncio.sleep(pause)
    return Remains(killed=len(killed), surviving=sum(map(_may_hold, tops)))


def _settled(top: Path, killed: set[int]) -> bool:
    """Kill what is in a group, or remove it if nothing is; return whether waiting won't help."""
    try:
        if _populated(top):
            found = []
            with suppress(OSError):  # whoever can't be counted is killed all the same
                found = _processes(top)
            (top / "cgroup.kill").write_text("1")
            killed.update(found)
            return False
        _remove(top)
    except PermissionError:
        return True
    except OSError as error:
        # Out of descriptors, for one: try again, since not seeing is not being gone. An empty group
        # is busy as long as the kernel holds on to it, mostly for a moment.
        return error.errno in _GONE
    return True


def _may_hold(top: Path) -> bool:
    """Say whether something may still run in a group or below it."""
    try:
        return _populated(top)
    except OSError as error:
        return error.errno not in _GONE


def _processes(top: Path) -> list[int]:
    """Return the processes in a group and below it; raises OSError if they can't be told."""
    found = read_kernel(f"{top}/cgroup.procs").split()
    if os.stat(top).st_nlink != _CHILDLESS:
        for path, _, _, descriptor in os.fwalk(top, onerror=_unless_gone):
            if path != str(top):
                found += _processes_of_one(descriptor)
    return [int(pid) for pid in found]


def _processes_of_one(descriptor: int) -> list[bytes]:
    try:
        return read_kernel(f"/proc/self/fd/{descriptor}/cgroup.procs").split()
    except OSError as error:
        # The processes of a threaded group are those of the group above.
        if error.errno != errno.EOPNOTSUPP:
            _unless_gone(error)
        return []


def _remove(top: Path) -> None:
    """Remove an empty group, those below it before; raises OSError."""
    if os.stat(top).st_nlink != _CHILDLESS:
        for _, below, _, descriptor in os.fwalk(top, topdown=False, onerror=_unless_gone):
            for name in below:
                os.rmdir(name, dir_fd=descriptor)
    top.rmdir()


def _unless_gone(error: OSError) -> None:
    if error.errno not in _GONE:
        raise error
