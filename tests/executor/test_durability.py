# SPDX-License-Identifier: MIT
"""What would be left if the power were cut: all that was told of, by the calls that were made (I1).

A disk keeps what was written to a file when the file was synced after that, and that a file has its
name when the directory was. Nothing else can be relied on. So a real program's calls are written
down by strace, and gone through: whenever it tells somebody something, no more may be open.
"""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.executor.exchange import run
from tests.executor.injection import traced, traced_program
from tests.executor.rig import UNRESTRICTED, Client, Executor, remainders
from tests.executor.shell.driver import until
from tests.executor.test_faults import WRITER
from tests.executor.test_mending_faults import ERASER
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, RECORDINGS
from tibet_nc_protocol.messages import Finished

CALLS = (
    "openat,mkdir,rename,unlink,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,sendto,sendmsg"
)
TRACED = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<(.*)>)?")
"""A call that went well: process, name, arguments, result, and what that is."""
WAKING = r'"\0", 1'
"""What one thread sends to another to wake it up."""
FREE = re.compile(r"reserve(\.2)?|lock|index\.sqlite.*")
"""Files that may be lost: they are made anew."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")


class Disk:
    """What a directory would lose if the power were cut now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known = set(directory.rglob("*"))
        self.contents: set[str] = set()
        """Files that were written to since they were synced."""
        self.names: set[str] = set()
        """Directories in which a name has changed since they were synced."""

    def apply(self, call: str, arguments: str, result: str | None) -> None:
        """Take notice of a call."""
        opened = re.match(r"\d+<(.*?)>", arguments)
        named = [Path(name) for name in re.findall(r'"(.*?)"', arguments)]
        match call:
            case "openat" if "O_CREAT" in arguments and result is not None:
                if Path(result) not in self._known:
                    self._named(Path(result))
            case "mkdir":
                self._named(named[0])
            case "unlink":
                self._unnamed(named[0])
            case "rename":
                old, new = named
                if self._of(old) & self.contents:
                    self.contents |= self._of(new)
                self._unnamed(old)
                self._named(new)
            case "write" | "pwrite64" | "ftruncate" | "fallocate" if opened is not None:
                self.contents |= self._of(Path(opened[1]))
            case "fsync" | "fdatasync" if opened is not None:
                self.contents -= self._of(Path(opened[1]))
                self.names -= self._of(Path(opened[1]))
            case _:
                pass

    def _of(self, path: Path) -> set[str]:
        """Return a path below the directory; none if it isn't, or may be lost."""
        if not path.is_relative_to(self._directory) or FREE.fullmatch(path.name):
            return set()
        return {str(path.relative_to(self._directory))}

    def _named(self, path: Path) -> None:
        self._known.add(path)
        if self._of(path):
            self.names |= self._of(path.parent)

    def _unnamed(self, path: Path) -> None:
        self._known.discard(path)
        self.contents -= self._of(path)
        if self._of(path):
            self.names |= self._of(path.parent)


def calls(trace: str) -> Iterator[tuple[str, str, str, str | None]]:
    """Yield process, name, arguments and result of each call that went well, when it was over."""
    unfinished: dict[str, str] = {}  # strace cuts a call in two when another thread makes one
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if line.endswith(" <unfinished ...>"):
            unfinished[pid] = call.removesuffix(" <unfinished ...>")
            continue
        if " resumed>" in line:
            call = unfinished.pop(pid).strip() + call.partition(" resumed>")[2]
        if (found := TRACED.fullmatch(f"{pid} {call}")) is not None:
            process, name, arguments, _, opened = found.groups()
            yield process, name, arguments, opened


def open_at_each_word(disk: Disk, trace: str, pid: int | None = None) -> Iterator[set[str]]:
    """Yield what would be lost at each time that the program, or one process, tells something."""
    for process, call, arguments, result in calls(trace):
        told = call in {"sendto", "sendmsg"} or (call == "write" and arguments.startswith("1<"))
        if told and WAKING not in arguments:
            if pid is None or int(process) == pid:
                yield disk.contents | disk.names
        else:
            disk.apply(call, arguments, result)


def calls_of(program: Path, directory: Path, word: str) -> str:
    """Run a program that tells what it has done; return what it asked of the kernel."""
    said, trace = traced_program(program, directory, word, "-y", "-e", f"trace={CALLS}")
    assert said
    return trace


def open_when_synced(disk: Disk, trace: str, folder: Path) -> Iterator[set[str]]:
    """Yield what contents would be lost each time that a file in a folder has been synced."""
    for _, call, arguments, result in calls(trace):
        disk.apply(call, arguments, result)
        if call in {"fsync", "fdatasync"} and f"<{folder}/" in arguments:
            yield set(disk.contents)


@pytest.mark.parametrize("pace", ["once", "thread", "burst"])
def test_no_intent_or_outcome_is_told_of_that_could_be_lost(tmp_path: Path, pace: str) -> None:
    """Records, their texts, new segments and all directories are synced before anybody knows."""
    directory = tmp_path / "state"
    directory.mkdir()
    disk = Disk(directory)
    told = list(open_at_each_word(disk, calls_of(WRITER, directory, pace)))
    assert len(list((directory / CHAIN).iterdir())) > 1
    assert len(told) >= 3
    assert not any(told)


def test_what_a_killed_one_left_is_synced_before_anything_is_told(tmp_path: Path) -> None:
    """A start doesn't rely on what another executor may not have come to sync."""
    directory = tmp_path / "state"
    directory.mkdir()
    calls_of(WRITER, directory, "once")
    disk = Disk(directory)
    disk.contents = {f"{CHAIN}/{max((directory / CHAIN).iterdir()).name}"}
    disk.contents.add(f"{PAYLOADS}/{max((directory / PAYLOADS).iterdir()).name}")
    disk.names = {".", CHAIN, PAYLOADS}
    told = list(open_at_each_word(disk, calls_of(WRITER, directory, "once")))
    assert told == [set()] * 3


@pytest.mark.parametrize("pace", ["once", "thread"])
def test_a_text_is_on_disk_before_its_record(tmp_path: Path, pace: str) -> None:
    """A power cut between two syncs leaves no record whose text it takes, in whichever order."""
    directory = tmp_path / "state"
    directory.mkdir()
    disk = Disk(directory)
    trace = calls_of(WRITER, directory, pace)
    found = list(open_when_synced(disk, trace, directory / CHAIN))
    assert len(found) >= 3
    assert not any(found)


@pytest.mark.parametrize("number", ["1", "5"])
def test_an_erasure_is_told_of_when_it_is_for_good(tmp_path: Path, number: str) -> None:
    """What was said to be erased doesn't come back, and what is written later stays."""
    directory = tmp_path / "state"
    directory.mkdir()
    calls_of(WRITER, directory, "once")
    disk = Disk(directory)
    told = list(open_at_each_word(disk, calls_of(ERASER, directory, number)))
    assert told == [set()] * 2


def lasting(found: Iterable[str]) -> set[str]:
    """Leave out that a new recording has its name.

    Each file system that Debian offers for a root keeps the name of a new file that was synced
    (ext4, XFS, btrfs); to sync the directory as well would cost every command a flush.
    """
    return set(found) - {RECORDINGS}


@pytest.mark.parametrize("printed", ["seq 1 100", "seq 1 100000"])
async def test_no_result_is_told_of_that_could_be_lost(place: Path, printed: str) -> None:
    """With an answer are on disk its records, its text, its token and all of its recording.

    The end of a recording, which may be all of it, is synced with the outcome, and before that.
    """
    with Executor(place) as executor:
        client = await Client.connect(executor)
        assert isinstance(await client.run("echo first"), Finished)
        await asyncio.sleep(0.3)  # what is written after an answer
        disk = Disk(executor.state)
        with traced(executor.pid, place / "trace", f"trace={CALLS}"):
            assert isinstance(await client.run(printed), Finished)
        await client.close()
        trace = (place / "trace").read_text()
        told = open_at_each_word(disk, trace, executor.pid)
        *others, last = map(lasting, told)
        *_, with_outcome = open_when_synced(Disk(executor.state), trace, executor.state / CHAIN)
    assert last == with_outcome == set()
    assert others
    assert not any(name.startswith((CHAIN, PAYLOADS)) for each in others for name in each)


@pytest.mark.executor(shell=UNRESTRICTED)
async def test_no_remainder_is_told_of_that_could_be_lost(
    executor: Executor, client: Client, place: Path
) -> None:
    """What was left running is said to have ended when its record and all it printed are kept."""
    left = await run(client, "mkfifo gate; (read -r x <gate; seq 1 1000) & true")
    assert left.leftover == 1
    disk = Disk(executor.state)
    with traced(executor.pid, place / "trace", f"trace={CALLS}"):
        said = await run(client, "echo >gate")
        await until(lambda: len(remainders(executor)) == 1)
        while not said.notes:  # on the first answer after it ended, which may be that to echo
            said = await run(client, "true")
    *_, last = open_at_each_word(disk, (place / "trace").read_text(), executor.pid)
    assert lasting(last) == set()


async def test_an_erased_recording_is_told_of_when_it_is_for_good(place: Path) -> None:
    """Output that was said to be erased doesn't come back."""
    with Executor(place) as executor:
        client = await Client.connect(executor)
        finished = await client.run("echo something")
        assert isinstance(finished, Finished)
        await client.close()
        await asyncio.sleep(0.3)  # what is written after an answer
        disk = Disk(executor.state)
        with traced(executor.pid, place / "trace", f"trace={CALLS}"):
            executor.verb("erase", str(finished.number), "--recording", "--reason", "a test")
        *_, last = open_at_each_word(disk, (place / "trace").read_text(), executor.pid)
    assert last == set()


@pytest.mark.parametrize("words", [["init"], ["identity", "--rotate"]])
def test_a_key_is_told_of_when_it_is_on_disk(place: Path, words: list[str]) -> None:
    """A key that was made, with the directory that it is in, or took another's place, stays."""
    executor = Executor(place)
    with executor:
        pass
    if words == ["init"]:
        shutil.rmtree(executor.state)
        place.chmod(0o777)
    disk = Disk(place)
    trace = place / "trace"
    argv = ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={CALLS}"]
    subprocess.run([*argv, *executor.argv(), *words], check=True, capture_output=True, cwd="/")
    told = list(open_at_each_word(disk, trace.read_text()))
    assert told
    assert not any(told)
