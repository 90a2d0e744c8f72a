# SPDX-License-Identifier: MIT
"""How a command gets its uid, its limits and nothing else, and how all of it is ended (I2, I6).

The chain of programs is prlimit → setpriv → setsid → bash: each does one thing and becomes the
next. Nothing of Python runs between fork and exec. The bash waits (door.py) until it becomes the
command's own.

An executor that is not root keeps its capabilities through setuid and exec, since the kernel takes
them only from uid 0: inheritable, ambient and, where it can be, the bounding set are emptied by
name, and `selfcheck` looks at what really arrived.
"""

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from tibet_nc_executor.cgroup import CgroupBase
from tibet_nc_executor.children import Children
from tibet_nc_executor.credentials import Capability, effective_capabilities, has_capability
from tibet_nc_executor.descent import MARK, DescentRun
from tibet_nc_executor.domain import Domain, can_scope
from tibet_nc_executor.enclosure import Enclosure, Pauses, Remains
from tibet_nc_executor.environment import environment
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.home import Home, abandoned_homes, make_home, remove_home
from tibet_nc_executor.process import Tag
from tibet_nc_executor.prologue import BASH, DESCRIPTOR_FLOOR
from tibet_nc_executor.rungroups import GID_MAP, RunGroups, first_group
from tibet_nc_executor.settings import ShellSettings
from tibet_nc_executor.tagged import Freezer, Tagged, TaggedRun
from tibet_nc_executor.uidsignal import signal_uid

PRLIMIT: Final = "/usr/bin/prlimit"
SETPRIV: Final = "/usr/bin/setpriv"
SETSID: Final = "/usr/bin/setsid"
ENV: Final = "/usr/bin/env"

_FEWEST_S: Final = 1.0  # for the homes of sessions, when processes have taken all the time
_MOST_SHARES: Final = 16  # of the process limit, for one command among many
_PYTHON_RESTORES: Final = (signal.SIGPIPE, signal.SIGXFSZ)


class Containment(Enum):
    """What ends the processes of a run."""

    CGROUP = "cgroup"
    TAGGED = "tagged"
    DESCENT = "descent"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The place of one run: its processes, its group, its share of the limit, its home."""

    enclosure: Enclosure
    group: int | None
    share: int
    home: Home | None


class Cage:
    """Starts shells as the shell uid and ends everything that they leave.

    Raises ShellError if this process cannot do so.
    """

    def __init__(self, settings: ShellSettings) -> None:
        self.settings: Final = settings
        self._capabilities = effective_capabilities()
        self._cells: list[Cell] = []
        self._made = 0
        self._active: set[str] = set()
        self.separated: Final = self._check()
        """Whether commands have a uid of their own. Without, there is no boundary."""
        try:
            self._children: Final = Children()
            self._cgroups: Final = CgroupBase.find() if settings.cgroups else None
        except OSError as error:
            raise ShellError(f"processes cannot be kept track of: {error}") from error
        self._domains: dict[Home, Domain] = {}
        self.keeps_apart: Final = self.separated and can_scope()
        """Whether sessions can't signal or trace each other's processes."""
        self._groups: RunGroups | None = None
        self._freezer = Freezer(self._signal_uid)
        if self.separated:
            first = first_group(settings.uid, GID_MAP.read_text())
            if first is None:
                raise ShellError("this user namespace has too few groups to tell commands apart")
            self._groups = RunGroups(first)

    @property
    def containment(self) -> Containment:
        """What ends the processes of a run here."""
        if self._cgroups is not None:
            return Containment.CGROUP
        return Containment.TAGGED if self.separated else Containment.DESCENT

    @property
    def drops_bounding_set(self) -> bool:
        """Whether commands are kept from ever having a capability again."""
        return has_capability(self._capabilities, Capability.SETPCAP)

    def own_groups(self, groups: set[int]) -> bool:
        """Say whether all of some groups are numbers that runs are told apart by."""
        return self._groups is not None and groups <= self._groups.every

    def _check(self) -> bool:
        settings = self.settings
        if settings.uid == 0 or settings.gid == 0:
            raise ShellError("commands may not run as root")
        for program in (PRLIMIT, SETPRIV, SETSID, BASH, ENV):
            if not os.access(program, os.X_OK):
                raise ShellError(f"{program} is missing")
        if settings.uid == os.geteuid():
            return False
        for capability in (Capability.SETUID, Capability.SETGID, Capability.KILL):
            if not has_capability(self._capabilities, capability):
                raise ShellError(
                    f"commands cannot run as uid {settings.uid}: CAP_{capability.name} is missing"
                )
        return True

    async def clear(self) -> Remains:
        """End what an executor that is gone has left running, and remove its sessions' homes.

        To be called before the first command. Needs no other executor with the same shell uid.
        However much resists, one time of giving up is for all of it together.
        """
        pauses = Pauses(now=time.monotonic())
        found: list[Remains] = []
        if self._cgroups is not None:
            found.append(await self._cgroups.clear(pauses))
        if self._groups is not None:
            tag = Tag(uid=self.settings.uid, groups=self._groups.every)
            found.append(await Tagged(tag, self._freezer).kill(pauses))
        await self._clear_homes(max(_FEWEST_S, pauses.left(time.monotonic())))
        return Remains(
            killed=sum(remains.killed for remains in found),
            surviving=sum(remains.surviving for remains in found),
        )

    async def _clear_homes(self, limit_s: float) -> None:
        left = abandoned_homes(Path(self.settings.home))
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                for home in tuple(left):
                    if await remove_home(home, self._privilege_drop(home.group), self._children):
                        left.remove(home)
        for home in left:  # the next start goes on; until then no session may enter them
            if self._groups is not None and home.group is not None:
                self._groups.withhold(home.group)

    def make_home(self) -> Home:
        """Make the home of a session; raises ShellError."""
        group = self._take_group()
        domain = None
        try:
            domain = Domain() if self.keeps_apart else None
            home = make_home(Path(self.settings.home), group)
        except OSError as error:
            if domain is not None:
                domain.close()
            self._give_back(group)
            raise ShellError(f"no home for the session: {error}") from error
        if domain is not None:
            self._domains[home] = domain
        return home

    async def remove_home(self, home: Home) -> None:
        """Remove the home of a session of which nothing runs any more."""
        if (domain := self._domains.pop(home, None)) is not None:
            domain.close()
        if await remove_home(home, self._privilege_drop(home.group), self._children):
            self._give_back(home.group)

    def open(self, home: Home | None = None) -> Cell:
        """Make the place for a run, in a session's home if it has one; raises ShellError."""
        group = self._take_group()
        self._made += 1
        share = min(_MOST_SHARES, 1 + max((cell.share for cell in self._cells), default=0))
        try:
            cell = Cell(enclosure=self._enclosure(group), group=group, share=share, home=home)
        except OSError as error:
            self._give_back(group)
            raise ShellError(f"no control group for the command: {error}") from error
        self._cells.append(cell)
        return cell

    def _enclosure(self, group: int | None) -> Enclosure:
        tag = None
        if group is not None:
            tag = Tag(uid=self.settings.uid, groups=frozenset((group,)))
        if self._cgroups is not None:
            return self._cgroups.new(self.settings.limits, self._children, tag)
        if tag is not None:
            return TaggedRun(tag, children=self._children, freezer=self._freezer)
        return DescentRun(mark=str(self._made), children=self._children, active=self._active)

    def close(self, cell: Cell, *, empty: bool) -> None:
        """Give up the place of a run; its group is used again only if nothing is left of it."""
        self._cells.remove(cell)
        cell.enclosure.close()
        if empty:
            self._give_back(cell.group)

    def _take_group(self) -> int | None:
        return None if self._groups is None else self._groups.take()

    def _give_back(self, group: int | None) -> None:
        if self._groups is not None and group is not None:
            self._groups.give_back(group)

    def spawn(
        self, script: str, *, cell: Cell, terminal: int, descriptors: tuple[int, ...]
    ) -> subprocess.Popen[bytes]:
        """Start a bash on a terminal with a script of our own; raises OSError.

        It inherits `descriptors`, and has to close by itself what is not for others.
        """
        domain = None if cell.home is None else self._domains.get(cell.home)

        def start() -> subprocess.Popen[bytes]:
            return self._start(script, cell=cell, terminal=terminal, descriptors=descriptors)

        process = start() if domain is None else domain.run(start)
        cell.enclosure.entered(process.pid)
        return process

    def _start(
        self, script: str, *, cell: Cell, terminal: int, descriptors: tuple[int, ...]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - running what is asked for is the purpose
            [
                *_signal_reset(),
                *self._limits(cell),
                *self._privilege_drop(cell.group, None if cell.home is None else cell.home.group),
                SETSID,
                "--ctty",
                BASH,
                "--norc",
                "--noprofile",
                "-c",
                script,
            ],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd="/",
            env=self._environment(cell),
            pass_fds=(*descriptors, *cell.enclosure.entry.descriptors),
        )

    def _environment(self, cell: Cell) -> dict[str, str]:
        variables = environment(self.settings, None if cell.home is None else str(cell.home.path))
        if isinstance(cell.enclosure, DescentRun):
            variables[MARK] = cell.enclosure.mark
        return variables

    def _limits(self, cell: Cell) -> list[str]:
        limits = self.settings.limits
        wanted = {
            "as": (resource.RLIMIT_AS, limits.address_space),
            "fsize": (resource.RLIMIT_FSIZE, limits.file_size),
            "nofile": (resource.RLIMIT_NOFILE, limits.open_files),
            "core": (resource.RLIMIT_CORE, 0),
        }
        if self.separated:  # otherwise everything else of the uid would count
            wanted["nproc"] = (resource.RLIMIT_NPROC, limits.processes * self._shares(cell))
        options: list[str] = []
        for name, (number, value) in wanted.items():
            _, hard = resource.getrlimit(number)
            options.append(f"--{name}={value if hard < 0 else min(value, hard)}")
        return [PRLIMIT, *options, "--"]

    def _shares(self, cell: Cell) -> int:
        """Return how many times the process limit a command may see in use by its uid."""
        if self._cgroups is not None and self._cgroups.counts_processes:
            return _MOST_SHARES
        return cell.share

    def _privilege_drop(self, *own: int | None) -> list[str]:
        settings = self.settings
        arguments = [SETPRIV]
        if self.separated:
            groups = [*settings.groups, *(group for group in own if group is not None)]
            arguments += ["--reuid", str(settings.uid), "--regid", str(settings.gid)]
            arguments += ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        arguments += ["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"]
        if self.drops_bounding_set:
            arguments.append("--bounding-set=-all")
        return arguments

    async def _signal_uid(self, number: signal.Signals) -> bool:
        return await signal_uid(
            number,
            uid=self.settings.uid,
            privilege_drop=self._privilege_drop(),
            children=self._children,
        )


def clear_of_bash(descriptor: int) -> int:
    """Move a descriptor to a number that bash does not use; the old one is closed."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, DESCRIPTOR_FLOOR)
    finally:
        os.close(descriptor)


def _signal_reset() -> list[str]:
    """Return a prefix that undoes ignored signals: a shell started with one can never trap it.

    They are ignored when the executor was started in the background of a script.
    """
    ignored = [
        number
        for number in signal.valid_signals()
        if number not in _PYTHON_RESTORES and signal.getsignal(number) is signal.SIG_IGN
    ]
    if not ignored:
        return []
    return [ENV, "--default-signal=" + ",".join(str(int(number)) for number in ignored)]
