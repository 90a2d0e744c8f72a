# SPDX-License-Identifier: MIT
"""Journal files with as many entries as a chain has records, away from this machine's journal."""

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.bench.debian import need
from tests.bench.long_chain import intent, outcome
from tibet_nc_executor.journal import fields
from tibet_nc_protocol.records import FIRST_PREV, digest

REMOTE: Final = "/lib/systemd/systemd-journal-remote"
_BEGIN_US: Final = 1_795_600_800_000_000
_BOOT: Final = "b" * 32
_BATCH: Final = 1000


def write(directory: Path, n: int) -> None:
    """Make journal files of ``n`` entries with the fields of our records; raises MissingError."""
    need({REMOTE: "systemd-journal-remote"})
    process = subprocess.Popen(
        [REMOTE, f"--output={directory}/bench.journal", "--split-mode=none", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if process.stdin is None:
        raise BrokenPipeError("no pipe to systemd-journal-remote")
    with process.stdin as pipe:
        for batch in _batches(n):
            pipe.write(batch)
    if process.wait() != 0:
        raise ChildProcessError(f"systemd-journal-remote ended with {process.returncode}")


def verify(directory: Path) -> float:
    """Let journalctl check them; return the processor seconds that it needed."""
    files = [f"--file={path}" for path in sorted(directory.glob("*.journal"))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["journalctl", "--verify", *files], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _batches(n: int) -> Iterator[bytes]:
    entries: list[str] = []
    for number in range(n):
        run = f"{number:032x}"
        record = outcome(number, FIRST_PREV, run, number) if number & 1 else None
        entry = fields(record or intent(number, FIRST_PREV, run), digest(run.encode()))
        at = _BEGIN_US + number
        text = [f"__REALTIME_TIMESTAMP={at}", f"__MONOTONIC_TIMESTAMP={number}"]
        text += [f"_BOOT_ID={_BOOT}", *(f"{name}={value}" for name, value in entry.items())]
        entries.append("\n".join(text) + "\n\n")
        if len(entries) == _BATCH:
            yield "".join(entries).encode()
            entries.clear()
    yield "".join(entries).encode()
