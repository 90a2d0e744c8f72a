# SPDX-License-Identifier: MIT
"""Walls: named when a command failed on one that is up, and never otherwise."""

from typing import Final

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from tests.agent.answers import result
from tests.agent.test_preview import REPORT
from tibet_nc_agent.walls import ENDING_BYTES, met, suspected
from tibet_nc_protocol.messages import Cage
from tibet_nc_protocol.terms import Reason

OPEN: Final = msgspec.structs.replace(
    REPORT,
    cage=Cage(separated=False, restricted=False, network=True, network_view=True, read_only=False,
              walls=()),
)  # fmt: skip
"""A host on which no wall stands that can be given up."""

RESTRICTED: Final = "shell.restricted"
GIVABLE: Final = [
    (b"tibet-nc: line 1: cd: restricted\n", RESTRICTED),
    (b"tibet-nc: line 1: /dev/null: restricted: cannot redirect output\n", RESTRICTED),
    (
        b"tibet-nc: line 1: /bin/ls: restricted: cannot specify `/' in command names\n",
        RESTRICTED,
    ),
    (b"tibet-nc: line 1: PATH: readonly variable\n", RESTRICTED),
    (b"tibet-nc: line 1: set: +r: invalid option\nset: usage: set [-abefhk]\n", RESTRICTED),
    (b"curl: (6) Could not resolve host: example.org\n", "shell-network.conf"),
    (b"Address family not supported by protocol at -e line 1.\n", "shell-network.conf"),
    (b"ping: connect: Network is unreachable\n", "shell-network.conf"),
    (
        b"Temporary failure resolving 'mirror.example.org'\nE: Failed to fetch\n",
        "shell-network.conf",
    ),
    (b"Cannot open netlink socket: Address family not supported by protocol\n", "host-network"),
    (b"touch: cannot touch '/usr/x': Read-only file system\n", "write-directories.conf"),
    (b"tibet-nc: fork: retry: Resource temporarily unavailable\n", "shell.processes"),
    (b"RuntimeError: can't start new thread\n", "shell.processes"),
]
ALWAYS: Final = [
    (
        b'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.\n'
        b"sudo: If sudo is running in a container, you may need to adjust the container "
        b"configuration to disable the flag.\n",
        "no_new_privs",
    ),
    (b"pkexec must be setuid root\n", "no_new_privs"),
    (b"xz: Cannot allocate memory\n", "shell.memory_bytes"),
    (b"Traceback (most recent call last):\nMemoryError\n", "shell.memory_bytes"),
    (b"dd: error writing 'big': File too large\n", "shell.file_bytes"),
    (b"head: write error: No space left on device\n", "homes of all sessions share 512 MiB,"),
    (b"cp: error writing 'x': Disk quota exceeded\n", "TemporaryFileSystem="),
    (b"OSError: [Errno 24] Too many open files: '/dev/null'\n", "shell.open_files"),
]


@pytest.mark.parametrize(("ending", "opener"), GIVABLE + ALWAYS)
def test_a_failure_at_a_wall_is_explained(ending: bytes, opener: str) -> None:
    """The words of real programs lead to the wall, and to who can open it how."""
    failed = result(exit=1)
    assert suspected(failed, ending)
    line = met(failed, b"before\n" + ending, REPORT)
    assert line is not None
    assert line.startswith("wall, as its last lines say: ")
    assert opener in line


@pytest.mark.parametrize("ending", [ending for ending, _ in GIVABLE])
def test_a_wall_that_is_not_up_is_never_claimed(ending: bytes) -> None:
    """Where the executor says that a wall is given up, a failure is not put down to it."""
    assert met(result(exit=1), ending, OPEN) is None


@pytest.mark.parametrize(("ending", "opener"), GIVABLE + ALWAYS)
def test_a_success_met_no_wall(ending: bytes, opener: str) -> None:
    """Output that only talks of a wall is no failure, but for the shell's own refusals."""
    line = met(result(exit=0), ending, REPORT)
    assert (line is not None) == (opener == RESTRICTED)


def test_only_the_last_lines_count() -> None:
    """What a command printed long before it failed is no reason for its failure."""
    ending = b"curl: (6) Could not resolve host: example.org\n" + b"done\n" * 20
    assert met(result(exit=1), ending, REPORT) is None
    assert not suspected(result(exit=1), ending)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"reason": Reason.IDLE, "exit": None, "signal": 15}, "limit: 2 min without output; "),
        ({"reason": Reason.TIMED_OUT, "exit": None, "signal": 9}, "limit: 1 h in all; "),
        ({"exit": None, "signal": 25}, "limit: files of at most 256 MiB; "),
        ({"exit": 153}, "limit: files of at most 256 MiB; "),
        (
            {"output_bytes": 2**30, "recorded_bytes": 64 * 1024**2},
            "limit: 64 MiB of output are kept; ",
        ),
    ],
)
def test_limits_are_the_executors_word(changes: dict[str, object], start: str) -> None:
    """A limit of time, output or file size is told with its figure, whatever the output says."""
    ended = result(**changes)
    assert suspected(ended, b"")
    line = met(ended, b"cd: restricted", REPORT)
    assert line is not None
    assert line.startswith(start)
    assert line.endswith(" in executor.toml")


def test_a_recording_that_broke_is_no_limit() -> None:
    """Output that a full disk cut short is not put down to the limit."""
    assert met(result(output_bytes=99, recorded_bytes=3), b"", REPORT) is None


@given(st.binary(max_size=ENDING_BYTES * 2), st.integers(0, 255))
def test_any_output_is_judged(ending: bytes, exit_status: int) -> None:
    """Any output has an answer, and a wall is named only where one was suspected."""
    ended = result(exit=exit_status)
    assert met(ended, ending, REPORT) is None or suspected(ended, ending)
