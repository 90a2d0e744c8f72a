# SPDX-License-Identifier: MIT
"""The process that waits for the next command: it saves time and changes nothing else."""

import asyncio
import os
import re
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.executor.injection import file_bytes_left, traced
from tests.executor.shell.driver import SECONDS, Running, begin, commands_of, run, until
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.cgroup import CgroupRun
from tibet_nc_executor.door import Door
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.process import all_processes, own_children, read_status
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.terms import Reason


def bashes(shell: Shell) -> set[int]:
    """Return the children of this process that wait for a command as the shell uid."""
    found: set[int] = set()
    for pid in all_processes():
        status = read_status(pid)
        if (
            status is not None
            and not status.ended
            and status.parent == os.getpid()
            and status.uid == shell.cage.settings.uid
            and b". /dev/fd/" in _command_line(pid)
        ):
            found.add(pid)
    return found


def _command_line(pid: int) -> bytes:
    """Return what a process was started with; that of one that waits ends with a file to read."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


async def waiting(shell: Shell) -> int:
    """Make ready and return the process that waits, once it does."""
    before = bashes(shell)
    await shell.prepare(shell.new_session())
    await until(lambda: len(bashes(shell) - before) == 1)
    (pid,) = bashes(shell) - before
    return pid


async def test_a_command_gets_the_process_that_waited(shell: Shell) -> None:
    """What was made ready is used, once; the next command without it runs as well."""
    pid = await waiting(shell)
    assert (await run(shell, "echo $$")).output == b"%d\n" % pid
    assert (await run(shell, "echo $$")).output != b"%d\n" % pid
    assert bashes(shell) == set()


async def test_a_command_looks_the_same_whether_one_waited(shell: Shell) -> None:
    """Environment, descriptors, limits, options and process tree don't tell the difference."""
    text = "set; env; ulimit -a; shopt; stty -a; ls -l /proc/self/fd | wc -l; ps -o pgid= $$"
    await shell.prepare(shell.new_session())
    varying = (b"BASHPID=", b"PPID=", b"SECONDS=", b"SRANDOM=", b"RANDOM=", b"EPOCH", b"TIBET")

    def constant(output: bytes, pid: bytes) -> list[bytes]:
        return [
            re.sub(rb"\b%s\b" % pid, b"PID", line)
            for line in output.splitlines()
            if not line.startswith(varying)
        ]

    seen: list[list[bytes]] = []
    for _ in range(2):
        pid = (done := (await run(shell, f"echo $$; {text}")).output).split()[0]
        seen.append(constant(done, pid))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_one_that_was_attacked_is_not_used(shell: Shell, number: signal.Signals) -> None:
    """A waiting process that something killed or stopped costs nobody a command."""
    pid = await waiting(shell)
    os.kill(pid, number)
    await until(lambda: (status := read_status(pid)) is None or status.state in "TXZ")
    assert (await run(shell, "echo fine")).output == b"fine\n"
    await shell.prepare(shell.new_session())
    await until(lambda: pid not in bashes(shell))
    assert (await run(shell, "echo $$")).output != b"%d\n" % pid
    assert bashes(shell) == set()


async def approached(shell: Shell, text: str, session: SessionShell) -> Door:
    """Return a door with a shell that has become the command's and waits for the word."""
    await shell.prepare(session)
    await until(lambda: bool(bashes(shell)))
    door = await shell.approach(text, session)
    assert door is not None
    await until(lambda: any(text in line for line in commands_of(shell.cage.settings.uid)))
    return door


async def test_nothing_runs_before_the_word(shell: Shell, home: Path) -> None:
    """A shell that has approached runs neither what its session brings back nor the command."""
    session = shell.new_session()
    await run(shell, "printf '\\0touch state\\0' >&63; trap - EXIT", session)
    door = await approached(shell, "touch command", session)
    await asyncio.sleep(0.5)  # a hundred times what it would take
    assert list(home.iterdir()) == []
    command = await shell.start("touch command", session, lambda _: None, door=door)
    assert (await command.wait()).exit == 0
    assert {path.name for path in home.iterdir()} == {"state", "command"}


async def test_the_end_of_the_executor_is_not_the_word(shell: Shell, home: Path) -> None:
    """A shell that has approached ends with whoever would have told it to go on."""
    door = await approached(shell, "touch command", shell.new_session())
    with socket.socket(fileno=os.dup(door.told)) as word:
        word.shutdown(socket.SHUT_WR)
    await until(lambda: not door.is_waiting)
    assert list(home.iterdir()) == []
    await door.shut()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_one_that_was_attacked_on_its_way_is_not_used(
    shell: Shell, number: signal.Signals
) -> None:
    """A shell that something killed or stopped as it approached costs nobody a command."""
    running = Running()
    door = await approached(shell, "echo $$", shell.new_session())
    door.signal(number)
    await until(lambda: not door.is_waiting)
    session = shell.new_session()
    running.command = await shell.start("echo $$", session, running.feed, door=door)
    done = await running.done()
    assert (done.ending.exit, done.output.strip().isdigit()) == (0, True)
    assert bashes(shell) == set()


async def test_one_that_was_killed_before_it_heard_the_word_tells_nothing(shell: Shell) -> None:
    """Neither a word to it nor a look at what it has told is an error, and there is an end of it.

    A socket whose other end was closed with something unread in it says so with an error.
    """
    door = await approached(shell, "echo no", shell.new_session())
    door.signal(signal.SIGSTOP)
    await until(lambda: not door.is_waiting)
    door.go()
    door.signal(signal.SIGKILL)
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    await until(lambda: os.waitid(os.P_PIDFD, door.pidfd, flags) is not None)
    assert door.hear() == b""
    door.go()
    door.go()
    door.signal(signal.SIGTERM)
    await door.shut()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_process_that_can_not_be_watched_is_ended(shell: Shell, tmp_path: Path) -> None:
    """Nothing is left of a door whose process was started and then couldn't be held on to (I6)."""
    before = own_children()
    fault = "inject=pidfd_open:error=EMFILE"
    with (
        traced(os.getpid(), tmp_path / "trace", fault),
        pytest.raises(ShellError, match="Too many open files"),
    ):
        Door(shell.cage)
    assert own_children() <= before
    assert "INJECTED" in (tmp_path / "trace").read_text()
    assert (await run(shell, "echo fine")).output == b"fine\n"


@pytest.mark.parametrize("text", ["echo a\0b", "echo \ud800"])
async def test_nothing_approaches_with_what_no_shell_can_run(shell: Shell, text: str) -> None:
    """Such a text leaves no process behind, and is an error when it should start."""
    session = shell.new_session()
    await shell.prepare(session)
    assert await shell.approach(text, session) is None
    assert bashes(shell) == set()
    with pytest.raises(ShellError):
        await shell.start(text, session, lambda _: None)


async def test_what_can_not_be_written_down_for_a_shell_is_not_run(shell: Shell) -> None:
    """Without room for a command's state it is an error, no shell is left, and the next one runs.

    The room is the kernel's memory, which a limit of the executor's counts as a file's.
    """
    session = shell.new_session()
    await run(shell, f"large={'x' * 2000}", session)
    await shell.prepare(session)
    with file_bytes_left(1000):
        assert await shell.approach("echo no", session) is None
        with pytest.raises(ShellError, match="File too large"):
            await shell.start("echo no", session, lambda _: None)
    assert bashes(shell) == set()
    assert (await run(shell, "echo ${#large}", session)).output == b"2000\n"


async def test_nothing_waits_after_dismissal(shell: Shell) -> None:
    """The process goes, and its place in the cage is free again."""
    pid = await waiting(shell)
    await shell.prepare(shell.new_session())
    assert bashes(shell) == {pid}
    await shell.dismiss()
    assert bashes(shell) == set()
    await shell.dismiss()
    assert (await run(shell, "echo fine")).output == b"fine\n"


async def test_a_place_of_which_nothing_is_left_is_given_again(
    shell: Shell, kind: Containment
) -> None:
    """Groups don't run out: neither a command keeps its own, nor a door that nothing went through.

    However the command ended.
    """
    if kind is Containment.DESCENT:
        pytest.skip("there are no groups")
    groups: list[bytes] = []
    for end in ("true", "exit 3", "kill -9 $$", "setsid sleep 4775 & true", "exec true"):
        groups.append((await run(shell, f"id -G; {end}")).output)
        await shell.prepare(shell.new_session())
        await shell.dismiss()
    assert len(set(groups)) == 1


async def test_whatever_is_behind_a_door_goes_with_it(shell: Shell, kind: Containment) -> None:
    """What got in beside the process that waits is ended with it, though no command ran (I6)."""
    if kind is Containment.DESCENT:
        pytest.skip("nothing can be put there from outside")
    await waiting(shell)
    door = shell._ready
    assert door is not None
    uid, group = shell.cage.settings.uid, door.cell.group
    ids = [f"--reuid={uid}", f"--regid={uid}", f"--groups={group}"]
    beside = subprocess.Popen(["setpriv", *ids, "sleep", "4768"])  # noqa: ASYNC220 - at once
    try:
        await until(lambda: any(line.startswith("sleep 4768") for line in commands_of(uid)))
        if isinstance(door.cell.enclosure, CgroupRun):
            procs = door.cell.enclosure._directory / "cgroup.procs"
            procs.write_text(str(beside.pid))
        await shell.dismiss()
        assert commands_of(uid) == []
    finally:
        beside.kill()
        beside.wait()


async def test_a_waiting_process_is_no_leftover(shell: Shell, kind: Containment) -> None:
    """A command's end neither counts nor kills what waits for the next one."""
    running = await begin(shell, "setsid sleep 4719 & read line")
    uid = shell.cage.settings.uid
    await until(lambda: any(line.startswith("sleep 4719") for line in commands_of(uid)))
    pid = await waiting(shell)
    running.command.write(b"\n")
    ending = (await running.done()).ending
    assert ending.reason is Reason.EXITED
    if kind is not Containment.DESCENT:  # which can't tell who left it while others run
        assert "1 process left running: killed" in ending.notes
    assert pid in bashes(shell)
    await shell.dismiss()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=90))
def test_any_text_arrives_as_it_was_typed(shell: Shell, text: str) -> None:
    """The command is bash's own `-c` string to the last character: it is read from /proc."""
    command = f"cat /proc/$$/cmdline; exit #{text}"

    async def words() -> list[bytes]:
        async with asyncio.timeout(SECONDS):
            return (await run(shell, command)).output.split(b"\0")

    assert asyncio.run(words())[-3:] == [command.encode(), b"tibet-nc", b""]
