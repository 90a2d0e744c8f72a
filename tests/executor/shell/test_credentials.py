# SPDX-License-Identifier: MIT
"""What the process's own attributes are changed for: exactly that, or an error (I2, I6)."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.separation import reachable
from tibet_nc_executor import credentials
from tibet_nc_executor.credentials import file_group

GROUP: Final = 64295
ROOT: Final = Path(__file__).resolve().parents[3]

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give groups away")


def group_of(path: Path) -> int:
    """Make a file and return whose group it got."""
    path.touch()
    return path.stat().st_gid


@needs_root
def test_a_file_group_is_this_thread_s_and_ends_with_its_block(tmp_path: Path) -> None:
    """Only what the thread makes in the block has the group, also when the block fails."""
    with ThreadPoolExecutor(1) as other:
        assert other.submit(group_of, tmp_path / "before").result() == 0
        with suppress(ZeroDivisionError), file_group(GROUP):
            assert other.submit(group_of, tmp_path / "other").result() == 0
            assert group_of(tmp_path / "inside") == GROUP
            raise ZeroDivisionError
    assert group_of(tmp_path / "after") == 0


def as_nobody(program: str) -> str:
    """Run a program in an unprivileged process, and return what it prints."""
    nobody = ["setpriv", "--reuid=64296", "--regid=64296", "--clear-groups", "--inh-caps=-all"]
    done = subprocess.run(
        [*reachable(), *nobody, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@needs_root
def test_a_shielded_process_leaves_no_core_file() -> None:
    """What the kernel would not dump, it shows to no other process of the uid either (I10).

    Its files in /proc are root's then, instead of its own (proc(5)). An executor sees to it before
    it looks for its key, which this one lacks.
    """
    program = (
        "import asyncio, os\n"
        "from tibet_nc_executor.config import parse\n"
        "from tibet_nc_executor.errors import ConfigError\n"
        "from tibet_nc_executor.selftest import Wall\n"
        "from tibet_nc_executor.service import serve\n"
        "settings = {'walls': {'accepted': list(Wall)}, 'policy': {'rooms': ['!room:example.org']},"
        " 'state': {'directory': '/nonexistent'}}\n"
        "print(os.stat('/proc/self/environ').st_uid)\n"
        "try:\n"
        "    asyncio.run(serve(parse(settings, 'settings'), {}))\n"
        "except ConfigError as error:\n"
        "    print(error)\n"
        "print(os.stat('/proc/self/environ').st_uid, oct(os.umask(0)))\n"
    )
    before, why, *after = as_nobody(program).splitlines()
    assert before == "64296"
    assert why.startswith("/nonexistent/executor.key: no key")
    assert after == ["0 0o77"]


@needs_root
def test_without_the_capability_nothing_is_done_in_the_wrong_group() -> None:
    """Who may not take a group doesn't come into the block, and keeps its own group."""
    program = (
        "import os\n"
        "from tibet_nc_executor.credentials import file_group\n"
        "try:\n"
        f"    with file_group({GROUP}):\n"
        "        print('inside')\n"
        "except PermissionError as error:\n"
        "    print(error)\n"
        "status = open('/proc/self/status').read()\n"
        "print(status[status.index('Gid:'):].splitlines()[0].split()[1:])\n"
    )
    refused, ids = as_nobody(program).splitlines()
    assert refused == f"no permission to act as group {GROUP}"
    assert ids == str(["64296"] * 4)


def test_an_attribute_that_can_not_be_set_is_an_error() -> None:
    """What the kernel refuses is not taken for done."""
    with pytest.raises(OSError, match="failed") as caught:
        credentials._prctl(credentials._PR_SET_DUMPABLE, 9)
    assert caught.value.errno == errno.EINVAL
