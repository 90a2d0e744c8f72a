# SPDX-License-Identifier: MIT
"""What keeps a session's processes from those of other sessions, which have the same uid.

A Landlock domain with two scopes: a process in it can signal only what is in it too, and connect
to abstract sockets of no others; and, as with every domain, trace nothing else nor look into its
memory, environment or files. Children are in the domain of whoever starts them, and nothing leads
out of it.

A domain belongs to a thread. So each session has one that does nothing but start its processes. It
begins with giving up new privileges, which the kernel asks for; a command has to do so anyway.

Landlock scopes exist from Linux 6.12 on (ABI 6). Where they don't, or where a filter forbids the
calls, sessions can signal each other's processes, and `status` says so.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tibet_nc_executor.credentials import forbid_new_privileges

_CREATE_RULESET: Final = 444  # the same number on every architecture, as are all newer calls
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION
_SCOPES: Final = 1 | 2  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, LANDLOCK_SCOPE_SIGNAL
_SCOPES_ABI: Final = 6
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def can_scope() -> bool:
    """Say whether this kernel has the domains, and lets this process ask."""
    abi: int = _LIBC.syscall(_CREATE_RULESET, None, 0, _VERSION)
    return abi >= _SCOPES_ABI


class Domain:
    """Starts a session's processes in a domain of their own; raises OSError if it can't be made."""

    def __init__(self) -> None:
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session")
        try:
            self.run(_enter)
        except OSError:
            self.close()
            raise

    def run[T](self, start: Callable[[], T]) -> T:
        """Return what a function returns that starts a process; raises what it raises."""
        try:
            future = self._thread.submit(start)
        except RuntimeError as error:  # the first call makes the thread
            raise OSError(errno.EAGAIN, str(error)) from None
        return future.result()

    def close(self) -> None:
        """End the thread; what it has started stays in the domain."""
        self._thread.shutdown()


def _enter() -> None:
    forbid_new_privileges()
    rules = struct.pack("=QQQ", 0, 0, _SCOPES)  # no file access, no network, these scopes
    descriptor: int = _LIBC.syscall(_CREATE_RULESET, rules, len(rules), 0)
    if descriptor < 0:
        raise _failed("landlock_create_ruleset")
    try:
        if _LIBC.syscall(_RESTRICT_SELF, descriptor, 0) != 0:
            raise _failed("landlock_restrict_self")
    finally:
        os.close(descriptor)


def _failed(call: str) -> OSError:
    number = ctypes.get_errno() or errno.EINVAL
    return OSError(number, f"{call}: {os.strerror(number)}")
