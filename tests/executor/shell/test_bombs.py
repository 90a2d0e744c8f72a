# SPDX-License-Identifier: MIT
"""Commands that try to take everything: bounded, survived, and gone after their end (I6)."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.executor.shell.driver import LIMITS, begin, commands_of, run, settings_for, until
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.shell import Shell

HOPPER = """
use POSIX;
$SIG{$_} = 'IGNORE' for qw(HUP INT TERM);
POSIX::_exit(0) if fork;
setsid;
while (1) { POSIX::_exit(0) if fork; }
"""

BOMBS = {
    "in one session": "f() { f | f & }; f",
    "in sessions of their own": "while :; do (setsid sleep 4717 &); done",
    "deaf": "f() { trap '' HUP INT TERM; f | f & }; f; f",
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_fork_bomb_is_survived(kind: Containment, home: Path, name: str) -> None:
    """It meets its limit, others work meanwhile, and all of it is gone after its end (I6)."""
    limits = replace(LIMITS, processes=60)
    shell = Shell(settings_for(kind, home, limits=limits))
    before = await begin(shell, "read line; echo still $line")
    said = home / "said"
    running = await begin(shell, f"({BOMBS[name]}) 2>said; sleep 100")
    await until(lambda: said.exists() and "fork: " in said.read_text())
    for _ in range(5):
        assert (await run(shell, "echo $(echo works)")).output == b"works\n"
    before.command.write(b"here\n")
    assert (await before.done()).output == b"still here\n"
    running.command.kill()
    await running.done()
    assert commands_of(shell.cage.settings.uid) == []
    assert (await run(shell, "echo $(echo works)")).output == b"works\n"


async def test_a_process_that_never_stays_is_caught(shell: Shell, home: Path) -> None:
    """One that forks and ends all the time is found too, and others go on (I6)."""
    file = home / "hopper"
    file.write_text(HOPPER)
    file.chmod(0o644)
    other = await begin(shell, "setsid sleep 4719 & echo up; read line; kill -0 $! && echo alive")
    await other.printed(b"up")
    running = await begin(shell, f"perl {file}; echo up; read line")
    await running.printed(b"up")
    running.command.write(b"\n")
    done = await running.done()
    assert done.ending.exit == 0
    assert not [line for line in commands_of(shell.cage.settings.uid) if "hopper" in line]
    other.command.write(b"\n")
    ended = await other.done()
    assert ended.output == b"up\nalive\n"
    assert not any("stopped" in note for note in ended.ending.notes)


async def test_a_memory_bomb_meets_its_limit(kind: Containment, home: Path) -> None:
    """One process cannot take more than its address space."""
    shell = Shell(settings_for(kind, home, limits=replace(LIMITS, address_space=256 << 20)))
    take = "perl -e '$x = \"x\" x (%d << 20)' 2>/dev/null && echo taken || echo refused"
    assert (await run(shell, take % 16)).output == b"taken\n"
    assert (await run(shell, take % 1024)).output == b"refused\n"


async def test_the_executor_is_not_the_first_to_die(shell: Shell) -> None:
    """When memory runs out the kernel takes a command before the executor."""
    done = await run(shell, "cat /proc/self/oom_score_adj")
    assert done.output == b"500\n"
