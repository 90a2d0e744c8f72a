# SPDX-License-Identifier: MIT
"""scripts/setup, as two verbs of make that are run at once in one clone start it."""

import fcntl
import os
import shutil
import site
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PARTS: Final = ("protocol", "agent", "executor", "audit")
WAITS: Final = "·· waiting for another scripts/setup in this clone\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a clone whose lock names nothing to fetch; our own parts are as they are."""
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / ".python-version", tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts")
    locks = tmp_path / "deploy" / "locks"
    locks.mkdir(parents=True)
    (locks / "dev.lock").write_text("# nothing\n")
    (tmp_path / ".venv").mkdir()
    return tmp_path


def start(clone: Path) -> subprocess.Popen[str]:
    """Start the set-up of the developer's environment, which builds with this one's builder."""
    return subprocess.Popen(
        [clone / "scripts" / "setup", "dev"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": site.getsitepackages()[0], "PIP_NO_INDEX": "1"},
    )


def test_two_at_once(clone: Path) -> None:
    """Two that find nothing made say that they wait; one makes it, and the other uses that."""
    with (clone / ".venv" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        both = [start(clone), start(clone)]
        first = [process.stderr.readline() for process in both if process.stderr]
    rest = [process.communicate()[1] for process in both]
    assert first == [WAITS] * 2
    assert [process.returncode for process in both] == [0, 0], rest
    assert sorted("making .venv/dev" in said for said in rest) == [False, True]
    assert (clone / ".venv" / "dev" / "bin" / "tibet-nc-agent").exists()
