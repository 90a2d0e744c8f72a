# SPDX-License-Identifier: MIT
"""Which wall of the cage a command that failed has met, and who can open it how.

Three things have to agree before a wall is named: the command failed, its last lines say so in the
words that programs use, and the executor says that this very wall is up. The words are those of
the C library and of common programs (C locale: the cage sets it); whoever prints them and fails
for another reason gets a line that is true of the host but not of the failure, so the line says
what it was read from. Time and output limits are the executor's own word and need no reading.
"""

import re
from collections.abc import Callable
from signal import SIGXFSZ
from typing import Final

import msgspec

from tibet_nc_agent.units import duration, size
from tibet_nc_protocol.messages import Finished, StatusReport
from tibet_nc_protocol.terms import Reason

ENDING_BYTES: Final = 4096
"""How much of the end of an output is read."""

_LAST_LINES: Final = 12
_SETTINGS: Final = "in executor.toml"
_REPORTED: Final = 128  # a shell's exit status for a child that a signal ended: 128 and its number


class _Wall(msgspec.Struct, frozen=True, kw_only=True):
    """A wall that a command's own words tell of.

    ``sign`` is looked for in the last lines, ``up`` asks the executor's facts, ``line`` says what
    it is and how it is opened. ``failed`` says that only a failure counts: the shell's own
    complaints count always, since the rest of the line goes on after them.
    """

    sign: re.Pattern[bytes]
    up: Callable[[StatusReport], bool]
    line: Callable[[StatusReport], str]
    failed: bool = True


def _always(_: StatusReport) -> bool:
    return True


def _file_size(report: StatusReport) -> str:
    return (
        f"files of at most {size(report.limits.file_bytes)}; the administrator can raise it: "
        f"shell.file_bytes {_SETTINGS}"
    )


def _no_space(report: StatusReport) -> str:
    homes = size(report.limits.home_bytes)
    return (
        f"no space: the homes of all sessions share {homes}, and /tmp has a limit too; the "
        "administrator can raise both: TemporaryFileSystem= in a drop-in of the executor "
        "(docs/hardening.md)"
    )


_WALLS: Final = (
    _Wall(
        # Bash manual, §6.10; the shell's own name stands first.
        sign=re.compile(
            rb"^tibet-nc: (?:line \d+: )?(?:.*: restricted(?:: .*|\b.*)?"
            rb"|(?:SHELL|PATH|HISTFILE|ENV|BASH_ENV): readonly variable|set: \+r: invalid option)$",
            re.MULTILINE,
        ),
        up=lambda report: report.cage.restricted,
        line=lambda _: (
            "the restricted shell refuses cd, redirections into files and commands with a / in "
            f"their name; the administrator can open it: shell.restricted = false {_SETTINGS}"
        ),
        failed=False,
    ),
    _Wall(
        sign=re.compile(
            rb'"no new privileges" flag is set|^sudo: effective uid is not 0'
            rb"|must be (?:setuid root|suid to work properly)",
            re.MULTILINE,
        ),
        up=_always,  # the executor looks at this before the first command, or doesn't serve
        line=lambda _: (
            "nothing gains rights here (no_new_privs): sudo, su and the like can't work; nobody "
            "can open that: do it on the host itself"
        ),
    ),
    _Wall(
        sign=re.compile(
            rb"cannot open netlink socket|netlink.*(?:not supported|not permitted)"
            rb"|(?:rtnetlink|ss|ip): .*not supported",
            re.IGNORECASE,
        ),
        up=lambda report: not report.cage.network_view,
        line=lambda _: (
            "commands don't see the network here; the administrator can open it: the executor's "
            "drop-in host-network.conf (docs/hardening.md)"
        ),
    ),
    _Wall(
        sign=re.compile(
            rb"network is unreachable|address family not supported by protocol"
            rb"|(?:temporary failure|failure) (?:in name resolution|resolving)"
            rb"|(?:could not|couldn't|unable to|cannot|can't) resolve"
            rb"|name or service not known|socket: (?:operation not permitted|permission denied)"
            rb"|(?:connect|connection) to .* failed|failed to connect to",
            re.IGNORECASE,
        ),
        up=lambda report: not report.cage.network,
        line=lambda _: (
            "commands have no network here; the administrator can open it: the executor's drop-in "
            "shell-network.conf (docs/hardening.md)"
        ),
    ),
    _Wall(
        sign=re.compile(rb"read-only file system", re.IGNORECASE),
        up=lambda report: report.cage.read_only,
        line=lambda _: (
            "the system is read-only for commands; the administrator can open directories: the "
            "executor's drop-in write-directories.conf (docs/hardening.md)"
        ),
    ),
    _Wall(
        sign=re.compile(
            rb"fork: .*resource temporarily unavailable|can(?:'t|not) (?:fork|start new thread)"
            rb"|unable to (?:fork|create (?:new )?(?:native )?thread)"
            rb"|pthread_create.*(?:failed|unavailable)|fork failed",
            re.IGNORECASE,
        ),
        up=lambda report: report.cage.separated,
        line=lambda report: (
            f"at most {report.limits.processes} processes and threads; the administrator can "
            f"raise it: shell.processes {_SETTINGS}"
        ),
    ),
    _Wall(
        sign=re.compile(
            rb"cannot allocate memory|can't allocate memory|memory exhausted|out of memory"
            rb"|^MemoryError|std::bad_alloc|virtual memory exhausted",
            re.IGNORECASE | re.MULTILINE,
        ),
        up=_always,
        line=lambda report: (
            f"at most {size(report.limits.memory_bytes)} of memory for a command and "
            f"{size(report.limits.address_space_bytes)} of addresses for a process; the "
            "administrator can raise it: shell.memory_bytes and shell.address_space_bytes "
            f"{_SETTINGS}"
        ),
    ),
    _Wall(
        sign=re.compile(rb"file size limit exceeded|file too large", re.IGNORECASE),
        up=_always,
        line=_file_size,
    ),
    _Wall(
        sign=re.compile(rb"no space left on device|disk quota exceeded", re.IGNORECASE),
        up=lambda report: report.limits.home_bytes > 0,
        line=_no_space,
    ),
    _Wall(
        sign=re.compile(rb"too many open files", re.IGNORECASE),
        up=_always,
        line=lambda report: (
            f"at most {report.limits.open_files} open files for a process; the administrator can "
            f"raise it: shell.open_files {_SETTINGS}"
        ),
    ),
)


def suspected(result: Finished, ending: bytes) -> bool:
    """Whether a command may have met a wall, so that the executor is worth asking."""
    return bool(
        result.reason in {Reason.IDLE, Reason.TIMED_OUT}
        or result.recorded_bytes < result.output_bytes
        or _too_long_a_file(result)
        or _signs(result, ending)
    )


def met(result: Finished, ending: bytes, report: StatusReport) -> str | None:
    """Return the line that names a wall, None if there is none to name.

    ``ending`` is the end of the command's output, up to ENDING_BYTES of it.
    """
    if (known := _known(result, report)) is not None:
        return f"limit: {known}"
    wall = next((wall for wall in _signs(result, ending) if wall.up(report)), None)
    return None if wall is None else f"wall, as its last lines say: {wall.line(report)}"


def _known(result: Finished, report: StatusReport) -> str | None:
    """Return the limit that the executor or the kernel says was met."""
    limits = report.limits
    if result.reason is Reason.IDLE:
        idle = duration(limits.idle_s * 1000)
        return f"{idle} without output; the administrator can raise it: shell.idle_s {_SETTINGS}"
    if result.reason is Reason.TIMED_OUT:
        total = duration(limits.total_s * 1000)
        return f"{total} in all; the administrator can raise it: shell.total_s {_SETTINGS}"
    if _too_long_a_file(result):
        return _file_size(report)
    if result.output_bytes > result.recorded_bytes == limits.recording_bytes:
        return (
            f"{size(limits.recording_bytes)} of output are kept; the administrator can raise it: "
            f"audit.recording_bytes {_SETTINGS}"
        )
    return None


def _signs(result: Finished, ending: bytes) -> list[_Wall]:
    """Return the walls that the last lines tell of, up or not."""
    lines = b"\n".join(ending[-ENDING_BYTES:].splitlines()[-_LAST_LINES:])
    failed = result.exit != 0
    return [wall for wall in _WALLS if (failed or not wall.failed) and wall.sign.search(lines)]


def _too_long_a_file(result: Finished) -> bool:
    return result.reason is Reason.EXITED and (
        result.signal == SIGXFSZ or result.exit == _REPORTED + SIGXFSZ
    )
