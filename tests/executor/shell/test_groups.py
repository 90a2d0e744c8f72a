# SPDX-License-Identifier: MIT
"""Control groups below control groups: of those that are gone, and of a run that made some (I6)."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.acting import acting_as
from tests.executor.shell.driver import LIMITS
from tests.mounts import mount_memory, private_mounts
from tests.separation import delegate_cgroup, remove_cgroup
from tibet_nc_executor.cgroup import CgroupBase, CgroupRun
from tibet_nc_executor.children import Children
from tibet_nc_executor.enclosure import GIVE_UP_S, Pauses

NOBODY: Final = (1 << 22) + 1  # above the highest process id that Linux can give


class Waiting(Pauses):
    """Pauses that count how often somebody was told to give up."""

    given_up = 0

    def next(self, now: float) -> float | None:
        """Return the pause."""
        pause = super().next(now)
        self.given_up += pause is None
        return pause


@pytest.fixture
def top() -> Iterator[Path]:
    """Make a group for these tests."""
    found = delegate_cgroup(f"groups-{os.getpid()}", 0)
    if found is None:
        pytest.skip("there is no version 2 hierarchy to make groups in")
    yield found
    remove_cgroup(found)


@pytest.fixture
def sleepers() -> Iterator["Sleepers"]:
    """Start processes in groups."""
    with ExitStack() as stack:
        yield Sleepers(stack)


class Sleepers:
    """Processes that do nothing in groups, and are waited for at the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._all: list[subprocess.Popen[bytes]] = []

    def put(self, group: Path) -> int:
        """Make a group, with those above, and start a process in it."""
        group.mkdir(parents=True, exist_ok=True)
        process = self._stack.enter_context(subprocess.Popen(["sleep", "4741"]))
        self._stack.callback(process.kill)
        (group / "cgroup.procs").write_text(str(process.pid))
        self._all.append(process)
        return process.pid

    def end(self) -> set[int]:
        """Return the signals that all of them were ended by."""
        return {-process.wait() for process in self._all}


def pauses() -> Waiting:
    """Return the pauses of a start."""
    return Waiting(now=time.monotonic())


def hopeless() -> Waiting:
    """Return pauses after which there is no time left."""
    return Waiting(now=time.monotonic() - GIVE_UP_S)


async def test_groups_below_abandoned_ones_go_too(top: Path, sleepers: Sleepers) -> None:
    """Whatever a dead executor's group holds is killed, counted and removed: no start waits."""
    for number in range(7):
        (top / f"tibet-nc-{NOBODY}-{number}" / "empty" / "and" / "deep").mkdir(parents=True)
    first = top / f"tibet-nc-{NOBODY}-0"
    sleepers.put(first)
    sleepers.put(first / "a")
    sleepers.put(first / "a" / "b" / "c")
    sleepers.put(first / "frozen" / "below")
    (first / "frozen" / "cgroup.freeze").write_text("1")
    waiting = pauses()
    remains = await CgroupBase(top).clear(waiting)
    assert (remains.killed, remains.surviving) == (4, 0)
    assert sleepers.end() == {9}
    assert {entry.name for entry in top.iterdir() if entry.is_dir()} == {"daemon"}
    assert waiting.given_up == 0


async def test_threaded_groups_below_go_too(top: Path, sleepers: Sleepers) -> None:
    """A group that holds threads, and can't name their processes, hides them from nobody."""
    left = top / f"tibet-nc-{NOBODY}-1"
    process = sleepers.put(left)
    threads = left / "threads"
    threads.mkdir()
    (threads / "cgroup.type").write_text("threaded")
    (threads / "cgroup.threads").write_text(str(process))
    remains = await CgroupBase(top).clear(pauses())
    assert (remains.killed, remains.surviving) == (1, 0)
    assert sleepers.end() == {9}
    assert not left.exists()


async def test_deep_groups_go_too(top: Path, sleepers: Sleepers) -> None:
    """Groups whose path is longer than the kernel takes are emptied and removed as others are."""
    left = top / f"tibet-nc-{NOBODY}-1"
    sleepers.put(left)
    here = os.open(left, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 255, dir_fd=here)
        below = os.open("d" * 255, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    sleepers.put(Path(f"/proc/self/fd/{here}"))
    os.close(here)
    remains = await CgroupBase(top).clear(pauses())
    assert (remains.killed, remains.surviving) == (2, 0)
    assert sleepers.end() == {9}
    assert not left.exists()


async def test_what_may_not_be_ended_is_not_waited_for(top: Path, sleepers: Sleepers) -> None:
    """A start doesn't wait for what belongs to another uid, and says that it is there."""
    foreign, own = (top / f"tibet-nc-{NOBODY}-{number}" for number in (1, 2))
    sleepers.put(foreign / "below")
    sleepers.put(own)
    for path in (top, own, own / "cgroup.kill"):
        os.chown(path, 64299, 64299)
    waiting = pauses()
    with acting_as(64299):
        remains = await CgroupBase(top).clear(waiting)
    assert (remains.killed, remains.surviving) == (1, 1)
    assert waiting.given_up == 0
    assert foreign.exists()
    assert not own.exists()


async def test_what_stays_is_given_up_on_together(top: Path, sleepers: Sleepers) -> None:
    """Groups that can't be removed cost a start one time of giving up, and keep nothing alive."""
    stuck = [top / f"tibet-nc-{NOBODY}-{number}" for number in range(3)]
    with private_mounts():
        for group in stuck:
            (group / "busy").mkdir(parents=True)
            mount_memory(group / "busy")
        for number in range(3, 7):
            sleepers.put(top / f"tibet-nc-{NOBODY}-{number}" / "below")
        waiting = Waiting(now=time.monotonic() + 2 - GIVE_UP_S)
        remains = await CgroupBase(top).clear(waiting)
    assert waiting.given_up == 1
    assert (remains.killed, remains.surviving) == (4, 0)
    assert sleepers.end() == {9}
    assert sorted(top.glob("tibet-nc-*")) == stuck


async def test_one_look_is_enough_to_kill(top: Path, sleepers: Sleepers) -> None:
    """Each group is killed before any is waited for."""
    for number in range(5):
        sleepers.put(top / f"tibet-nc-{NOBODY}-{number}" / "below")
    await CgroupBase(top).clear(hopeless())
    assert sleepers.end() == {9}


async def test_only_groups_of_the_gone_are_cleared(top: Path, sleepers: Sleepers) -> None:
    """A group is an executor's that is gone only if its name says so in plain digits."""
    kept = [
        top / name
        for name in (
            f"tibet-nc-{os.getpid()}-1",
            f"tibet-nc-{NOBODY}",
            f"tibet-nc-{NOBODY}-",
            "tibet-nc-\N{SUPERSCRIPT TWO}-1",
            "tibet-nc-\N{ARABIC-INDIC DIGIT NINE}-1",
            "tibet-nc--1",
            f"tibet-nc-x{NOBODY}-1",
            f"other-tibet-nc-{NOBODY}-1",
        )
    ]
    processes = {sleepers.put(group) for group in kept}
    remains = await CgroupBase(top).clear(pauses())
    assert (remains.killed, remains.surviving) == (0, 0)
    inside = {int(pid) for group in kept for pid in (group / "cgroup.procs").read_text().split()}
    assert inside == processes


@pytest.fixture
def group(top: Path) -> Iterator[tuple[CgroupRun, Path]]:
    """Make the group of a run."""
    run = CgroupBase(top).new(LIMITS, Children(), None)
    (directory,) = top.glob("tibet-nc-*")
    yield run, directory
    run.close()


async def test_the_end_of_a_run_reaches_below(
    group: tuple[CgroupRun, Path], sleepers: Sleepers
) -> None:
    """Processes in groups below a run's own are the run's, and end and are counted with it (I6)."""
    run, directory = group
    leader, *others = (
        sleepers.put(directory / below) for below in ("", "one", "one/deeper", "two", "two")
    )
    run.entered(leader)
    assert sorted(run.members()) == sorted((leader, *others))
    assert sorted(run.others()) == sorted(others)
    assert all(run.holds(pid) for pid in others)
    remains = await run.end()
    assert (remains.killed, remains.surviving) == (5, 0)
    assert sleepers.end() == {9}
    assert not directory.exists()


async def test_a_command_makes_no_group_below(top: Path) -> None:
    """Whatever the executor's umask is, nobody else makes groups in a run's or enters it (I6)."""
    before = os.umask(0)
    try:
        run = CgroupBase(top).new(LIMITS, Children(), None)
    finally:
        os.umask(before)
    (directory,) = top.glob("tibet-nc-*")
    other = ["setpriv", "--reuid=64299", "--regid=64299", "--clear-groups"]
    made = subprocess.run([*other, "mkdir", directory / "below"], capture_output=True, check=False)
    script = f"echo 0 >{directory}/cgroup.procs"
    entered = subprocess.run([*other, "sh", "-c", script], capture_output=True, check=False)
    assert b"ermission denied" in made.stderr
    assert b"ermission denied" in entered.stderr
    run.close()
    assert not directory.exists()


async def test_what_could_not_be_removed_is_removed_at_the_close(
    group: tuple[CgroupRun, Path],
) -> None:
    """A run that was never begun leaves no group, and none below."""
    run, directory = group
    (directory / "below" / "deep").mkdir(parents=True)
    run.close()
    assert not directory.exists()
