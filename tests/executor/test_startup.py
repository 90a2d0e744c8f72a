# SPDX-License-Identifier: MIT
"""What a start finds on disk: it goes on whole, or says in one line why it can't (I7)."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.directories import reachable_directory
from tests.executor.rig import Client, Executor, records, security, whole_chain
from tests.mounts import mount_memory, private_mounts, remount
from tests.separation import choose_uids
from tibet_nc_executor.errors import ConfigError
from tibet_nc_executor.rungroups import GID_MAP, RUN_GROUPS, first_group
from tibet_nc_executor.server import listener
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.records import Security, SecurityEvent

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount")


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Return an executor that has run two commands and was stopped."""
    with reachable_directory() as path:
        made = Executor(path)
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture
def on_its_own_disk() -> Iterator[Executor]:
    """Return such an executor whose state is on a small disk of its own."""
    with reachable_directory() as path, private_mounts():
        (path / "state").mkdir()
        mount_memory(path / "state", "size=4m")
        made = Executor(path)
        try:
            yield made
        finally:
            made.stop()


async def _command(executor: Executor) -> None:
    client = await Client.connect(executor)
    assert isinstance(await client.run("true"), Finished)
    await client.close()


async def _two_commands(executor: Executor) -> None:
    with executor:
        await _command(executor)
        await _command(executor)


def _last(executor: Executor) -> Path:
    return max((executor.state / CHAIN).iterdir())


def _forget(executor: Executor) -> None:
    """Remove the index: it takes in what is on disk, so it never saw the line that a crash cut."""
    for path in executor.state.glob("index.sqlite*"):
        path.unlink()


def _cut(executor: Executor) -> None:
    _forget(executor)
    path = _last(executor)
    path.write_bytes(path.read_bytes()[:-40])


def _without_line_end(executor: Executor) -> None:
    _forget(executor)
    path = _last(executor)
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))


def _zeros(executor: Executor) -> None:
    with _last(executor).open("ab") as file:
        file.write(bytes(4096))


def _half(executor: Executor) -> None:
    with _last(executor).open("ab") as file:
        file.write(b'{"actor":"jis:matrix:@op:exam')


@pytest.mark.parametrize("damage", [_cut, _without_line_end, _zeros, _half])
async def test_what_a_crash_leaves_is_cut_off_and_recorded(
    executor: Executor, damage: Callable[[Executor], None]
) -> None:
    """A torn last line, one without its end, and zeros are cut off; the rest verifies, and runs."""
    await _two_commands(executor)
    damage(executor)
    with executor:
        await _command(executor)
    (torn,) = _torn_records(executor)
    assert "SHA-256" in torn.detail


def _torn_records(executor: Executor) -> list[Security]:
    return [record for record in security(executor) if record.what is SecurityEvent.TORN_RECORD]


async def test_what_is_cut_off_is_recorded_though_nothing_is_served(executor: Executor) -> None:
    """A start that fails over something else leaves the record of what it has cut off."""
    await _two_commands(executor)
    _half(executor)
    failing = Executor(executor.directory, shell='groups = ["there-is-no-such-group"]')
    with pytest.raises(AssertionError, match="there-is-no-such-group"):
        failing.start()
    assert len(_torn_records(executor)) == 1
    with Executor(executor.directory):
        pass
    assert len(_torn_records(executor)) == 1


def _empty_segment(executor: Executor, length: int) -> None:
    for folder in (CHAIN, PAYLOADS):
        path = executor.state / folder / segment_name(length)
        path.touch(0o600)
        os.chown(path, executor.uids.executor, executor.uids.executor)


def _torn_segment(executor: Executor, length: int) -> None:
    _empty_segment(executor, length)
    (executor.state / CHAIN / segment_name(length)).write_bytes(b'{"kind":"chec')


def _without_payloads(executor: Executor, length: int) -> None:
    _empty_segment(executor, length)
    (executor.state / PAYLOADS / segment_name(length)).unlink()


@pytest.mark.parametrize("begun", [_empty_segment, _torn_segment, _without_payloads])
async def test_a_segment_that_was_only_begun_is_gone_on_with(
    executor: Executor, begun: Callable[[Executor, int], None]
) -> None:
    """A crash while a segment is made leaves a chain that starts, verifies and runs."""
    await _two_commands(executor)
    length = len(whole_chain(executor))
    begun(executor, length)
    with executor:
        await _command(executor)
    assert len(whole_chain(executor)) > length


@pytest.mark.skipif(os.getuid() != 0, reason="needs uids of their own")
def test_who_shares_an_account_is_not_served(executor: Executor) -> None:
    """No two of agent, executor and shell may have one uid: that stops the start (I2, I6)."""
    settings = executor.directory / "executor.toml"
    good = settings.read_text()
    agent, shell = (
        f"[{part}]\nuser = {uid}\n"
        for part, uid in (("agent", executor.uids.agent), ("shell", executor.uids.shell))
    )
    assert agent in good
    assert shell in good
    for own, other in (
        (agent, executor.uids.shell),
        (agent, executor.uids.executor),
        (shell, executor.uids.executor),
    ):
        settings.write_text(good.replace(own, f"{own[:7]}\nuser = {other}\n"))
        said = executor.refusal()
        assert "need three accounts" in said
        assert said.count("\n") == 1
    settings.write_text(good)
    with executor:
        pass


async def test_a_chain_that_no_crash_leaves_is_not_gone_on_with(executor: Executor) -> None:
    """A record that was altered, or cut off with its line end, stops the start, in one line."""
    await _two_commands(executor)
    path = _last(executor)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for altered in (
        whole.replace(b'"exit":0', b'"exit":1', 1),
        b"".join(lines[:-1]),
        b"".join([*lines[:3], b"\n", *lines[3:]]),
    ):
        path.write_bytes(altered)
        said = executor.refusal()
        assert said.startswith("tibet-nc-executor: ")
        assert said.count("\n") == 1
    path.write_bytes(whole)
    with executor:
        await _command(executor)


@needs_root
async def test_a_file_of_somebody_else_is_named(executor: Executor) -> None:
    """What the executor may not open stops the start with its name and the reason."""
    await _two_commands(executor)
    for path in (_last(executor), executor.state / "lock"):
        owner = path.stat()
        os.chown(path, 0, 0)
        said = executor.refusal()
        assert said.endswith(f"the chain can't be opened: {path}: Permission denied\n")
        assert said.count("\n") == 1
        os.chown(path, owner.st_uid, owner.st_gid)


async def test_a_newer_version_s_record_stops_the_start_and_changes_nothing(
    executor: Executor,
) -> None:
    """Who goes back to a version that doesn't know a record is told so; the chain stays whole."""
    await _two_commands(executor)
    path = _last(executor)
    whole = path.read_bytes()
    newer = whole.splitlines(keepends=True)[-1].replace(b'"kind":"', b'"kind":"newer-')
    path.write_bytes(whole + newer)
    said = executor.refusal()
    number = whole.count(b"\n")
    assert f"record {number} of the chain is damaged, or one of a newer version: " in said
    assert said.count("\n") == 1
    assert path.read_bytes() == whole + newer
    path.write_bytes(whole)
    with executor:
        await _command(executor)


def test_a_place_that_is_taken_leaves_no_socket_open(tmp_path: Path) -> None:
    """What was opened to listen on is closed when something else is where it should be."""
    path = tmp_path / "executor.sock"
    path.write_text("no socket")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigError, match="something that is not a socket") as caught:
        listener(path, os.getegid())
    assert os.listdir("/proc/self/fd") == before, caught
    assert path.read_text() == "no socket"


def test_a_group_that_tells_commands_apart_is_not_given_to_all() -> None:
    """A number of `shell.groups` out of the runs' own stops the start, in one line (I6)."""
    first = first_group(choose_uids().shell, GID_MAP.read_text())
    assert first is not None
    last = first + RUN_GROUPS - 1
    for group in (first, last):
        with reachable_directory() as path:
            executor = Executor(path, shell=f"groups = [{last + 1}, {group}]")
            said = executor.refusal()
            looked = subprocess.run(
                [*executor.argv(), "doctor"], capture_output=True, text=True, check=False, cwd="/"
            )
        told = f"shell.groups: {group} is one of the groups {first} to {last} that tell commands"
        assert said.startswith(f"tibet-nc-executor: {told}")
        assert said.count("\n") == 1
        assert told in looked.stdout


async def test_another_s_place_is_not_taken(executor: Executor) -> None:
    """A file where the socket is to be, or who listens there, stays, and stops the start (I2)."""
    executor.socket.write_bytes(b"theirs")
    assert "something that is not a socket" in executor.refusal()
    assert executor.socket.read_bytes() == b"theirs"
    executor.socket.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(executor.socket))
        executor.socket.chmod(0o777)
        other.listen()
        assert "another process listens there" in executor.refusal()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(executor.socket))
    with executor:  # nobody listens any more
        await _command(executor)
        assert executor.socket.stat().st_mode & 0o777 == 0o660


@needs_root
async def test_a_read_only_disk_is_one_line(on_its_own_disk: Executor) -> None:
    """On a disk that is read-only nothing is served, which is said; writable, it goes on."""
    executor = on_its_own_disk
    await _two_commands(executor)
    remount(executor.state, "ro")
    said = executor.refusal()
    assert said.count("\n") == 1
    assert "Read-only file system" in said
    assert str(executor.state) in said
    remount(executor.state, "rw")
    with executor:
        await _command(executor)
    records(executor)


@needs_root
async def test_a_full_disk_is_one_line(on_its_own_disk: Executor) -> None:
    """On a disk without room for the reserve nothing is served; with room, it goes on."""
    executor = on_its_own_disk
    await _two_commands(executor)
    (executor.state / "reserve").unlink()
    filler = executor.state / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    said = executor.refusal()
    assert said.count("\n") == 1
    assert "No space left on device" in said
    filler.unlink()
    with executor:
        await _command(executor)
    records(executor)
