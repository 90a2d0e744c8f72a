# SPDX-License-Identifier: MIT
"""Running commands in a real cage, for the tests of the shell."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.separation import claim_uids
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.command import Command
from tibet_nc_executor.ending import Ending
from tibet_nc_executor.process import all_processes, read_status
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.settings import SEARCH_PATH, ResourceLimits, ShellSettings
from tibet_nc_executor.shell import Shell

SECONDS: Final = 20.0  # far above what anything here takes; a test that waits longer has failed
SHORT_S: Final = 1.5
"""A limit of a command's time that is met, but not before its shell is there on a slow machine."""
AS_ROOT: Final = os.geteuid() == 0
ASLEEP: Final = "until [[ $(</proc/$(jobs -p)/comm) == sleep ]]; do :; done"
"""Shell text that waits until the one job in the background has become a ``sleep``.

Before that it may still be in the shell's session, and get the hang-up at its end."""
# Numbers of our own among those without an account: test runs side by side must not share a uid.
_CLAIMED: Final = claim_uids(64300, 2, groups=500)
UIDS: Final = {Containment.CGROUP: _CLAIMED[0], Containment.TAGGED: _CLAIMED[1]}


LIMITS: Final = ResourceLimits(
    processes=128, address_space=4 << 30, file_size=1 << 30, open_files=1024, memory=2 << 30
)


def settings_for(
    kind: Containment,
    home: Path,
    *,
    restricted: bool = False,
    limits: ResourceLimits = LIMITS,
    idle_s: float = 60.0,
    total_s: float = 120.0,
    grace_s: float = 0.5,
) -> ShellSettings:
    """Return settings that lead to a kind of containment on this machine."""
    own = kind is Containment.DESCENT
    return ShellSettings(
        uid=os.getuid() if own else UIDS[kind],
        gid=os.getgid() if own else UIDS[kind],
        user="tibet-nc-shell",
        groups=(),
        home=str(home),
        path=SEARCH_PATH,
        restricted=restricted,
        limits=limits,
        rows=24,
        columns=80,
        idle_s=idle_s,
        total_s=total_s,
        grace_s=grace_s,
        cgroups=kind is Containment.CGROUP,
    )


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that is over."""

    ending: Ending
    output: bytes


class Running:
    """A command that runs, and what it has printed so far."""

    def __init__(self) -> None:
        self.output = bytearray()
        self._more = asyncio.Event()
        self.command: Command

    def feed(self, data: bytes) -> None:
        """Take output."""
        self.output += data
        self._more.set()

    async def printed(self, text: bytes) -> None:
        """Wait until something was printed."""
        async with asyncio.timeout(SECONDS):
            while text not in self.output:
                self._more.clear()
                await self._more.wait()

    async def done(self) -> Done:
        """Wait for the end."""
        async with asyncio.timeout(SECONDS):
            ending = await self.command.wait()
        return Done(ending=ending, output=bytes(self.output))


async def begin(shell: Shell, text: str, session: SessionShell | None = None) -> Running:
    """Start a command."""
    running = Running()
    running.command = await shell.start(text, session or shell.new_session(), running.feed)
    return running


async def run(shell: Shell, text: str, session: SessionShell | None = None) -> Done:
    """Run a command to its end."""
    return await (await begin(shell, text, session)).done()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody tells us when another process changes
            await asyncio.sleep(0.005)


def commands_of(uid: int) -> list[str]:
    """Return the command lines of all processes of a uid that run."""
    found: list[str] = []
    for pid in all_processes():
        status = read_status(pid)
        if status is not None and status.uid == uid and not status.ended:
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
