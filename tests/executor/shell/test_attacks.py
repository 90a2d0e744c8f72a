# SPDX-License-Identifier: MIT
"""What the shell uid tries against the executor and other sessions, one test each (I2, I6)."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.executor.shell.driver import LIMITS, begin, run, settings_for
from tests.kernels import TAKES_NO_FILES
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.selfcheck import verify
from tibet_nc_executor.settings import SEARCH_PATH
from tibet_nc_executor.shell import Shell


async def test_the_cage_verifies_itself(shell: Shell, restricted: Shell, home: Path) -> None:
    """The start-up check passes, and commands start at home (I2)."""
    for checked in (shell, restricted):
        await verify(checked)
        assert (await run(checked, "pwd")).output == f"{home}\n".encode()


async def test_inherited_descriptors(shell: Shell) -> None:
    """A program gets its three standard descriptors and nothing of the executor's (I6)."""
    extra = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        done = await run(
            shell, "ls -1 /proc/self/fd; (ls -1 /proc/self/fd); cat <(ls -1 /proc/self/fd)"
        )
    finally:
        os.close(extra)
    assert done.output == b"0\n1\n2\n3\n" * 3


@pytest.mark.skipif(not TAKES_NO_FILES, reason="needs Linux 6.16")
async def test_an_open_file_for_the_executor(shell: Shell) -> None:
    """A shell's own socket carries none: closing one could take as long as a command likes (I6)."""
    program = (
        "import os, socket; ours = socket.socket(fileno=os.dup(0));"
        " socket.send_fds(ours, [b'0'], [0])"
    )
    done = await run(shell, f'python3 -c "{program}" <&63')
    assert b"PermissionError" in done.output


async def test_environment(shell: Shell, home: Path) -> None:
    """A program gets a fixed environment and nothing of the executor's (I10)."""
    os.environ["TIBET_NC_SECRET"] = "secret"
    try:
        done = await run(shell, "env -u _ | sort")
    finally:
        del os.environ["TIBET_NC_SECRET"]
    expected = {
        "GIT_PAGER": "cat",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LESSSECURE": "1",
        "LOGNAME": "tibet-nc-shell",
        "MANPAGER": "cat",
        "PAGER": "cat",
        "PATH": SEARCH_PATH,
        "PWD": str(home),
        "SHELL": "/bin/bash",
        "SHLVL": "1",
        "SYSTEMD_COLORS": "0",
        "SYSTEMD_PAGER": "cat",
        "SYSTEMD_URLIFY": "0",
        "TERM": "xterm-256color",
        "USER": "tibet-nc-shell",
    }
    assert dict(line.split("=", 1) for line in done.output.decode().splitlines()) == expected


async def test_privileges(shell: Shell) -> None:
    """A program has the shell uid, no capability, no way to get one, and one group more (I2)."""
    done = await run(shell, "cat /proc/self/status")
    status = dict(line.split(":\t", 1) for line in done.output.decode().splitlines())
    uid = str(shell.cage.settings.uid)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {uid}
    assert len(status["Groups"].split()) == 1


async def test_limits(kind: Containment, home: Path) -> None:
    """A program has the limits of the settings and leaves no core file, and raises none (I6)."""
    limits = replace(LIMITS, processes=70, address_space=1 << 30, file_size=1 << 20, open_files=90)
    shell = Shell(settings_for(kind, home, limits=limits))
    text = "for what in v f n c; do ulimit -$what unlimited; done 2>&-; cat /proc/self/limits"
    done = await run(shell, text)
    expected = {
        "Max address space": 1 << 30,
        "Max file size": 1 << 20,
        "Max open files": 90,
        "Max core file size": 0,
    }
    lines = done.output.decode().splitlines()
    found = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert {name: found[name] for name in expected} == {
        name: [str(value)] * 2 for name, value in expected.items()
    }


async def test_configured_groups(kind: Containment, home: Path) -> None:
    """Configured groups are given, and only those (I2)."""
    settings = settings_for(kind, home)
    shell = Shell(replace(settings, groups=(4, 60000)))
    await verify(shell)
    groups = (await run(shell, "id -G")).output.split()
    assert groups[:3] == [str(settings.gid).encode(), b"4", b"60000"]
    assert len(groups) == 4


async def test_signals_to_the_executor(shell: Shell) -> None:
    """The executor and the first process cannot be signalled, not even asked whether they live."""
    done = await run(
        shell,
        f"for p in 1 {os.getpid()}; do for s in 0 STOP KILL; do kill -s $s $p || echo refused;"
        " done; done 2>/dev/null; kill -9 -1; echo alive",
    )
    assert done.output == b"refused\n" * 6 + b"alive\n"


@pytest.mark.parametrize("file", ["mem", "environ", "maps", "auxv", "stack", "syscall", "fd/0"])
async def test_the_executor_s_memory(shell: Shell, file: str) -> None:
    """Nothing of the executor's inside can be read (I6)."""
    done = await run(
        shell, f"head -c 1 /proc/{os.getpid()}/{file}; echo; echo x >/proc/{os.getpid()}/{file}"
    )
    assert done.output.count(b"Permission denied") == 2


async def test_another_session_s_terminal(shell: Shell) -> None:
    """A session cannot write to another's terminal, read from it, or open it to itself (I6)."""
    other = await begin(shell, "tty; read line; echo got $line")
    await other.printed(b"\n")
    terminal = other.output.decode().strip()
    done = await run(
        shell,
        f"echo forged >{terminal}; head -c 1 <{terminal}; chmod 666 {terminal};"
        f" echo forged >{terminal}; stty -F {terminal} raw",
    )
    assert done.output.count(b"ermission denied") + done.output.count(b"not permitted") == 5
    other.command.write(b"mine\n")
    assert (await other.done()).output == f"{terminal}\ngot mine\n".encode()


async def test_the_run_s_group_cannot_be_given_up(shell: Shell) -> None:
    """What tells a run's processes apart stays with them (I6)."""
    text = (
        'id -G; setpriv --clear-groups id -G; perl -e \'$( = $) = "1 1"; exec "id -G"\';'
        " unshare --user --map-root-user setpriv --clear-groups id -G"
    )
    done = await run(shell, text)
    mine, *kept = [line.split()[-1] for line in done.output.splitlines() if line[:1].isdigit()]
    assert kept
    assert set(kept) <= {mine, b"65534"}


async def test_the_control_groups(shell: Shell, home: Path) -> None:
    """A command cannot move a process to another control group, or make or end one (I6)."""
    done = await run(
        shell, "find ~ /sys/fs/cgroup -writable -print 2>/dev/null; cat /proc/self/cgroup"
    )
    found = [line for line in done.output.decode().splitlines() if line.startswith("/")]
    assert found == [str(home)]
    if shell.cage.containment is Containment.CGROUP:
        assert f"/tibet-nc-{os.getpid()}-".encode() in done.output


async def test_typing_into_the_own_terminal(shell: Shell) -> None:
    """Input that a command leaves behind reaches nobody: the next one has another terminal."""
    session = shell.new_session()
    await run(shell, "perl -e 'ioctl(STDIN, 0x5412, $_) for split //, \"id\\n\"'", session)
    done = await run(shell, "read -t 0 && echo input; true", session)
    assert done.output == b""


async def test_setuid_programs(shell: Shell, home: Path) -> None:
    """A program that would run as root runs as the shell uid (I2)."""
    program = home / "as-root"
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    assert (await run(shell, "./as-root -u")).output == b"%d\n" % shell.cage.settings.uid


@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (0, 64298), (64298, 0)])
def test_root_is_refused(kind: Containment, home: Path, uid: int, gid: int) -> None:
    """Commands never run as root, nor in its group (I2)."""
    with pytest.raises(ShellError, match="may not run as root"):
        Shell(replace(settings_for(kind, home), uid=uid, gid=gid))


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
async def test_text_that_no_shell_can_get(shell: Shell, text: str) -> None:
    """It is refused before anything is started."""
    with pytest.raises(ShellError):
        await shell.start(text, shell.new_session(), lambda _: None)


@pytest.mark.parametrize("text", ["-i", "--version", "--rcfile /etc/passwd -i", "+r", "-c id", "-"])
async def test_a_text_is_no_option_of_the_shell(restricted: Shell, text: str) -> None:
    """A command that looks like an option of bash is looked for as a program, and not found."""
    done = await run(restricted, text)
    assert done.ending.exit == 127
    assert b": command not found" in done.output


async def test_a_command_of_the_largest_size(shell: Shell) -> None:
    """Sixty-four kilobytes of text arrive whole."""
    text = "echo " + "x" * (64 * 1024 - 5)
    assert (await run(shell, text)).output == b"x" * (64 * 1024 - 5) + b"\n"


async def test_a_missing_home(kind: Containment) -> None:
    """Without a home commands start at the root directory."""
    shell = Shell(settings_for(kind, Path("/nonexistent")))
    assert (await run(shell, "pwd")).output == b"/\n"


async def test_a_shell_that_cannot_begin_is_not_a_command_that_failed(
    kind: Containment, home: Path
) -> None:
    """If the cage fails there is an error with its words, not an exit status."""
    shell = Shell(replace(settings_for(kind, home), groups=(2**32 - 1,)))
    command = await shell.start("true", shell.new_session(), lambda _: None)
    with pytest.raises(ShellError, match="before the command began: setpriv"):
        await command.wait()


def test_ignored_signals_are_not_passed_on(kind: Containment, home: Path) -> None:
    """An executor that a script started in its background can interrupt its commands."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.executor.shell.driver import *\n"
        "from tibet_nc_executor.cage import Containment\n"
        "async def main():\n"
        f"    shell = Shell(settings_for(Containment({kind.value!r}), Path({str(home)!r})))\n"
        "    running = await begin(shell, 'echo up; while :; do :; done')\n"
        "    await running.printed(b'up')\n"
        "    running.command.interrupt()\n"
        "    print((await running.done()).ending.signal)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        ["/usr/bin/env", "--ignore-signal=INT,QUIT,HUP", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{int(signal.SIGINT)}\n", "")
