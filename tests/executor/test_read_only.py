# SPDX-License-Identifier: MIT
"""A disk that turns read-only under a running executor: no command without its record (I1, I7)."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.directories import reachable_directory
from tests.executor.injection import injected
from tests.executor.rig import Client, Executor, records, whole_chain
from tests.executor.shell.driver import until
from tests.mounts import private_mounts
from tibet_nc_protocol.layout import CHAIN, PAYLOADS
from tibet_nc_protocol.messages import Denied, Finished
from tibet_nc_protocol.records import Intent
from tibet_nc_protocol.terms import DenialCode

IMAGE_BYTES: Final = 16 * 1024 * 1024
TRIES: Final = 3

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount and to trace")


@pytest.fixture
def place() -> Iterator[Path]:
    """Make a directory that every uid can reach, with mounts that only this test sees."""
    with reachable_directory() as path, private_mounts():
        (path / "state").mkdir()
        (path / "ran").mkdir()
        (path / "ran").chmod(0o777)
        yield path


def _mount(place: Path) -> Path:
    """Mount the image; return the file by which its file system is told that it has an error."""
    state = place / "state"
    options = "loop,errors=remount-ro"
    subprocess.run(["mount", "-o", options, place / "disk", state], check=True)
    device = os.stat(state).st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    return Path(f"/sys/fs/ext4/{name}/trigger_fs_error")


async def _is_refused(client: Client, executor: Executor, place: Path) -> None:
    """Check that no command runs, also by a shell that waited for it, and that the answer says why.

    Nor may such a shell be left, which has approached a command that it must not run.
    """
    for number in range(TRIES):
        mark = place / "ran" / f"refused-{number}"
        await until(lambda: bool(executor.commands("/bin/bash")))
        denied = await client.run(f"touch {mark}")
        assert isinstance(denied, Denied)
        assert denied.code is DenialCode.UNRECORDED
        assert "Read-only file system" in denied.reason
        assert "nothing was run" in denied.reason
        await until(lambda: not any("refused" in line for line in executor.commands("")))
        assert not mark.exists()


async def _runs(client: Client, place: Path, name: str) -> None:
    mark = place / "ran" / name
    assert isinstance(await client.run(f"touch {mark}"), Finished)
    assert mark.exists()


def _intents(executor: Executor) -> int:
    return sum(isinstance(record, Intent) for record in records(executor))


@pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices")
async def test_a_file_system_that_the_kernel_makes_read_only(place: Path) -> None:
    """After an error of its disk nothing runs, which is said; mended, it goes on, and is whole."""
    with (place / "disk").open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", place / "disk"], check=True)
    error = _mount(place)
    with Executor(place) as executor:
        client = await Client.connect(executor)
        await _runs(client, place, "before")
        error.write_text("an error\n")
        await _is_refused(client, executor, place)
        await client.close()
        executor.stop()
        subprocess.run(["umount", executor.state], check=True)
        subprocess.run(["fsck.ext4", "-fy", place / "disk"], check=False, capture_output=True)
        _mount(place)
        executor.start()
        client = await Client.connect(executor)
        await _runs(client, place, "after")
        await client.close()
        assert _intents(executor) == 2
        executor.stop()
        whole_chain(executor)
        subprocess.run(["umount", executor.state], check=True)


def _written_to(executor: Executor) -> list[Path]:
    """Return the files that a record is written to, and the one that is given up for it."""
    folders = (executor.state / folder for folder in (CHAIN, PAYLOADS))
    return [*(path for folder in folders for path in folder.iterdir()), executor.state / "reserve"]


async def test_writable_again_it_goes_on_by_itself(place: Path) -> None:
    """When the disk can be written again, the same executor goes on, and its chain is whole."""
    with Executor(place) as executor:
        client = await Client.connect(executor)
        await _runs(client, place, "before")
        fault = "write,ftruncate,fallocate,unlink:error=EROFS"  # as on a read-only file system
        with injected(executor, fault, _written_to(executor)):
            await _is_refused(client, executor, place)
        await _runs(client, place, "after")
        await client.close()
        assert _intents(executor) == 2
        executor.stop()
        whole_chain(executor)
