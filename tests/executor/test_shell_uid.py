# SPDX-License-Identifier: MIT
"""What the shell uid tries against a running executor and other sessions, one test each (I2, I6).

Each attack is a program that a command runs; it prints what came of each try. `WORKS` is the one
word that must not be there, and the number of tries must be the expected one.
"""

import os
import shlex
import socket
import subprocess

import pytest

from tests.executor.rig import OTHER_OPERATOR, UNRESTRICTED, Client, Connect, Executor
from tests.executor.shell.driver import AS_ROOT
from tibet_nc_protocol.messages import Finished, Started

pytestmark = [
    pytest.mark.skipif(not AS_ROOT, reason="without a second uid there is no boundary"),
    pytest.mark.executor(shell=f"{UNRESTRICTED}\nfile_bytes = 1000000"),
]

TRY = """
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what, action):
    try:
        result = action()
    except OSError as error:
        print(what, errno.errorcode[error.errno])
    else:
        print(what, "WORKS", result)
def call(name, *arguments):
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
"""


async def attack(client: Client, program: str) -> dict[str, str]:
    """Run a program as the shell uid; return what it says of each try."""
    finished = await client.run(f"python3 -c {shlex.quote(TRY + program)}")
    assert isinstance(finished, Finished)
    assert finished.exit == 0, finished.output
    return tries(finished.output)


def tries(output: bytes) -> dict[str, str]:
    """Return what a program has said of each try."""
    return dict(line.split(" ", 1) for line in output.decode().splitlines())


DENIED = {"EACCES", "EPERM"}


async def test_tracing(executor: Executor, client: Client) -> None:
    """The executor can't be traced: neither attached to, seized, nor its descriptors taken (I6)."""
    tried = await attack(
        client,
        f"pid = {executor.pid}\n"
        "attempt('attach', lambda: call('ptrace', 16, pid, 0, 0))\n"
        "attempt('seize', lambda: call('ptrace', 0x4206, pid, 0, 0))\n"
        "fd = os.pidfd_open(pid)\n"
        "attempt('getfd', lambda: call('syscall', 438, fd, 3, 0))\n"
        "attempt('prlimit', lambda: __import__('resource').prlimit(pid, 7, (10, 10)))\n",
    )
    assert tried.keys() == {"attach", "seize", "getfd", "prlimit"}
    assert set(tried.values()) <= DENIED


async def test_memory(executor: Executor, client: Client) -> None:
    """Its memory can be neither read nor written, by the system calls or by /proc (I6, I10)."""
    tried = await attack(
        client,
        f"pid = {executor.pid}\n"
        "class iovec(ctypes.Structure):\n"
        "    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]\n"
        "buffer = ctypes.create_string_buffer(8)\n"
        "mine, theirs = iovec(ctypes.addressof(buffer), 8), iovec(0x400000, 8)\n"
        "both = (ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)\n"
        "attempt('readv', lambda: call('process_vm_readv', pid, *both))\n"
        "attempt('writev', lambda: call('process_vm_writev', pid, *both))\n"
        "for name in ('mem', 'environ', 'maps', 'auxv', 'stack', 'syscall', 'io'):\n"
        "    attempt(name, lambda: open(f'/proc/{pid}/{name}', 'rb').read(1))\n"
        "attempt('mem-write', lambda: open(f'/proc/{pid}/mem', 'wb'))\n"
        "attempt('fd', lambda: os.listdir(f'/proc/{pid}/fd'))\n"
        "attempt('cwd', lambda: os.readlink(f'/proc/{pid}/cwd'))\n",
    )
    assert len(tried) == 12
    assert set(tried.values()) <= DENIED


async def test_signals(executor: Executor, client: Client) -> None:
    """It can't be signalled, stopped or asked whether it lives, and goes on answering (I6)."""
    tried = await attack(
        client,
        f"pid = {executor.pid}\n"
        "for number in (0, 1, 2, 9, 15, 19):\n"
        "    attempt(number, lambda: os.kill(pid, number))\n"
        "import signal\n"
        "fd = os.pidfd_open(pid)\n"
        "attempt('pidfd', lambda: signal.pidfd_send_signal(fd, 9))\n",
    )
    assert len(tried) == 7
    assert set(tried.values()) == {"EPERM"}


@pytest.mark.parametrize("mode", [0o700, 0o755])
async def test_the_socket(executor: Executor, client: Client, mode: int) -> None:
    """The shell can't connect to the executor's socket, nor put another in its place (I6).

    Its directory keeps it out, and so does the socket by itself.
    """
    executor.socket.parent.chmod(mode)
    tried = await attack(
        client,
        f"path = {str(executor.socket)!r}\n"
        "attempt('connect', lambda: socket.socket(socket.AF_UNIX).connect(path))\n"
        "attempt('unlink', lambda: os.unlink(path))\n"
        "attempt('bind', lambda: socket.socket(socket.AF_UNIX).bind(path + '2'))\n",
    )
    assert len(tried) == 3
    assert set(tried.values()) == {"EACCES"}


async def test_the_network(executor: Executor, client: Client) -> None:
    """With the executor in an empty network namespace nothing on this machine is reached (I2).

    The same program, as the same uid but outside of it, reaches everything.
    """
    name = f"\0tibet-nc-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind(name)
        abstract.listen()
        address = listening.getsockname()
        program = (
            f"attempt('tcp', lambda: socket.create_connection({address}, 5))\n"
            "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"attempt('udp', lambda: udp.sendto(b'x', {address}))\n"
            f"attempt('abstract', lambda: socket.socket(socket.AF_UNIX).connect({name!r}))\n"
        )
        inside = await attack(client, program)
        uid = str(executor.uids.shell)
        outside = subprocess.run(
            ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--",
             "/usr/bin/python3", "-c", TRY + program],
            cwd="/", env={}, capture_output=True, check=True,
        )  # fmt: skip
    assert inside == {"tcp": "ENETUNREACH", "udp": "ENETUNREACH", "abstract": "ECONNREFUSED"}
    reached = tries(outside.stdout)
    assert reached.keys() == inside.keys()
    assert {result.split()[0] for result in reached.values()} == {"WORKS"}
    interfaces = await attack(client, "print('are', *(name for _, name in socket.if_nameindex()))")
    assert interfaces == {"are": "lo"}


async def test_another_session(client: Client) -> None:
    """Another session's home and terminal are closed, though the uid is the same (I6)."""
    await client.send(client.request("echo $PWD; tty; exec 3>secret; sleep 4760 &"))
    assert isinstance(await client.receive(), Started)
    finished = await client.receive()
    assert isinstance(finished, Finished)
    home, terminal = finished.output.decode().split()
    program = (
        f"home, terminal = {home!r}, {terminal!r}\n"
        "attempt('list', lambda: os.listdir(home))\n"
        "attempt('read', lambda: open(home + '/secret').read())\n"
        "attempt('write', lambda: open(home + '/x', 'w'))\n"
        "attempt('mode', lambda: os.chmod(home, 0o777))\n"
        "attempt('rename', lambda: os.rename(home, home + 'x'))\n"
        "attempt('terminal', lambda: os.open(terminal, os.O_WRONLY | os.O_NOCTTY))\n"
    )
    await client.send(
        client.request(f"python3 -c {shlex.quote(TRY + program)}", sender=OTHER_OPERATOR)
    )
    assert isinstance(await client.receive(), Started)
    other = await client.receive()
    assert isinstance(other, Finished)
    tried = tries(other.output)
    assert len(tried) == 6
    assert set(tried.values()) <= DENIED


async def test_a_file_has_a_greatest_length(client: Client) -> None:
    """No single file grows beyond the limit (I6)."""
    tried = await attack(
        client,
        "import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file = open('big', 'wb', buffering=0)\n"
        "file.truncate(0); file.write(bytes(1000000))\n"
        "attempt('write', lambda: file.write(b'x'))\n"
        "attempt('truncate', lambda: file.truncate(1 << 40))\n",
    )
    assert tried == {"write": "EFBIG", "truncate": "EFBIG"}


async def test_files_outside_home(executor: Executor, client: Client) -> None:
    """Nothing of the executor's can be made, changed or removed (I6)."""
    tried = await attack(
        client,
        f"state = {str(executor.state)!r}\n"
        f"base = {str(executor.directory)!r}\n"
        "for name in ('chain', 'payloads', 'recordings', 'executor.key', 'tokens.jsonl'):\n"
        "    path = state + '/' + name\n"
        "    attempt('stat-' + name, lambda: os.stat(path))\n"
        "    attempt('open-' + name, lambda: os.open(path, os.O_RDONLY))\n"
        "    attempt('append-' + name, lambda: os.open(path, os.O_WRONLY | os.O_APPEND))\n"
        "    attempt('unlink-' + name, lambda: os.unlink(path))\n"
        "attempt('settings', lambda: open(base + '/executor.toml', 'a'))\n"
        "attempt('pins', lambda: open(base + '/operators.toml', 'a'))\n"
        "attempt('list-homes', lambda: os.listdir(base + '/home'))\n"
        "attempt('make-home', lambda: os.mkdir(base + '/home/mine'))\n",
    )
    assert len(tried) == 24
    assert set(tried.values()) == {"EACCES"}


async def test_not_even_the_executor_s_own_uid_reads_its_memory(executor: Executor) -> None:
    """The key in memory is hidden from every other process of the executor's uid (I10)."""
    files = [f"/proc/{executor.pid}/{name}" for name in ("environ", "maps", "mem")]
    uid = str(executor.uids.executor)
    prefix = ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"]
    for file in files:
        done = subprocess.run(
            [*prefix, "head", "-c", "1", file], capture_output=True, text=True, check=False
        )
        assert "Permission denied" in done.stderr, (file, done)
    assert os.stat(f"/proc/{executor.pid}/environ").st_uid == 0


async def test_the_shell_uid_reads_and_reaches_nothing(
    executor: Executor, connect: Connect
) -> None:
    """As the shell uid: no file of the executor's, no key, no socket, no memory (I6, I10)."""
    client = await connect(executor)
    await client.run("echo a recording")
    paths = [str(path) for path in sorted(executor.state.rglob("*"))]
    paths += [str(executor.state), str(executor.socket), str(executor.socket.parent)]
    proc = [f"/proc/{executor.pid}/{name}" for name in ("environ", "mem", "maps", "fd", "auxv")]
    assert len(paths) > 8
    script = (
        "import os, socket, sys\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        if path.endswith('.sock'):\n"
        "            socket.socket(socket.AF_UNIX).connect(path)\n"
        "        elif os.path.isdir(path): os.listdir(path)\n"
        "        else: open(path, 'rb').read(1)\n"
        "        print('REACHED', path)\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    quoted = " ".join(f"'{path}'" for path in (*paths, *proc))
    done = await client.run(f'python3 -c "{script}" {quoted}')
    assert isinstance(done, Finished)
    lines = done.output.decode().split()
    assert "REACHED" not in lines
    assert len(lines) == len(paths) + len(proc), done.output
    assert set(lines) <= {"13", "1", "2"}
