# SPDX-License-Identifier: MIT
"""Cut the power: all that a disk may hold after each call that writes the chain (I1, I8).

A file that was written to since it was synced has its old content, the new one, or a part of that;
a directory that was not synced has its old names or the new ones. Which file was luckier than which
nobody knows. So a real writer's calls are written down by strace, each such state of its directory
is made, and the next start has to go on with it.
"""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.injection import traced_program
from tests.executor.test_durability import CALLS, calls
from tests.executor.test_faults import WRITER, check

STRING = re.compile(r"(?:\\x[0-9a-f]{2})+")
"""How strace writes a text when it is told to leave nothing as it is."""

type Contents = dict[Path, bytes]

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")


class File:
    """What a file holds for those who read it, and on the disk for certain."""

    def __init__(self) -> None:
        self.now = b""
        self.kept = b""

    def left(self) -> set[bytes]:
        """Return what a cut may leave of it; nothing here writes but at the end."""
        return {self.kept, self.now, self.now[: (len(self.kept) + len(self.now)) // 2]}


class Disk:
    """A directory that was empty, with what a program's calls make of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._now: dict[Path, File] = {}
        self._kept: dict[Path, File] = {}

    def apply(self, call: str, texts: list[bytes], opened: str | None) -> None:
        """Take notice of a call with the texts among its arguments."""
        if call == "openat" and opened is not None:
            path = Path(_bytes(opened).decode())
            if path.is_relative_to(self._directory) and path.suffix == ".jsonl":
                self._now.setdefault(path, File())
            return
        path = Path(texts[0].decode()) if texts else Path()
        file = self._now.get(path)
        if file is not None and call == "write":
            file.now += texts[1]
        elif file is not None:
            assert call in {"fsync", "fdatasync"}
            file.kept = file.now
        elif call == "fsync":
            for found in self._of(path, self._now):
                self._kept[found] = self._now[found]

    @staticmethod
    def _of(folder: Path, names: dict[Path, File]) -> list[Path]:
        return [path for path in names if path.parent == folder]

    def left(self) -> Iterator[Contents]:
        """Yield each state in which a cut may leave it."""
        folders = {path.parent for path in self._now.keys() - self._kept.keys()}
        for count in range(len(folders) + 1):
            for lucky in itertools.combinations(sorted(folders), count):
                new = (path for folder in lucky for path in self._of(folder, self._now))
                names = self._kept | {path: self._now[path] for path in new}
                for contents in itertools.product(*(sorted(f.left()) for f in names.values())):
                    yield dict(zip(names, contents, strict=True))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@pytest.mark.parametrize("pace", ["once", "thread", "burst"])
def test_what_a_power_cut_leaves_is_gone_on_with(tmp_path: Path, pace: str) -> None:
    """Whichever of what was not synced is lost: all that was told of is there, and it goes on."""
    directory = tmp_path / "state"
    directory.mkdir()
    options = ("-y", "-xx", "-s", "100000", "-e", f"trace={CALLS}")
    _, trace = traced_program(WRITER, directory, pace, *options)
    disk = Disk(directory)
    said: list[str] = []
    seen: list[Contents] = []
    for _, call, arguments, opened in calls(trace):
        texts = list(map(_bytes, STRING.findall(arguments)))
        if call == "sendto" and texts[-1].startswith(b"run "):
            said.append(texts[-1].decode())
        disk.apply(call, texts, opened)
        for contents in disk.left():
            if contents not in seen:
                seen.append(contents)
                left = tmp_path / f"left-{len(seen)}"
                for path, data in contents.items():
                    place = left / path.relative_to(directory)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(data)
                check(left, said, f"{call} after {said}: {sorted(contents)}")
    assert len(said) >= 3
    assert len(seen) > 20
