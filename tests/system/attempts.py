# SPDX-License-Identifier: MIT
"""What somebody in a daemon's place would try, besides what the self-test tries at each start.

A unit runs this file behind its walls (test_held.py); each attempt that works is a line of the
journal. It stands alone, since behind these walls there is no other file of the tests.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)

# Numbers of system calls on x86-64.
ADD_KEY, IO_URING_SETUP, MQ_OPEN, MSGGET, SEMGET, SHMGET = 248, 425, 240, 68, 64, 29
X32_GETPID = 0x40000000 | 39
PTRACE_TRACEME = 0
PER_LINUX32 = 0x0008
NO_PROCESS = 2**22 + 1
SHARED_MEMORY_BYTES = 16 * 1024**2
PRIVATE_DEVICES = """
char console core fd full hugepages initctl log mqueue null ptmx pts random shm stderr stdin stdout
tty urandom zero
"""


def state() -> Path:
    """Where the unit may write."""
    return Path(os.environ["STATE_DIRECTORY"])


def call(number: int, *arguments: object) -> None:
    """Make a system call; raises OSError."""
    if LIBC.syscall(number, *arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def personality() -> None:
    """Run as another kind of system would."""
    if LIBC.personality(PER_LINUX32) == -1:
        raise OSError(ctypes.get_errno(), "personality")


def set_user_id() -> None:
    """Make a file that runs with the rights of its owner."""
    path = state() / ".set-user-id"
    path.touch()
    try:
        path.chmod(0o4700)
    finally:
        path.unlink()


def realtime() -> None:
    """Take a processor from everybody else: a filter refuses it before the kernel looks for whom.

    The kernel refuses it as well in some control groups.
    """
    with contextlib.suppress(ProcessLookupError):
        os.sched_setscheduler(NO_PROCESS, os.SCHED_FIFO, os.sched_param(1))


def in_a_child(attempt: Callable[[], bool]) -> None:
    """Try something that this process may not outlive; raises OSError."""
    child = os.fork()
    if child == 0:
        os._exit(0 if attempt() else 1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise PermissionError


def traced() -> None:
    """Have a child of one's own traced."""
    in_a_child(lambda: LIBC.ptrace(PTRACE_TRACEME, 0, 0, 0) == 0)


def other_architecture() -> None:
    """Make a system call of another architecture, also if this kernel has none of it."""
    in_a_child(lambda: LIBC.syscall(X32_GETPID) != -1 or ctypes.get_errno() == errno.ENOSYS)


def other_programs() -> None:
    """Be allowed to run what isn't one's own."""
    if not os.access("/opt/tibet-nc/audit/bin/tibet-nc-audit", os.X_OK):
        raise PermissionError


def much_shared_memory() -> None:
    """Have more than a little of it."""
    there = os.statvfs("/dev/shm")
    if there.f_blocks * there.f_frsize <= SHARED_MEMORY_BYTES:
        raise PermissionError


def open_state() -> None:
    """Have a state that others can look into, before the daemon sees to it itself."""
    if not state().stat().st_mode & 0o077:
        raise PermissionError


def other_devices() -> None:
    """See a device of the host."""
    if not set(os.listdir("/dev")).difference(PRIVATE_DEVICES.split()):
        raise FileNotFoundError


def control_groups() -> None:
    """Have control groups that can be changed."""
    if os.statvfs("/sys/fs/cgroup").f_flag & os.ST_RDONLY:
        raise PermissionError


def files_for_others() -> None:
    """Make a file that others can read, without meaning to."""
    path = state() / ".mode"
    path.touch()
    mode = path.stat().st_mode
    path.unlink()
    if not mode & 0o077:
        raise PermissionError


ATTEMPTS: dict[str, Callable[[], object]] = {
    "see the host's processes": lambda: os.listdir("/proc/1"),
    "see what the kernel tells of the host": lambda: Path("/proc/meminfo").read_text(),
    "see the host's devices": other_devices,
    "read in the host's /tmp": lambda: Path("/tmp/theirs").read_text(),
    "read in the host's /var/tmp": lambda: Path("/var/tmp/theirs").read_text(),
    "read in the host's /dev/shm": lambda: Path("/dev/shm/theirs").read_text(),
    "look into homes": lambda: os.listdir("/home"),
    "look at the kernel's modules": lambda: os.listdir("/usr/lib/modules"),
    "write where everybody may": lambda: Path("/srv/everybodys/written").touch(),
    "write to /dev": lambda: Path("/dev/.written").touch(),
    "change control groups": control_groups,
    "run as another kind of system": personality,
    "call the kernel as another kind of system": other_architecture,
    "run what isn't its own": other_programs,
    "have much shared memory": much_shared_memory,
    "have its state open to others": open_state,
    "make a set-user-id file": set_user_id,
    "take a processor": realtime,
    "trace a process": traced,
    "queue work for the kernel": lambda: call(IO_URING_SETUP, 1, ctypes.create_string_buffer(120)),
    "leave a key": lambda: call(ADD_KEY, b"user", b"left", b"x", 1, -4),
    "leave a message queue": lambda: call(MSGGET, 0, 0o600),
    "leave a message queue with a name": lambda: call(MQ_OPEN, b"left", 0o102, 0o600, None),
    "leave semaphores": lambda: call(SEMGET, 0, 1, 0o600),
    "leave shared memory": lambda: call(SHMGET, 0, 4096, 0o600),
    "give a file away": lambda: os.chown(state(), -1, -1),
    "change its niceness": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "name its uid": lambda: os.setuid(os.getuid()),
    "name its gid": lambda: os.setgid(os.getgid()),
    "make files for others": files_for_others,
}


def main() -> None:
    """Try everything and say what works."""
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
        except OSError:
            continue
        print(f"works: {name}")
    print(f"tried: {len(ATTEMPTS)}")


if __name__ == "__main__":
    main()
