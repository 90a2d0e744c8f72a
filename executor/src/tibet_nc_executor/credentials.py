# SPDX-License-Identifier: MIT
"""The few process attributes that Python's `os` has no call for.

The file-system group is changed rather than the effective one because it is the calling thread's
alone: `os.setegid` changes all threads, and one of them may be opening the ledger.
"""

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_NO_ID = 0xFFFFFFFF  # not a valid id: asks for the present one
_LIBC = ctypes.CDLL(None, use_errno=True)


class Capability(IntEnum):
    """Capability numbers of linux/capability.h."""

    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8


def effective_capabilities() -> int:
    """Return this process's effective capabilities as a bit mask."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    raise OSError("the kernel shows no CapEff in /proc/self/status")


def has_capability(mask: int, capability: Capability) -> bool:
    """Say whether a mask has a capability."""
    return bool(mask >> capability & 1)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def become_subreaper() -> None:
    """Have orphaned descendants of this process become its children; raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Have nothing that this thread starts gain privileges by its file; raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def forbid_dumps() -> None:
    """Hide this process's memory, environment and descriptors from its own uid; raises OSError."""
    _prctl(_PR_SET_DUMPABLE, 0)


@contextmanager
def file_group(gid: int) -> Generator[None]:
    """Act on files as a member of `gid`, in this thread only; raises OSError without CAP_SETGID."""
    before = _LIBC.setfsgid(gid)
    try:
        if _LIBC.setfsgid(ctypes.c_uint(_NO_ID)) & _NO_ID != gid:
            raise PermissionError(f"no permission to act as group {gid}")
        yield
    finally:
        _LIBC.setfsgid(before)
