# SPDX-License-Identifier: MIT
"""Faults in the system calls of a process that runs, and how few of something it has left."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.executor.rig import Executor
from tibet_nc_executor.prologue import DESCRIPTOR_FLOOR

WRITTEN_S: Final = 5.0
"""So long at most a tracer is waited for: what it traces may never rest."""


@contextmanager
def injected(executor: Executor, fault: str, files: Iterable[Path]) -> Generator[Path]:
    """Let a fault happen to all system calls on some files; ``fault`` is as strace writes it.

    A file may be one that isn't there yet. Gives the file in which these calls are written down.
    """
    with traced(executor.pid, executor.directory / "trace", f"inject={fault}", files) as trace:
        yield trace


@contextmanager
def traced(pid: int, trace: Path, expression: str, files: Iterable[Path] = ()) -> Generator[Path]:
    """Have strace look at a process, with an expression of its own, perhaps at some files only."""
    tracer = subprocess.Popen(
        [
            *("strace", "-f", "-y", "-p", str(pid), "-o", trace, "-e", expression),
            *(part for path in files for part in ("-P", str(path))),
        ],
        stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    with tracer.stderr as said:
        while b"attached" not in (line := said.readline()):
            assert line, "strace ended"
        try:
            yield trace
        finally:
            await_written(pid)
            tracer.send_signal(signal.SIGINT)
            tracer.wait()


def await_written(pid: int) -> None:
    """Wait until what a process has done is written down by its tracer, which may be stopped then.

    A peer hears what a call says before the tracer sees the end of that call. Whoever waits for the
    next thing has had all its calls seen.
    """
    end = time.monotonic() + WRITTEN_S
    with suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if int(thread.name) != threading.get_native_id():
                with suppress(OSError):
                    while "\nState:\tS" not in (thread / "status").read_text():
                        if time.monotonic() > end:
                            return
                        time.sleep(0.002)


def traced_program(
    program: Path, directory: Path, word: str, *options: str, files: Iterable[Path] = ()
) -> tuple[list[str], str]:
    """Run a program that tells on a socket what it has done; return that, and strace's file.

    The options are strace's; with files, it looks only at the calls on them.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.NamedTemporaryFile(prefix="strace-") as trace:
        subprocess.run(
            [
                *("strace", "-f", "-qq", "-o", trace.name, *options),
                *(part for path in files for part in ("-P", str(path))),
                *(sys.executable, str(program), str(directory), str(theirs.fileno()), word),
            ],
            pass_fds=[theirs.fileno()],
            check=False,
            capture_output=True,
        )
        theirs.close()
        said = b""
        while data := ours.recv(65536):
            said += data
        return said.decode().splitlines(), Path(trace.name).read_text()


@contextmanager
def descriptors_left(count: int) -> Generator[None]:
    """Leave this process only so many descriptors that it can open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir("/proc/self/fd"))) + DESCRIPTOR_FLOOR + count
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def file_bytes_left(count: int) -> Generator[None]:
    """Let no file of this process grow over a length: a write over it is cut short, then fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
