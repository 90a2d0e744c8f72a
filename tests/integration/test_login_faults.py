# SPDX-License-Identifier: MIT
"""``tibet-nc-agent login``: killed at every step, its token revoked, its store lost.

Every request is a step. It is killed when the homeserver hasn't heard it yet, and when it has and
the program doesn't know.
"""

import asyncio
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.harness import Account, Synapse
from tests.harness.proxy import Proxy
from tests.integration.agent_program import AgentProgram
from tests.integration.devices import devices, signed_devices
from tests.redirected import FULL, redirected
from tibet_nc_agent.statefile import DirectoryLock


@pytest.fixture
def program(tmp_path: Path, bot: Account, synapse: Synapse) -> AgentProgram:
    """Write the settings of an agent that has never logged in."""
    return AgentProgram(tmp_path, bot, synapse.url)


async def killed_when(program: AgentProgram, reached: asyncio.Event, *arguments: str) -> bool:
    """Run a verb, and kill it when something is ``reached``; return False if it ended before."""
    process = await program.begin(*arguments)
    ended = asyncio.create_task(process.communicate())
    waiting = asyncio.create_task(reached.wait())
    async with asyncio.timeout(60):
        await asyncio.wait([ended, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if ended.done():
        return False
    process.kill()
    await ended
    return True


@pytest.mark.parametrize("heard", [False, True])
async def test_login_killed_at_every_step_is_one_device(
    synapse: Synapse, new_account: Callable[[str], Account], tmp_path: Path, heard: bool
) -> None:
    """Killed at any of its requests, the next login ends as one device, signed by one identity."""
    async with Proxy(synapse.url) as proxy:
        steps = 0
        while True:
            bot = new_account("bot")
            directory = tmp_path / str(steps)
            directory.mkdir()
            program = AgentProgram(directory, bot, proxy.url)
            if not await killed_when(program, proxy.hang(steps + 1, heard=heard), "login"):
                break
            steps += 1
            done = await program.run("login")
            assert done.status == 0, done.err
            device = done.shown("device")
            assert devices(synapse, bot) == {device}, proxy.seen
            assert signed_devices(synapse, bot, done.shown("cross-signing")) == {device}
    assert steps >= 7  # login, own keys, upload, identity twice, and the two signatures


async def test_login_again_changes_nothing(
    synapse: Synapse, bot: Account, program: AgentProgram
) -> None:
    """A second login is the first one: same device, same keys, the same fingerprints shown."""
    first = await program.run("login")
    again = await program.run("login")
    assert (again.status, again.out) == (0, first.out)
    assert devices(synapse, bot) == {first.shown("device")}


async def test_login_that_nobody_is_told_of(
    synapse: Synapse, bot: Account, program: AgentProgram
) -> None:
    """A login whose fingerprints can't be shown says so, and the next one shows the same device."""
    where, why = FULL
    done = await asyncio.to_thread(redirected, where, program.command("login"))
    assert done.returncode == 2
    assert done.stderr.endswith(f"tibet-nc-agent: standard output: {why}\n")
    again = await program.run("login")
    assert again.status == 0
    assert devices(synapse, bot) == {again.shown("device")}


async def test_invalid_token_is_renewed_for_the_same_device(
    synapse: Synapse, bot: Account, program: AgentProgram
) -> None:
    """A login whose token ended is renewed by password, by ``login`` alone, as the same device."""
    first = await program.run("login")
    login = program.store / "login.json"
    login.write_text(
        re.sub(r'"access_token":"[^"]*"', '"access_token":"syt_ended"', login.read_text())
    )
    refused = await program.run("run")
    assert refused.status == 1
    assert refused.told.endswith("run tibet-nc-agent login")
    again = await program.run("login")
    assert (again.status, again.out) == (0, first.out)
    assert devices(synapse, bot) == {first.shown("device")}


async def test_without_password_an_invalid_token_is_told(program: AgentProgram) -> None:
    """Where nothing can be renewed, one line says what to do, and the store stays as it is."""
    await program.run("login")
    login = program.store / "login.json"
    spoiled = re.sub(r'"access_token":"[^"]*"', '"access_token":"syt_ended"', login.read_text())
    login.write_text(spoiled)
    program.password.unlink()
    program.use(program.homeserver, by_password=False)
    done = await program.run("login")
    assert done.status == 1
    assert "does not accept the access token" in done.told
    assert login.read_text() == spoiled


def removed(store: Path) -> None:
    """Lose the keys."""
    (store / "olm.db").unlink()


def emptied(store: Path) -> None:
    """Leave an empty file, as a full disk may."""
    (store / "olm.db").write_bytes(b"")


def without_account(store: Path) -> None:
    """Take the account out of a store that is sound otherwise."""
    with closing(sqlite3.connect(store / "olm.db", autocommit=True)) as database:
        assert database.execute("delete from accounts").rowcount == 1


def garbage(store: Path) -> None:
    """Overwrite the middle of the file."""
    data = bytearray((store / "olm.db").read_bytes())
    data[100:] = b"garbage " * (len(data) // 8)
    (store / "olm.db").write_bytes(data)


def half_a_login(store: Path) -> None:
    """Cut the login's file."""
    (store / "login.json").write_text((store / "login.json").read_text()[:20])


@pytest.mark.parametrize("damage", [removed, emptied, without_account, garbage, half_a_login])
async def test_damaged_store_is_told_and_recovered_from(
    synapse: Synapse, bot: Account, program: AgentProgram, damage: Callable[[Path], None]
) -> None:
    """It is noticed, and what the one line says makes a new device of the same identity."""
    first = await program.run("login")
    damage(program.store)
    noticed = await program.run("run")
    assert noticed.status == 1
    lost = program.store.with_name("matrix.lost")
    assert f"mv {program.store} {lost} && tibet-nc-agent login" in noticed.told
    program.store.rename(lost)
    again = await program.run("login")
    assert again.status == 0, again.err
    master = again.shown("cross-signing")
    assert master == first.shown("cross-signing")
    assert signed_devices(synapse, bot, master) == {first.shown("device"), again.shown("device")}


@pytest.mark.parametrize("verb", ["run", "login"])
async def test_lost_pickle_key_is_told_and_recovered_from(
    synapse: Synapse, bot: Account, program: AgentProgram, verb: str
) -> None:
    """It opens the kept identity, too, so another is made, as the page says that is named."""
    await program.run("login")
    (program.state / "pickle.key").unlink()
    noticed = await program.run(verb)
    assert noticed.status == 1
    page = 'docs/operations.md, "When the agent\'s keys are lost"'
    assert noticed.told.endswith(f"restore both from the same backup, or see {page}")
    looked = await program.run("doctor", "--json")
    (device,) = (check for check in json.loads(looked.out) if check["name"] == "device")
    assert (page in device["detail"], device["fix"]) == (True, "see there")
    for name in ("cross-signing.json", "matrix"):
        (program.state / name).rename(program.state / f"{name}.lost")
    again = await program.run("login", "--reset-identity", "--yes")
    assert again.status == 0, again.err
    vouched = signed_devices(synapse, bot, again.shown("cross-signing"))
    assert vouched == {again.shown("device")}


async def test_foreign_store_is_told(
    program: AgentProgram,
    tmp_path: Path,
    new_account: Callable[[str], Account],
    synapse: Synapse,
) -> None:
    """The keys of another account, in the place of ours, are noticed."""
    await program.run("login")
    other = tmp_path / "other"
    other.mkdir()
    foreign = AgentProgram(other, new_account("bot"), synapse.url)
    foreign.state.mkdir(mode=0o700)
    shutil.copy(program.state / "pickle.key", foreign.state / "pickle.key")
    await foreign.run("login")
    shutil.copy(foreign.store / "olm.db", program.store / "olm.db")
    noticed = await program.run("run")
    assert noticed.status == 1
    assert "which was lost or replaced" in noticed.told


async def test_deleted_device_is_told_and_recovered_from(
    synapse: Synapse, bot: Account, program: AgentProgram
) -> None:
    """A device that somebody deleted is not silently made anew; the one line says how to go on."""
    first = await program.run("login")
    synapse.delete_device(bot.user_id, first.shown("device"))
    noticed = await program.run("login")
    assert noticed.status == 1
    assert "&& tibet-nc-agent login" in noticed.told
    program.store.rename(program.store.with_name("matrix.lost"))
    again = await program.run("login")
    assert again.shown("device") in signed_devices(synapse, bot, first.shown("cross-signing"))


async def test_foreign_identity_fails_the_login(program: AgentProgram) -> None:
    """No fingerprint is shown for an identity that the account doesn't have."""
    await program.run("login")
    (program.state / "cross-signing.json").unlink()
    done = await program.run("login")
    assert (done.status, done.out) == (1, "")
    assert "another cross-signing identity" in done.err


async def test_damaged_inbox_is_told(program: AgentProgram) -> None:
    """An inbox that can't be read ends the agent with one line that says how to go on."""
    await program.run("login")
    inbox = program.state / "inbox.sqlite"
    inbox.write_bytes(b"garbage " * 1000)
    inbox.chmod(0o600)
    noticed = await program.run("run")
    assert noticed.status == 1
    assert str(inbox) in noticed.told
    assert "move it away" in noticed.told


async def test_second_agent_on_a_store_is_told(program: AgentProgram) -> None:
    """While one agent has the store, another ends at once, with one line."""
    await program.run("login")
    lock = DirectoryLock(program.store)
    try:
        second = await program.run("run")
    finally:
        lock.release()
    assert second.status == 1
    assert "another agent is using" in second.told
    assert "systemctl stop tibet-nc-agent" in second.told


async def test_nothing_to_log_in_with(program: AgentProgram) -> None:
    """Without password and terminal that is said, and the doctor names the login, no backup."""
    program.use(program.homeserver, by_password=False)
    done = await program.run("login")
    assert (done.status, "matrix.password_file must name" in done.told) == (1, True)
    looked = await program.run("doctor", "--json")
    fixes = {check["name"]: check["fix"] for check in json.loads(looked.out) if not check["ok"]}
    assert (fixes["store"], fixes["login"]) == ("tibet-nc-agent login", "tibet-nc-agent login")


async def test_what_is_written_is_for_nobody_else_whatever_the_umask(
    program: AgentProgram, synapse: Synapse
) -> None:
    """I6, I10: a file that is made without a word on its mode is the agent's alone."""
    async with Proxy(synapse.url) as proxy:
        program.use(proxy.url)
        reached = proxy.hang(1, heard=False)
        process = await asyncio.create_subprocess_exec(*program.command("login"), umask=0)
        try:
            async with asyncio.timeout(60):
                await reached.wait()
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.kill()
            await process.wait()
    assert "\nUmask:\t0077\n" in status
