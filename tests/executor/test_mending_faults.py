# SPDX-License-Identifier: MIT
"""Break the disk while a torn chain is mended, and while a text is erased (I7, I8).

As in test_faults, each system call that changes a file fails once, or is the process's last.
"""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.executor.injection import traced_program
from tests.executor.test_faults import CALLS, FULL, SEGMENTS, WRITER, check, run
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, PAYLOADS_CODEC

ERASER = Path(__file__).with_name("eraser.py")
READING = frozenset(
    {"newfstatat", "fstat", "close", "fcntl", "flock", "getdents64", "lseek", "read", "ioctl"}
)
"""Calls on the chain's files that change nothing in them."""

MENDING = ("openat", "ftruncate", "fsync", "fdatasync", "write")
ERASING = ("openat", "write", "fsync", "fdatasync", "rename")


def _watched(directory: Path) -> list[Path]:
    paths = [directory, directory / "lock", directory / "reserve"]
    for name in (CHAIN, PAYLOADS):
        folder = directory / name
        paths += [folder, *(folder / segment for segment in SEGMENTS)]
    return [*paths, *(directory / PAYLOADS / f".{segment}.new" for segment in SEGMENTS)]


def _traced(
    program: Path, directory: Path, *options: str, word: str = "once", only: Path | None = None
) -> tuple[list[str], str]:
    """Run a program under strace; return what it said and its calls on the chain's files."""
    watched = _watched(directory) if only is None else [only]
    return traced_program(program, directory, word, *options, files=watched)


def _counted(trace: str) -> Counter[str]:
    return Counter(re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE))


@contextmanager
def _copy(original: Path) -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="tibet-nc-fault-") as name:
        yield shutil.copytree(original, Path(name) / "state")


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """Return a directory in which the writer has written all it has to."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-written-") as name:
        directory = Path(name) / "state"
        directory.mkdir()
        said, _ = run(directory)
        assert said == ["run 1", "run 3", "run 5"]
        yield directory


@pytest.fixture(scope="module")
def torn(written: Path) -> Iterator[Path]:
    """Return such a directory whose last line a crash has cut."""
    with _copy(written) as directory:
        last = sorted((directory / CHAIN).iterdir())[-1]
        with last.open("ab") as file:
            file.write(b'{"actor":"jis:matrix:@a')
        yield directory


def test_no_call_that_writes_is_left_out(written: Path, torn: Path) -> None:
    """Every system call on the chain's files is one that is made to fail, or changes nothing."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-fault-") as name:
        _, trace = _traced(WRITER, Path(name))
        assert set(_counted(trace)) <= {*CALLS, *READING}
    with _copy(torn) as directory:
        _, trace = _traced(WRITER, directory)
        assert set(_counted(trace)) <= {*MENDING, *READING}
        assert "ftruncate(" in trace
    with _copy(written) as directory:
        said, trace = _traced(ERASER, directory, word="1")
        assert said == ["erased", "run 7"]
        assert set(_counted(trace)) <= {*ERASING, *READING}


def _break_each(
    original: Path,
    program: Path,
    calls: tuple[str, ...],
    look: Callable[[Path, list[str], str], None],
    *,
    word: str = "once",
) -> None:
    with _copy(original) as directory:
        counts = _counted(_traced(program, directory, word=word)[1])

    def attempt(call: str, fault: str, number: int) -> None:
        what = f"{call} {number} of {counts[call]}: {fault}"
        inject = f"inject={call}:{fault}:when={number}"
        with _copy(original) as directory:
            said, trace = _traced(program, directory, "-e", inject, word=word)
            assert "INJECTED" in trace or fault == "signal=KILL", what
            look(directory, said, what)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        attempts = [
            pool.submit(attempt, call, fault, number)
            for call in calls
            for fault in ("error=EIO", "signal=KILL", *(["error=ENOSPC"] if call in FULL else []))
            for number in range(1, counts[call] + 1)
        ]
        for done in attempts:
            done.result()


def test_whatever_fails_while_a_torn_line_is_mended(torn: Path) -> None:
    """A torn chain is mended by the next start, or by the one after it, and goes on."""

    def look(directory: Path, said: list[str], what: str) -> None:
        check(directory, said, what)
        again, _ = run(directory)
        assert len([line for line in again if line.startswith("run ")]) == 3, what
        check(directory, again, what)

    _break_each(torn, WRITER, MENDING, look)


@pytest.mark.parametrize(("segment", "number"), [(SEGMENTS[0], 1), (SEGMENTS[1], 5)])
def test_whatever_fails_while_a_text_is_erased(written: Path, segment: str, number: int) -> None:
    """The text is there or it isn't, as was said; no other is lost, before it or after it."""
    path = Path(PAYLOADS) / segment
    before = (written / path).read_bytes().splitlines()
    after = [line for line in before if PAYLOADS_CODEC.decode(line).seq != number]
    assert len(after) == len(before) - 1

    def kept(directory: Path) -> list[bytes]:
        lines = (directory / path).read_bytes().splitlines()
        return [line for line in lines if PAYLOADS_CODEC.decode(line).seq < 7]

    def look(directory: Path, said: list[str], what: str) -> None:
        assert kept(directory) in ((after,) if "erased" in said else (before, after)), what
        check(directory, said, what)
        again, _ = _traced(ERASER, directory, word=str(number))
        assert again[0] == "erased", what
        assert kept(directory) == after, what
        check(directory, again, what)

    _break_each(written, ERASER, ERASING, look, word=str(number))


@pytest.mark.parametrize("folder", [CHAIN, PAYLOADS])
def test_what_was_not_synced_is_on_disk_before_it_is_gone_on_with(
    written: Path, folder: str
) -> None:
    """A start that can't get on disk what a killed executor has left tells nobody of it (I1)."""
    with _copy(written) as directory:
        last = directory / folder / SEGMENTS[1]
        said, _ = _traced(WRITER, directory, "-e", "inject=fsync:error=EIO", only=last)
        assert [line.split(":")[0] for line in said] == ["closed the chain can't be opened"]
