# SPDX-License-Identifier: MIT
"""Break the disk: each system call with which the chain is written fails once, or is the last.

The real kernel calls of a real writer are counted with strace, then the writer is run again for
each of them, with that one failing or the process killed at it. Whatever happens, the next start
finds a chain that verifies, and holds every record that was said to be on disk (I1, I7, I8).
"""

import asyncio
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from tests.executor import chainkit as kit
from tests.executor.injection import traced_program
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, PAYLOADS_CODEC
from tibet_nc_protocol.records import Intent, commitment

WRITER = Path(__file__).with_name("writer.py")
CALLS = ("mkdir", "openat", "fallocate", "write", "fdatasync", "fsync")
SEGMENTS = ("000000000000.jsonl", "000000000004.jsonl")
FULL = {"openat", "fallocate", "write", "mkdir"}
"""Calls that a full disk can fail."""


def run(directory: Path, *options: str, pace: str = "once") -> tuple[list[str], str]:
    """Run the writer under strace; return what it said and the trace of its writing calls."""
    watched = [directory, directory / "lock", directory / "reserve"]
    for name in ("chain", "payloads"):
        watched += [directory / name, *(directory / name / segment for segment in SEGMENTS)]
    trace = ("-e", f"trace={','.join(CALLS)}")
    return traced_program(WRITER, directory, pace, *trace, *options, files=watched)


@pytest.fixture(scope="module")
def calls() -> Counter[str]:
    """Count the calls of a writer that nothing happens to."""
    with tempfile.TemporaryDirectory() as name:
        said, trace = run(Path(name))
    assert said == ["run 1", "run 3", "run 5"]
    return Counter(re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE))


def check(directory: Path, said: list[str], what: str) -> None:
    """Check that a new start finds everything that was promised, and goes on."""
    promised = {int(line.split()[1]) for line in said if line.startswith("run ")}
    ledger = kit.open_ledger(directory, segment_bytes=2000)
    lines = kit.lines(directory)
    records = kit.verify(directory)
    assert ledger.length == len(lines), what
    intents = {record.seq: record for record in records if isinstance(record, Intent)}
    assert promised <= intents.keys(), what
    for number in promised:
        paths = (directory / PAYLOADS).glob("[0-9]*")
        segment = max(path for path in paths if int(path.stem) <= number)  # where readers look
        texts = map(PAYLOADS_CODEC.decode, segment.read_bytes().splitlines())
        fitting = [
            text
            for text in texts
            if text.seq == number
            and commitment(bytes.fromhex(text.salt), text.command) == intents[number].command
        ]
        assert len(fitting) == 1, what
    asyncio.run(ledger.close())


def faults() -> list[tuple[str, str, str]]:
    """Return each call with each thing that can happen at it, and how the ledger syncs."""
    found = [(call, fault) for call in CALLS for fault in ("error=EIO", "signal=KILL")]
    found += [(call, "error=ENOSPC") for call in sorted(FULL)]
    by_a_thread = [(call, fault, "thread") for call, fault in found if call == "fdatasync"]
    return [(call, fault, "once") for call, fault in found] + by_a_thread


@pytest.mark.parametrize(("call", "fault", "pace"), faults())
def test_whatever_call_fails_the_next_start_is_whole(
    calls: Counter[str], call: str, fault: str, pace: str
) -> None:
    """At every single call: what was promised is there, and the chain verifies and goes on."""
    assert calls[call] > 0
    for number in range(1, calls[call] + 1):
        directory = Path(tempfile.mkdtemp(prefix="tibet-nc-fault-"))
        what = f"{call} {number} of {calls[call]}: {fault}"
        said, trace = run(directory, "-e", f"inject={call}:{fault}:when={number}", pace=pace)
        # strace counts the calls of each thread by itself, and which of them syncs is its own luck.
        of_each = Counter(re.findall(rf"^(\d+) +{call}\(", trace, re.MULTILINE))
        missed = pace == "thread" and max(of_each.values()) < number
        assert missed or "INJECTED" in trace or fault == "signal=KILL", what
        if call == "fsync":  # at the start, or between segments: the kernel tells of it only once
            second = directory / CHAIN / SEGMENTS[1]
            assert not second.exists() or not second.read_bytes(), what
        check(directory, said, what)
        again, _ = run(directory, pace=pace)
        assert len([line for line in again if line.startswith("run ")]) == 3, what
        check(directory, again, what)
        shutil.rmtree(directory)
