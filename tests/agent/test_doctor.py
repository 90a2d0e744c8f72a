# SPDX-License-Identifier: MIT
"""``tibet-nc-agent doctor``, of which only what it says of the own disk is looked at here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.directories import reachable_directory
from tests.mounts import mount_memory, private_mounts

SETTINGS = """\
[matrix]
homeserver = "http://127.0.0.1:9"
user_id = "@host1:example.org"
rooms = ["!room:example.org"]
[executor]
key_file = "{state}/none"
[state]
directory = "{state}"
"""


def disk(directory: Path, *options: str) -> tuple[bool, str, str]:
    """Return what the doctor says of a disk made with these options: all is well, what, the fix."""
    state, settings = directory / "state", directory / "agent.toml"
    state.mkdir()
    settings.write_text(SETTINGS.format(state=state))
    with private_mounts():
        mount_memory(state, *options)
        done = subprocess.run(
            [sys.executable, "-m", "tibet_nc_agent", "--config", settings, "doctor", "--json"],
            capture_output=True,
            check=False,
        )
    (found,) = (check for check in json.loads(done.stdout) if check["name"] == "disk")
    return found["ok"], found["detail"], found["fix"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a file system")
@pytest.mark.parametrize(
    ("options", "more"),
    [
        (("size=400m",), ""),
        (("size=600m", "nr_inodes=1"), ", but it takes not one file more (df -i)"),
        (("size=600m", "ro"), ", but it is read-only"),
    ],
)
def test_what_takes_nothing_more_is_named(
    tmp_path: Path, options: tuple[str, ...], more: str
) -> None:
    """A disk that has little room, or takes no other file or nothing, fails, and it says which."""
    ok, detail, fix = disk(tmp_path, *options)
    assert not ok
    assert detail.endswith(f" MiB free below {tmp_path / 'state'}{more}")
    assert fix.startswith("make room")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a file system")
def test_enough_room_is_right(tmp_path: Path) -> None:
    """A disk that has more is in order, and how much there is, is told."""
    assert disk(tmp_path, "size=600m") == (True, f"600 MiB free below {tmp_path / 'state'}", "")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_somebody_else_is_named(tmp_path: Path) -> None:
    """What root has left in the state, as by opening a database there, is the agent's no more."""
    state, settings = tmp_path / "state", tmp_path / "agent.toml"
    state.mkdir(mode=0o700)
    settings.write_text(SETTINGS.format(state=state))
    (state / "inbox.sqlite-wal").touch()
    os.chown(state / "inbox.sqlite-wal", 4242, 4242)
    done = subprocess.run(
        [sys.executable, "-m", "tibet_nc_agent", "--config", settings, "doctor", "--json"],
        capture_output=True,
        check=False,
    )
    (found,) = (check for check in json.loads(done.stdout) if check["name"] == "state")
    assert not found["ok"]
    assert found["detail"] == f"{state}/inbox.sqlite-wal: not this user's to read and write"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give the state away")
def test_a_state_that_is_closed_to_its_owner_is_named() -> None:
    """A directory without rights is told of, and the doctor gets to the end."""
    with reachable_directory() as place:
        state, settings = place / "state", place / "agent.toml"
        (state / "matrix").mkdir(parents=True)
        settings.write_text(SETTINGS.format(state=state))
        os.chown(state, 4242, 4242)
        state.chmod(0o000)
        done = subprocess.run(
            [sys.executable, "-m", "tibet_nc_agent", "--config", settings, "doctor", "--json"],
            capture_output=True,
            check=False,
        )
        state.chmod(0o700)
    checks = json.loads(done.stdout)
    assert (checks[0]["name"], checks[0]["ok"]) == ("state", False)
    assert checks[-1]["name"] == "executor"
    assert all(check["fix"] for check in checks if not check["ok"])
