# SPDX-License-Identifier: MIT
"""``tibet-nc-executor doctor``: whatever is wrong is named, with a fix, and nothing else is."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.executor.rig import Executor
from tests.mounts import mount_memory, private_mounts

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the executor's own")

OTHERWISE = {"journal"}
"""What this machine, and not the executor, may be without."""


def failed(executor: Executor, *, as_root: bool = False) -> dict[str, str]:
    """Return what the doctor finds wrong, each with its detail; its exit status says the same."""
    return {name: check["detail"] for name, check in found(executor, as_root=as_root).items()}


def found(executor: Executor, *, as_root: bool = False) -> dict[str, dict[str, str]]:
    """Return what the doctor finds wrong."""
    argv = executor.argv()
    if as_root:
        argv = argv[argv.index("-I") - 1 :]
    done = subprocess.run(
        [*argv, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    wrong = [check for check in json.loads(done.stdout) if not check["ok"]]
    assert done.returncode == (1 if wrong else 0)
    assert all(check["fix"] for check in wrong)
    return {check["name"]: check for check in wrong if check["name"] not in OTHERWISE}


def _open_the_network(executor: Executor) -> None:
    path = executor.directory / "executor.toml"
    path.write_text(path.read_text().replace('"network", ', ""))


def _put_a_file(path: Path, owner: int) -> None:
    shutil.rmtree(path)
    path.touch()
    path.chmod(0o711)
    os.chown(path, owner, owner)


def _commands_as_the_executor(executor: Executor) -> None:
    path = executor.directory / "executor.toml"
    own, shell = executor.uids.executor, executor.uids.shell
    path.write_text(path.read_text().replace(f"user = {shell}\n", f"user = {own}\n", 1))


FAULTS: dict[str, tuple[Callable[[Executor], object], str, str]] = {
    "no agent": (
        lambda executor: (executor.directory / "agent.pub").unlink(),
        "agent",
        "no agent is enrolled",
    ),
    "no key": (lambda executor: (executor.state / "executor.key").unlink(), "key", "executor.key"),
    "commands as the executor's uid": (
        _commands_as_the_executor,
        "accounts",
        "need three accounts",
    ),
    "nobody pinned": (lambda executor: executor.pin(), "operators", "nobody who may command"),
    "pins of others": (lambda executor: executor.pins.chmod(0o666), "operators", "operators.toml"),
    "open settings": (
        lambda executor: (executor.directory / "executor.toml").chmod(0o664),
        "settings",
        "executor.toml: others than root can change it",
    ),
    "settings that others can replace": (
        lambda executor: executor.directory.chmod(0o777),
        "settings",
        ": others than root can change it",
    ),
    "an open chain": (lambda executor: executor.state.chmod(0o755), "state", "lets others at"),
    "a segment of root's": (
        lambda executor: os.chown(next((executor.state / "chain").iterdir()), 0, 0),
        "state",
        ".jsonl: not ",
    ),
    "an index that can't be written": (
        lambda executor: (executor.state / "index.sqlite").chmod(0o400),
        "state",
        "index.sqlite: not ",
    ),
    "no recordings": (
        lambda executor: (executor.state / "recordings").rename(executor.directory / "away"),
        "state",
        "recordings is missing",
    ),
    "open homes": (
        lambda executor: (executor.directory / "home").chmod(0o777),
        "home",
        "is 777 of uid",
    ),
    "a home that is a file": (
        lambda executor: _put_a_file(executor.directory / "home", executor.uids.executor),
        "home",
        "home is not a directory",
    ),
    "a key that others can read": (
        lambda executor: (executor.state / "executor.key").chmod(0o640),
        "key",
        "others can read this key",
    ),
    "an open socket": (lambda executor: executor.socket.chmod(0o666), "socket", "lets everybody"),
    "not running": (lambda executor: executor.stop(), "socket", "No such file"),
    "a wall that nobody gave up": (_open_the_network, "walls", "network: a socket of"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(executor: Executor, fault: str) -> None:
    """A host that serves has no fault, and one that is made is the only one."""
    assert failed(executor) == {}
    make, name, detail = FAULTS[fault]
    make(executor)
    assert list(wrong := failed(executor)) == [name]
    assert detail in wrong[name]


def _another_agent(executor: Executor) -> None:
    path = executor.directory / "executor.toml"
    path.write_text(path.read_text().replace("user = 0\n", "user = 4242\n", 1))


ROOT_SEES: dict[str, tuple[Callable[[Executor], object], str, str]] = {
    "the agent's key": (
        lambda executor: (executor.directory / "agent.pub").chmod(0o600),
        "settings",
        "agent.pub: ",
    ),
    "the pins": (lambda executor: executor.pins.chmod(0o600), "settings", "operators.toml: "),
    "its settings": (
        lambda executor: (executor.directory / "executor.toml").chmod(0o600),
        "settings",
        "executor.toml: ",
    ),
    "the directory": (
        lambda executor: executor.directory.chmod(0o700),
        "settings",
        "executor.toml: ",
    ),
    "the socket": (_another_agent, "socket", "the agent's user can't connect to it"),
}


@pytest.mark.parametrize("fault", ROOT_SEES)
def test_what_only_root_gets_at_is_named(executor: Executor, fault: str) -> None:
    """Root's doctor finds what root can use, and the account that needs it can't."""
    assert failed(executor, as_root=True) == {}
    make, name, detail = ROOT_SEES[fault]
    make(executor)
    try:
        wrong = failed(executor, as_root=True)
    finally:
        executor.directory.chmod(0o755)
    assert detail in wrong.pop(name)
    assert set(wrong) <= {"socket"}  # which is in that directory


def test_little_room_is_named(place: Path) -> None:
    """A disk on which a few recordings find no room fails before it is full."""
    state = place / "state"
    state.mkdir()
    with private_mounts():
        mount_memory(state, "size=400m")
        with Executor(place) as executor:
            (wrong,) = failed(executor).items()
    assert wrong[0] == "disk"
    assert "MiB free below" in wrong[1]


@pytest.mark.parametrize("fault", ["files", "read-only"])
def test_what_takes_nothing_more_is_named(place: Path, fault: str) -> None:
    """So does one that has room, and takes no other file or nothing at all, which is said."""
    state = place / "state"
    state.mkdir()
    with private_mounts():
        mount_memory(state, "size=600m", "nr_inodes=40")
        with Executor(place) as executor:
            if fault == "files":
                with suppress(OSError):
                    for number in range(40):
                        (state / f"filler-{number}").touch()
            else:
                subprocess.run(["mount", "-o", "bind", state, state], check=True)
                subprocess.run(["mount", "-o", "remount,bind,ro", state], check=True)
            (wrong,) = failed(executor).items()
    assert wrong[0] == "disk"
    said = {"files": "it takes not one file more (df -i)", "read-only": "it is read-only"}
    assert wrong[1].endswith(f", but {said[fault]}")


def test_a_link_that_leads_nowhere_is_no_fault(executor: Executor) -> None:
    """What nobody reads may lie beside the settings, whatever it is."""
    (executor.directory / "old.toml").symlink_to("old.toml")
    (executor.directory / "old.pub").symlink_to("gone")
    assert failed(executor) == {}


def test_what_is_in_the_place_of_the_settings_is_named(executor: Executor) -> None:
    """A loop of links where the agent's key should be is one line, and the rest is looked at."""
    key = executor.directory / "agent.pub"
    key.unlink()
    key.symlink_to(key.name)
    assert failed(executor) == {"agent": f"{key}: Too many levels of symbolic links"}


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_state_that_is_no_directory_is_named(executor: Executor, kind: str) -> None:
    """It is what every check names that can't be made without it."""
    executor.stop()
    state = executor.state
    shutil.rmtree(state)
    why = "No such file or directory"
    if kind == "a file":
        state.touch(mode=0o700)
        why = "Not a directory"
    wrong = failed(executor)
    assert wrong["state"] == f"{state}: {why}"
    assert wrong["key"].startswith(str(state))
    assert str(executor.directory / "home") not in wrong.get("home", "")


def test_a_key_that_others_can_read_is_mended_by_its_mode(executor: Executor) -> None:
    """What is said to be done helps: it is the mode, and no other key."""
    key = executor.state / "executor.key"
    key.chmod(0o640)
    subprocess.run(found(executor)["key"]["fix"].partition(";")[0].split(), check=True)
    assert failed(executor) == {}
