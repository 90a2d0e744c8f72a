# SPDX-License-Identifier: MIT
"""Nothing outlives its command (I6), and nothing of another command is touched."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acting import acting_as
from tests.executor.shell.driver import (
    AS_ROOT,
    begin,
    commands_of,
    run,
    settings_for,
    until,
)
from tests.mounts import mount_memory, private_mounts
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.enclosure import GIVE_UP_S, Pauses
from tibet_nc_executor.process import Tag
from tibet_nc_executor.shell import Shell
from tibet_nc_executor.tagged import Freezer, Tagged

STRANGER = 64299
"""A uid that may signal no process of the shell's."""


@pytest.fixture
def sleepers(shell: Shell) -> Callable[[str], list[str]]:
    """Return the processes of the shell uid whose command line begins with a text."""

    def find(text: str) -> list[str]:
        return [line for line in commands_of(shell.cage.settings.uid) if line.startswith(text)]

    return find


LEFT = {
    "in the background": "sleep 4711 & disown",
    "with nohup": "nohup sleep 4711 >/dev/null 2>&1 &",
    "in a session of its own": "setsid sleep 4711 &",
    "forked twice": "(setsid sh -c 'sleep 4711 & sleep 4711 & wait' &)",
    "deaf to signals": "(trap '' HUP INT TERM; setsid sleep 4711) &",
    "stopped": (
        "setsid sleep 4711 & while read name </proc/$!/comm; [[ $name != sleep ]]; do :; done;"
        "kill -STOP $!"
    ),
    "without a name": "setsid env -i sleep 4711 &",
    # A program that its owner may not read keeps its own entries in /proc from him.
    "not dumpable": "cp /bin/sleep s; chmod 111 s; setsid ./s 4711 &",
    "in a user namespace": "(setsid unshare --user sleep 4711 || setsid sleep 4711) &",
    "many": "for i in {1..30}; do setsid sleep 4711 & done",
}


@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("ending", ["exit 0", "kill -9 $$", "exec true"])
async def test_nothing_outlives_its_command(
    shell: Shell, sleepers: Callable[[str], list[str]], name: str, ending: str
) -> None:
    """Double forks, sessions, deafness and stops do not help (I6)."""
    running = await begin(shell, f"{LEFT[name]}\necho up; read line; {ending}")
    await running.printed(b"up")
    program = "./s 4711" if "./s" in LEFT[name] else "sleep 4711"
    await until(lambda: bool(sleepers(program)))
    running.command.write(b"\n")
    await running.done()
    assert sleepers(program) == []
    if shell.cage.separated:
        assert sleepers("") == []


async def test_what_was_left_is_counted(shell: Shell, sleepers: Callable[[str], list[str]]) -> None:
    """The ending says how many processes had to be killed; none of them goes on."""
    running = await begin(shell, "for i in 1 2 3; do setsid sleep 4712 & done; read line")
    await until(lambda: len(sleepers("sleep 4712")) == 3)
    running.command.write(b"\n")
    ending = (await running.done()).ending
    assert ending.leftover == 0
    assert "3 processes left running: killed" in ending.notes


async def test_what_was_left_prints_nothing_later(shell: Shell) -> None:
    """Output of a process that outlives the shell for a moment ends before the fence."""
    session = shell.new_session()
    await run(shell, "(trap '' HUP; while :; do echo late; done) & sleep 0.05", session)
    assert (await run(shell, "echo exact", session)).output == b"exact\n"


async def test_other_commands_go_on(shell: Shell, sleepers: Callable[[str], list[str]]) -> None:
    """The end of one command touches nothing of another, not even what that one left."""
    other = await begin(shell, "setsid sleep 4713 & (sleep 4714 &); echo up; read line; echo done")
    await other.printed(b"up")
    await until(lambda: len(sleepers("sleep 471")) >= 2)
    assert (
        await run(shell, "setsid sleep 4715 & (setsid sleep 4716 &) ; sleep 0.05")
    ).ending.exit == 0
    assert sleepers("sleep 4715") == []
    assert sleepers("sleep 4716") == []
    assert len(sleepers("sleep 4713")) == 1
    assert len(sleepers("sleep 4714")) == 1
    other.command.write(b"\n")
    assert (await other.done()).output == b"up\ndone\n"
    assert sleepers("sleep 471") == []


async def test_what_a_dead_executor_left_is_cleared(
    kind: Containment, home: Path, shell: Shell, sleepers: Callable[[str], list[str]]
) -> None:
    """At start everything of an executor that is gone is ended (I6)."""
    # Without a uid of its own nothing tells such processes from others, and clear() leaves them.
    running = await begin(shell, "setsid sleep 4718 & echo up; read line")
    await running.printed(b"up")
    await until(lambda: bool(sleepers("sleep 4718")))
    remains = await Shell(settings_for(kind, home)).clear()
    assert (remains.killed > 0) == shell.cage.separated
    assert remains.surviving == 0
    running.command.kill()
    await running.done()
    assert sleepers("sleep 4718") == []


@pytest.mark.skipif(not AS_ROOT, reason="needs mounts of its own")
async def test_a_home_that_stays_is_nobody_else_s(kind: Containment, home: Path) -> None:
    """What can't be removed of a session, no later one may enter, nor the next executor's (I6)."""
    before = Shell(settings_for(kind, home)).cage
    stuck, removed, abandoned = (before.make_home() for _ in range(3))
    (abandoned.path / "file").touch()
    (stuck.path / "busy").mkdir()
    with private_mounts():
        mount_memory(stuck.path / "busy")
        for ended in (stuck, removed):
            await before.remove_home(ended)
        shell = Shell(settings_for(kind, home))
        await shell.clear()
    assert [path.name for path in home.iterdir()] == [stuck.path.name]
    for cage, gone in ((before, removed), (shell.cage, abandoned)):
        groups = {cage.make_home().group for _ in range(4)}
        assert gone.group in groups
        assert stuck.group not in groups


@pytest.mark.skipif(not AS_ROOT, reason="needs a uid to separate")
async def test_the_last_look_ends_everything_too(
    shell: Shell, sleepers: Callable[[str], list[str]]
) -> None:
    """What a start has given up on keeps nothing else from being ended (I6)."""
    running = await begin(shell, "(setsid sleep 4719 &); id -G; read line")
    await running.printed(b"\n")
    await until(lambda: bool(sleepers("sleep 4719")))
    group = int(running.output.split()[-1])
    tag = Tag(uid=shell.cage.settings.uid, groups=frozenset((group,)))
    freezer = Freezer(shell.cage._signal_uid)
    remains = await Tagged(tag, freezer).kill(Pauses(now=time.monotonic() - GIVE_UP_S))
    assert remains.killed >= 2
    await running.done()
    assert sleepers("") == []


@pytest.mark.skipif(not AS_ROOT, reason="needs a uid to separate")
async def test_what_can_not_be_ended_keeps_its_group(
    shell: Shell, sleepers: Callable[[str], list[str]]
) -> None:
    """A number that something left behind still has is no later command's (I6)."""
    running = await begin(shell, "(setsid sleep 4720 &); id -G; read line")
    await running.printed(b"\n")
    await until(lambda: bool(sleepers("sleep 4720")))
    group = int(running.output.split()[-1])
    with acting_as(STRANGER):
        running.command.write(b"\n")
        done = await running.done()
    assert "something it left running could not be killed" in done.ending.notes
    cells = [shell.cage.open() for _ in range(3)]
    assert group not in {cell.group for cell in cells}
    for cell in cells:
        shell.cage.close(cell, empty=True)
    await running.command._door.cell.enclosure.end()
    assert sleepers("") == []
