# SPDX-License-Identifier: MIT
"""System calls of the daemons with their times, taken from outside by strace.

The daemons know nothing of it. A seccomp filter stops only the calls that are asked for, so a
command takes a few milliseconds longer than without, which whoever uses this must say.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.debian import need
from tests.harness.host import Daemon

CALLS: Final = (
    "fdatasync", "fsync", "recvfrom", "recvmsg", "sendto", "sendmsg",
    "execve", "exit_group",
)  # fmt: skip

WAKE_BYTES: Final = 64
"""An event loop wakes itself by a few bytes on a socket pair; every message of ours is longer."""

_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<time>\d+\.\d+) (?P<rest>.*)")
_CALL: Final = re.compile(r"(?P<name>\w+)\((?P<text>.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<text>.*)")
_END: Final = re.compile(r"\) += (?P<result>-?\d+|\?).*?(?:<(?P<seconds>[\d.]+)>)?$")
_UNFINISHED: Final = " <unfinished ...>"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One system call: whose, which, with which first argument; begin and end in epoch seconds."""

    pid: int
    name: str
    text: str
    result: int
    begin: float
    end: float

    @property
    def is_sync(self) -> bool:
        """Whether it waited for a disk."""
        return self.name in {"fdatasync", "fsync"}

    def is_io(self, name: str, kind: str) -> bool:
        """Say whether it moved a message, ``recv`` or ``send``, on a socket of a kind."""
        long = self.result > WAKE_BYTES
        return long and self.name.startswith(name) and f"<{kind}" in self.text


def traced(daemon: Daemon, output: Path) -> Daemon:
    """Return a daemon that runs under strace, with the same process id; raises MissingError."""
    need({"/usr/bin/strace": "strace"})
    argv = [
        "strace", "-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-T", "-yy", "-s", "0",
        "-e", f"trace={','.join(CALLS)}", "-e", "signal=none", "-o", str(output), "--",
    ]  # fmt: skip
    return Daemon(daemon.name, [*argv, *daemon._argv], daemon.log)


def calls(output: Path) -> list[Call]:
    """Return what was traced so far, in the order in which the calls ended."""
    return sorted(_calls(output.read_text(errors="replace")), key=lambda call: call.end)


def _calls(text: str) -> Iterator[Call]:
    open_calls: dict[int, tuple[str, str, float]] = {}
    for line in text.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        pid, at, rest = int(parts["pid"]), float(parts["time"]), parts["rest"]
        if resumed := _RESUMED.fullmatch(rest):
            name, begun, begin = open_calls.pop(pid, (resumed["name"], "", at))
            yield from _ended(pid, name, begun + resumed["text"], begin, at)
        elif call := _CALL.fullmatch(rest):
            if rest.endswith(_UNFINISHED):
                shown = call["text"].removesuffix(_UNFINISHED)
                open_calls[pid] = (call["name"], shown, at)
            else:
                yield from _ended(pid, call["name"], call["text"], at, None)


def _ended(pid: int, name: str, text: str, begin: float, end: float | None) -> Iterator[Call]:
    found = _END.search(text)
    if found is None:
        return
    result = -1 if found["result"] == "?" else int(found["result"])
    if end is None:
        end = begin + float(found["seconds"] or 0)
    yield Call(pid=pid, name=name, text=text, result=result, begin=begin, end=end)
