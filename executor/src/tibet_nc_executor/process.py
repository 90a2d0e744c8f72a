# SPDX-License-Identifier: MIT
"""Processes as /proc shows them, and signals that cannot hit the wrong one."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

_READ_BYTES = 4096  # what the kernel gives at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessStatus:
    """The lines of /proc/PID/status that tell whose a process is."""

    state: str
    parent: int
    uid: int
    groups: frozenset[int]

    @property
    def ended(self) -> bool:
        """Whether it runs no more and only waits for its parent."""
        return self.state in "ZX"


def parse_status(text: bytes) -> ProcessStatus:
    """Read /proc/PID/status; raises ValueError if a line is missing.

    A process chooses its own name, but the kernel escapes line ends in it.
    """
    fields: dict[bytes, list[bytes]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(b":")
        fields.setdefault(key, value.split())
    try:
        return ProcessStatus(
            state=fields[b"State"][0].decode("ascii"),
            parent=int(fields[b"PPid"][0]),
            uid=int(fields[b"Uid"][0]),
            groups=frozenset(int(group) for group in fields[b"Groups"]),
        )
    except (KeyError, IndexError) as error:
        raise ValueError("not a process status") from error


def read_kernel(path: str) -> bytes:
    """Return what the kernel says in a file of /proc or /sys; raises OSError.

    These are read many times for each command, and `Path.read_text` takes eight times as long.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while data := os.read(descriptor, _READ_BYTES):
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def read_status(pid: int) -> ProcessStatus | None:
    """Return a process's status, or None if there is no such process or it is hidden.

    Raises OSError if the file could not be read for a reason of our own, such as too many open
    files: not seeing a process does not mean that it is gone.
    """
    try:
        return parse_status(read_kernel(f"/proc/{pid}/status"))
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
        return None


def read_name(pid: int) -> str | None:
    """Return what the kernel calls a process, also one that has ended; None if it can't be told."""
    try:
        return read_kernel(f"/proc/{pid}/comm").decode(errors="replace").removesuffix("\n")
    except OSError:
        return None


def ends_by(pid: int, number: signal.Signals) -> bool:
    """Say whether a process runs and neither catches, ignores nor blocks a signal that ends it.

    Raises OSError for reasons of our own.
    """
    try:
        text = read_kernel(f"/proc/{pid}/status")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    lines = (line.partition(b":") for line in text.splitlines())
    fields = {key: value for key, _, value in lines}
    if fields[b"State"].split()[0] in {b"Z", b"X"}:
        return False
    sets = (int(fields[name], 16) for name in (b"SigBlk", b"SigIgn", b"SigCgt"))
    return not any(mask >> (number - 1) & 1 for mask in sets)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A uid and groups of which one tells whose a process is."""

    uid: int
    groups: frozenset[int]

    def marks(self, pid: int) -> bool:
        """Say whether a process has the tag, ended or not."""
        return self._is_on(read_status(pid))

    def marks_running(self, pid: int) -> bool:
        """Say whether a process has the tag and runs."""
        status = read_status(pid)
        return status is not None and not status.ended and self._is_on(status)

    def _is_on(self, status: ProcessStatus | None) -> bool:
        return (
            status is not None
            and status.uid == self.uid
            and not self.groups.isdisjoint(status.groups)
        )


def all_processes() -> Iterator[int]:
    """Yield the process ids that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def own_children() -> frozenset[int]:
    """Return the children of this process, ended ones that nobody waited for included.

    Raises OSError if the kernel was built without this list.
    """
    return _children("self")


def children_of(pid: int) -> frozenset[int]:
    """Return the children of a process, ended ones included; none if it is gone.

    Raises OSError if the kernel was built without this list, or hides the process.
    """
    try:
        return _children(str(pid))
    except (FileNotFoundError, ProcessLookupError):
        return frozenset()


def _children(process: str) -> frozenset[int]:
    children: set[int] = set()
    for task in os.listdir(f"/proc/{process}/task"):
        # A thread may end while we look.
        with suppress(FileNotFoundError, ProcessLookupError):
            children.update(
                int(pid) for pid in read_kernel(f"/proc/{process}/task/{task}/children").split()
            )
    return frozenset(children)


def send(pid: int, number: signal.Signals, still: Callable[[int], bool]) -> bool:
    """Signal a process if it is `still` the right one; return whether it was.

    The descriptor is opened before the question is asked, so that a process id which is given to
    another process meanwhile is never signalled. Raises OSError for reasons of our own.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        if not still(pid):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    else:
        return True
    finally:
        os.close(descriptor)
