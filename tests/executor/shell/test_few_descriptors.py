# SPDX-License-Identifier: MIT
"""What the cage does when the executor can open hardly anything: no more, and it forgets nothing.

Everything that an executor asks about processes it asks by opening a file.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from tests.executor.injection import descriptors_left
from tests.executor.shell.driver import ASLEEP, SHORT_S, begin, commands_of, run, settings_for
from tests.executor.shell.test_background import leave, running
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.door import Door
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.terms import Reason

LOOKS_S = 0.8  # some looks at what still runs; what would be wrong is done by the first


def opened() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


async def test_a_door_is_made_or_nothing_is_left(shell: Shell) -> None:
    """However few can be opened: a door, or an error, nothing open, and nothing that runs (I6)."""
    session = shell.open_session()
    before = opened()
    door = None
    for left in range(40):
        with descriptors_left(left), suppress(ShellError):
            door = Door(shell.cage, session.home)
        if door is not None:
            break
        assert opened() == before, left
        assert commands_of(shell.cage.settings.uid) == [] or not shell.cage.separated, left
    assert door is not None
    await door.shut()
    assert opened() == before
    assert shell.cage._cells == []
    assert (await run(shell, "echo fine", session)).output == b"fine\n"
    await shell.end_session(session)


async def test_what_goes_on_is_not_taken_for_gone(shell: Shell) -> None:
    """Not to see whether something still runs is no reason to end it, or to say that it ended."""
    left = await leave(shell, f"setsid sleep 4771 & {ASLEEP}")
    await left.done()
    with descriptors_left(0):
        assert left.background.count == 0  # what can't be seen isn't counted, which harms nobody
        await asyncio.sleep(LOOKS_S)
    await asyncio.sleep(LOOKS_S)
    assert len(running(shell, "sleep 4771")) == 1
    left.background.kill()
    assert (await left.background.wait()).killed == 1


async def test_what_is_killed_is_ended_all_the_same(shell: Shell) -> None:
    """An order that comes when nothing can be seen is carried out, and told as it was (I6)."""
    left = await leave(shell, f"setsid sleep 4772 & {ASLEEP}")
    await left.done()
    with descriptors_left(0):
        left.background.kill()
        await asyncio.sleep(LOOKS_S)
    rest = await asyncio.wait_for(left.background.wait(), 20)
    assert rest.reason is Reason.KILLED
    assert running(shell, "sleep 4772") == []
    assert running(shell, "") == [] or not shell.cage.separated


async def test_a_command_that_ends_leaves_nothing(shell: Shell) -> None:
    """What a command leaves when nothing can be seen is ended once it can be (I6)."""
    command = await begin(shell, f"setsid sleep 4773 & {ASLEEP}; echo up; read line")
    await command.printed(b"up")
    with descriptors_left(0):
        command.command.write(b"\n")
        await asyncio.sleep(LOOKS_S)
    done = await command.done()
    assert "1 process left running: killed" in done.ending.notes
    assert running(shell, "sleep 4773") == []


async def test_a_limit_holds(kind: Containment, home: Path) -> None:
    """A command whose time is over when nobody can be asked to end is killed after its grace."""
    shell = Shell(settings_for(kind, home, total_s=SHORT_S, grace_s=0.1))
    running = await begin(shell, "echo up; sleep 4776")
    await running.printed(b"up")
    with descriptors_left(0):
        await asyncio.sleep(SHORT_S + LOOKS_S)
    assert (await running.done()).ending.reason is Reason.TIMED_OUT
