# SPDX-License-Identifier: MIT
"""Faults in the system calls of an executor that runs (strace)."""

import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.executor.rig import Executor


@contextmanager
def injected(executor: Executor, fault: str, files: Iterable[Path]) -> Iterator[Path]:
    """Let a fault happen to all system calls on some files; ``fault`` is as strace writes it.

    A file may be one that isn't there yet. Gives the file in which these calls are written down.
    """
    trace = executor.directory / "trace"
    tracer = subprocess.Popen(
        [
            *("strace", "-f", "-p", str(executor.pid), "-o", trace),
            *("-e", f"inject={fault}"),
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
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
