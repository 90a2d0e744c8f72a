# SPDX-License-Identifier: MIT
"""The stage against the shell itself: what bash runs of a line, the stage has seen in it.

`reboot` is a program of ours here, which only leaves a mark. It stands alone on the PATH with a few
harmless tools, and bash has an uid without rights.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.agent.safety.corpora import commands
from tibet_nc_agent.safety import Decision, judge

LINES = commands("stand-in")
NOBODY = 65534
TOOLS = [
    "awk",
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "env",
    "find",
    "grep",
    "head",
    "ln",
    "ls",
    "mkdir",
    "nice",
    "nl",
    "nohup",
    "paste",
    "printf",
    "rev",
    "sed",
    "setsid",
    "sh",
    "sleep",
    "sort",
    "tail",
    "tac",
    "tee",
    "timeout",
    "tr",
    "wc",
    "xargs",
]
LIMITS = [
    str(shutil.which("prlimit")),
    "--nproc=256",
    "--as=600000000",
    "--cpu=5",
    "--fsize=1000000",
]
SECONDS = 30


class Box:
    """A directory with the stand-in, in which lines are run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name in TOOLS:
            (self._programs / name).symlink_to(str(shutil.which(name)))
        stand_in = self._programs / "reboot"
        stand_in.write_text('#!/bin/sh\necho run >> "$MARK"\n', encoding="utf-8")
        stand_in.chmod(0o755)

    def runs(self, line: str) -> bool:
        """Whether bash starts the stand-in."""
        with tempfile.TemporaryDirectory(dir=self._folder) as work:
            mark = Path(work) / ".mark"
            uid = NOBODY if os.geteuid() == 0 else None
            if uid is not None:
                os.chown(work, uid, uid)
            subprocess.run(
                [*LIMITS, "/bin/bash", "-c", line],
                cwd=work,
                env={"PATH": str(self._programs), "HOME": work, "MARK": str(mark)},
                user=uid,
                group=uid,
                extra_groups=None if uid is None else [],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=SECONDS,
            )
            return mark.exists()


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """Make a box that the uid of the lines may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Box(Path(folder))


def test_what_bash_runs_is_never_allowed(box: Box) -> None:
    """Bash starts the dangerous program in every one of these lines, and the stage allows none."""
    with ThreadPoolExecutor(max_workers=4) as workers:
        started = list(workers.map(box.runs, LINES))
    assert [line for line, runs in zip(LINES, started, strict=True) if not runs] == []
    assert [line for line in LINES if judge(line).decision is Decision.ALLOW] == []
