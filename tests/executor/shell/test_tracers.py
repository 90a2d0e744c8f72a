# SPDX-License-Identifier: MIT
"""Commands that trace what the executor waits for: a tracer is told of an end before its parent is.

The unit forbids tracing; elsewhere whoever has the shell's uid may trace what has it too (I6).
"""

import asyncio
import os
import shlex
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.executor.injection import traced
from tests.executor.shell.driver import begin, run, until
from tests.executor.shell.test_door import waiting
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.children import Children
from tibet_nc_executor.errand import run_errand
from tibet_nc_executor.process import own_children, read_status
from tibet_nc_executor.shell import Shell

TRACE: Final = """
import ctypes, os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
ptrace = ctypes.CDLL(None).ptrace
ptrace.argtypes = [ctypes.c_long] * 4
print(ptrace(0x4206, int(sys.argv[1]), 0, 0), flush=True)  # PTRACE_SEIZE, and never a wait
end = time.monotonic() + 30
while time.monotonic() < end and not (sys.argv[2:] and os.path.exists(sys.argv[2])):
    time.sleep(0.01)
"""
HOLDS: Final = 200
"""More looks than anybody needs in half a second; without a pause there are thousands."""


@contextmanager
def tracer(shell: Shell, pid: int) -> Generator[subprocess.Popen[bytes]]:
    """Have a process of the shell's uid trace another one, for half a minute at most."""
    uid = shell.cage.settings.uid
    ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    argv = ["setpriv", *ids, "/usr/bin/python3", "-c", TRACE, str(pid)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd="/") as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"0\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def separated(kind: Containment) -> None:
    """Skip where commands are the executor's own uid: there is nothing to be kept from then."""
    if kind is Containment.DESCENT:
        pytest.skip("no uid separates anything")


async def test_one_that_waits_and_is_traced_holds_nobody_up(shell: Shell) -> None:
    """A shell that nothing came to goes, or is left behind, and its group is nobody else's."""
    pid = await waiting(shell)
    door = shell._ready
    assert door is not None
    group = door.cell.group
    with tracer(shell, pid) as process:
        await shell.dismiss()
        assert process.poll() is None
        assert str(group).encode() not in (await run(shell, "id -G")).output.split()
    await run(shell, "true")
    assert pid not in own_children()


async def test_one_that_has_ended_under_a_tracer_is_not_used(shell: Shell) -> None:
    """A shell that was killed, of which only its tracer has been told, costs nobody a command."""
    pid = await waiting(shell)
    with tracer(shell, pid):
        os.kill(pid, 9)
        await until(lambda: (status := read_status(pid)) is not None and status.ended)
        assert (await run(shell, "echo fine")).output == b"fine\n"
    await shell.dismiss()


async def test_a_shell_that_ends_under_a_tracer_is_waited_for(
    shell: Shell, home: Path, tmp_path: Path
) -> None:
    """Its status is told when the tracer lets go, and until then it is only looked at at times."""
    free = home / "free"
    line = f"echo $$; python3 -c {shlex.quote(TRACE)} $$ {free} & read line; exit 3"
    running = await begin(shell, line)
    await running.printed(b"\n0\n")
    pid = int(running.output.split()[0])
    running.command.write(b"\n")
    await until(lambda: (status := read_status(pid)) is not None and status.ended)
    with traced(os.getpid(), tmp_path / "trace", "trace=waitid"):
        await asyncio.sleep(0.5)
    assert (tmp_path / "trace").read_text().count("waitid(") < HOLDS
    assert not running.command.is_over
    free.touch()
    assert (await running.done()).ending.exit == 3


async def test_an_errand_that_is_traced_holds_nobody_up(shell: Shell) -> None:
    """What runs for the executor as the shell's uid is given up when it doesn't go."""
    children = Children()
    uid = shell.cage.settings.uid
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    before = own_children()
    errand = asyncio.create_task(
        run_errand([*become, "sleep", "4791"], children=children, limit_s=1.0)
    )
    await until(lambda: bool(own_children() - before))
    (pid,) = own_children() - before
    await until(lambda: (status := read_status(pid)) is not None and status.uid == uid)
    with tracer(shell, pid) as process:
        assert await errand == -9
        assert process.poll() is None
    assert children.strangers() == frozenset()
    assert pid not in own_children()
