# SPDX-License-Identifier: MIT
"""The pure rules of the shell: limits, endings, state on the pipe, groups, control groups."""

import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_executor.cgroup import locate, oom_kills
from tibet_nc_executor.deadline import Deadline, Expiry
from tibet_nc_executor.enclosure import GIVE_UP_S, Pauses
from tibet_nc_executor.ending import Death, Status, death_of, described, reason_of
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.process import parse_status
from tibet_nc_executor.prologue import (
    STATE_BYTES,
    LastWord,
    last_word,
    parse_told,
    waits_in_foreground,
)
from tibet_nc_executor.rungroups import RUN_GROUPS, RunGroups, first_group
from tibet_nc_executor.session import NOT_KEPT, TOO_LARGE, SessionShell
from tibet_nc_protocol.terms import Reason

ALL_IDS = "         0          0 4294967295\n"


def test_idle_limit_restarts_with_output_and_the_total_limit_does_not() -> None:
    """A command that prints meets only the total limit."""
    deadline = Deadline(now=0.0, idle_s=10.0, total_s=25.0)
    assert deadline.due() == 10.0
    deadline.touch(9.0)
    assert deadline.expired(18.9) is None
    assert deadline.expired(19.0) is Expiry.IDLE
    deadline.touch(18.0)
    assert deadline.due() == 25.0
    assert deadline.expired(25.0) is Expiry.TOTAL


def test_what_runs_holds_the_idle_limit() -> None:
    """While a command runs its session is not idle, but its total limit stays."""
    deadline = Deadline(now=0.0, idle_s=10.0, total_s=100.0)
    deadline.hold()
    assert deadline.expired(50.0) is None
    assert deadline.due() == 100.0
    deadline.release(50.0)
    assert deadline.expired(59.0) is None
    assert deadline.expired(60.0) is Expiry.IDLE
    deadline.hold()
    assert deadline.expired(100.0) is Expiry.TOTAL


@pytest.mark.parametrize(
    ("status", "order", "interrupted", "expected"),
    [
        (Status(exit=0), None, False, Reason.EXITED),
        (Status(signal=signal.SIGINT), None, False, Reason.EXITED),
        (Status(signal=signal.SIGINT), None, True, Reason.CANCELLED),
        (Status(exit=130), None, True, Reason.CANCELLED),
        (Status(exit=0), None, True, Reason.EXITED),
        (Status(exit=0), Reason.TIMED_OUT, True, Reason.TIMED_OUT),
        (None, Reason.IDLE, False, Reason.IDLE),
        (None, None, False, Reason.KILLED),
    ],
)
def test_reason(
    status: Status | None, order: Reason | None, interrupted: bool, expected: Reason
) -> None:
    """What was ordered comes first, then an interrupt that worked, then the command itself."""
    assert reason_of(status=status, order=order, interrupted=interrupted) is expected


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.EXITED])
@pytest.mark.parametrize("status", [Status(exit=3), Status(signal=signal.SIGKILL), None])
def test_what_others_end_is_the_command_alone(status: Status | None, reason: Reason) -> None:
    """An operator's or a limit's end of a command is no end of its session, but a replaced one."""
    for word in (None, *Death):
        assert death_of(status=status, reason=reason, word=word, replaced=False) is None
        assert death_of(status=status, reason=reason, word=word, replaced=True) is Death.EXEC


@pytest.mark.parametrize("word", [None, *Death])
def test_what_ends_a_shell_ends_its_session(word: Death | None) -> None:
    """A shell that ends by itself says how, a signal says it for it, and ^C is no end."""

    def death(status: Status | None) -> Death | None:
        return death_of(status=status, reason=Reason.EXITED, word=word, replaced=False)

    assert death(Status(exit=0)) is word
    assert death(Status(signal=signal.SIGKILL)) is Death.SIGNAL
    assert death(Status(signal=signal.SIGINT)) is None
    assert death(None) is None


@pytest.mark.parametrize(
    ("death", "status", "expected"),
    [
        (Death.EXIT, Status(exit=3), "exit 3"),
        (Death.SIGNAL, Status(signal=9), "signal 9"),
        (Death.EXEC, Status(exit=1), "exec, exit 1"),
        (Death.EXEC, Status(signal=15), "exec, signal 15"),
        (Death.ERREXIT, Status(exit=2), "set -e, exit 2"),
    ],
)
def test_a_death_in_words(death: Death, status: Status, expected: str) -> None:
    """The words say what ended the shell, and with which status."""
    assert described(death, status) == expected


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (b"", None),
        (b"3=", None),
        (b"\0=", None),
        (b"\0003", None),
        (b"\0001234=", None),
        (b"\0003=", LastWord(exit=3, death=None)),
        (b"\000130x", LastWord(exit=130, death=Death.EXIT)),
        (b"\0001e", LastWord(exit=1, death=Death.ERREXIT)),
        (b"\000999=", LastWord(exit=999 & 0xFF, death=None)),
        (b"\0003=\n", None),
        (b"\0003?", None),
    ],
)
def test_a_last_word(end: bytes, expected: LastWord | None) -> None:
    """A shell's last word is a status and a sign, and nothing else is one."""
    assert last_word(end) == expected


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        (b"", False),
        (b"[1]+  Running                 sleep 9 &\n", False),
        (b"[1]+  Running                 sleep 9 &  (wd: /usr)\n", False),
        (
            b"[1]-  Running                 cat <<E\n[1] &\nE\n &\n[12]+  Running  (a & b) &\n",
            False,
        ),
        (b"[1]+  Running                 sleep 9\n", True),
        (b"[1]+  Running                 (sleep 9)  (wd: /usr)\n", True),
        (
            b"[1]-  Running                 (sleep 9)\n[2]+  Running                 sleep 9 &\n",
            True,
        ),
        (b"[1]-  Running                 sleep 9 &\n[12]   Running                 a & b\n", True),
    ],
)
@pytest.mark.parametrize("before", [b"", b"+", b"+n"])
def test_a_job_in_the_foreground(before: bytes, jobs: bytes, expected: bool) -> None:
    """Of the jobs that a shell tells of, one that isn't in the background is seen."""
    assert waits_in_foreground(before + jobs + b"\0state\0" + b"0=") is expected
    assert waits_in_foreground(before + b"\0" + jobs + b"\0" + b"0=") is False


@given(st.binary(max_size=200))
def test_any_bytes_on_the_state_pipe_give_a_result(stream: bytes) -> None:
    """What a command writes on the pipe is cut, never an error."""
    told = parse_told(stream)
    assert told.begun == stream.startswith(b"+")
    assert told.state is None or b"\0" not in told.state


@given(st.binary(max_size=40), st.binary(max_size=40).filter(lambda state: b"\0" not in state))
def test_state_is_what_stands_between_the_last_two_marks(noise: bytes, state: bytes) -> None:
    """Noise on the pipe before the shell tells its state does not become state."""
    assert parse_told(b"+" + noise + b"\0" + state + b"\0").state == state


@pytest.mark.parametrize("stream", [b"", b"+", b"+\0half", b"+\0a\0b", b"+\0"])
def test_a_state_that_is_not_whole_is_not_kept(stream: bytes) -> None:
    """A shell that died while it told its state leaves the one before."""
    session = SessionShell()
    assert session.keep(b"+\0before\0") == ()
    assert session.keep(stream) == (NOT_KEPT,)
    assert session.prologue(entry="", own=100, pipe=101, text=b"").endswith(b"\nbefore")


def test_a_state_beyond_the_limit_is_not_kept() -> None:
    """Memory is bounded, and the operator is told."""
    session = SessionShell()
    assert session.keep(b"+\0" + b"x" * STATE_BYTES + b"\0") == (TOO_LARGE,)
    assert session.prologue(entry="", own=100, pipe=101, text=b"") == SessionShell().prologue(
        entry="", own=100, pipe=101, text=b""
    )


def test_run_groups_are_each_given_to_one_run() -> None:
    """No two runs share a group, and a full house is refused."""
    groups = RunGroups(1000)
    taken = [groups.take() for _ in range(RUN_GROUPS)]
    assert sorted(taken) == list(range(1000, 1000 + RUN_GROUPS))
    with pytest.raises(ShellError, match="are open already"):
        groups.take()
    groups.give_back(taken[7])
    assert groups.take() == taken[7]


def test_a_run_group_that_is_withheld_is_given_to_nobody() -> None:
    """A number that something still has is no run's, and one that isn't ours changes nothing."""
    groups = RunGroups(1000)
    groups.withhold(1003)
    groups.withhold(1003)
    groups.withhold(7)
    taken = [groups.take() for _ in range(RUN_GROUPS - 1)]
    assert sorted(taken) == [1000, 1001, 1002, *range(1004, 1000 + RUN_GROUPS)]
    with pytest.raises(ShellError, match="are open already"):
        groups.take()


@given(st.integers(min_value=1, max_value=65535), st.integers(min_value=1, max_value=65535))
def test_shell_uids_have_groups_of_their_own(one: int, other: int) -> None:
    """Two executors on a machine do not tell their runs apart by the same groups."""
    first, second = first_group(one, ALL_IDS), first_group(other, ALL_IDS)
    assert first is not None
    assert second is not None
    assert one % 0xFFFF == other % 0xFFFF or abs(first - second) >= RUN_GROUPS


def test_a_small_namespace_has_groups_too() -> None:
    """A container with the usual 65,536 ids is enough, one with a single id is not."""
    assert first_group(1000, "0 100000 65536\n") == 60578
    assert first_group(1000, "0 1000 1\n") is None


@pytest.mark.parametrize(
    ("first", "count", "fits"),
    [(60578, RUN_GROUPS, True), (60579, RUN_GROUPS, False), (60578, RUN_GROUPS - 1, False)],
)
def test_every_run_group_exists(first: int, count: int, fits: bool) -> None:
    """A namespace that has all the groups but one has none that can be used."""
    assert first_group(1000, f"{first} 0 {count}\n") == (60578 if fits else None)


MOUNTS = (
    "24 23 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n"
    "25 24 0:23 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw\n"
)


@pytest.mark.parametrize(
    ("mountinfo", "membership", "expected"),
    [
        (MOUNTS, "1:name=systemd:/a\n0::/a/daemon\n", "/sys/fs/cgroup/unified/a/daemon"),
        (MOUNTS, "0::/\n", "/sys/fs/cgroup/unified"),
        (MOUNTS, "1:name=systemd:/a\n", None),
        ("", "0::/a\n", None),
        (MOUNTS, "0::/../other\n", None),
        (
            "25 24 0:23 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "0::/pod/x\n",
            "/sys/fs/cgroup/x",
        ),
        ("25 24 0:23 /pod /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/other\n", None),
    ],
)
def test_the_own_control_group_is_found(
    mountinfo: str, membership: str, expected: str | None
) -> None:
    """The group is where the kernel says, or nowhere."""
    assert locate(mountinfo, membership) == (None if expected is None else Path(expected))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (b"low 0\nhigh 0\nmax 31\noom 2\noom_kill 3\noom_group_kill 0\n", (3, True)),
        (b"low 0\nhigh 0\nmax 7\noom 0\noom_kill 2\noom_group_kill 0\n", (2, False)),
        (b"low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n", (0, False)),
        (b"low 0\nhigh 0\nmax 9\noom 1\n", (0, True)),
        (b"", (0, False)),
        (b"oom_kill\noom_kill x\n", (0, False)),
    ],
)
def test_what_the_kernel_killed_for_memory(events: bytes, expected: tuple[int, bool]) -> None:
    """Killed processes are counted, and the own limit is blamed only if it was met."""
    kills = oom_kills(events)
    assert (kills.processes, kills.own) == expected


def test_a_process_name_cannot_forge_its_status() -> None:
    """The lines that count come from the kernel; a name with a line end in it is escaped."""
    text = b"Name:\tx\\nUid:\\t0\nState:\tS (sleeping)\nPPid:\t1\nUid:\t7 7 7 7\nGroups:\t8 9 \n"
    status = parse_status(text)
    assert (status.uid, status.parent, status.groups) == (7, 1, frozenset({8, 9}))
    with pytest.raises(ValueError, match="not a process status"):
        parse_status(b"Name:\tx\n")


def test_pauses_grow_and_end() -> None:
    """Waiting for the kernel is quick at first and never for ever."""
    pauses = Pauses(now=0.0)
    taken = [pauses.next(0.0) for _ in range(10)]
    assert taken == sorted(pause for pause in taken if pause is not None)
    assert pauses.next(GIVE_UP_S) is None
