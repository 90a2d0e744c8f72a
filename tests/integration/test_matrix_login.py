# SPDX-License-Identifier: MIT
"""One login, one device, one store: made, restored, and recognised when something is wrong."""

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.integration.agent import Agent, invited_agent
from tests.integration.devices import claim_keys, devices
from tests.integration.test_end_to_end import until
from tibet_nc_agent.matrix import MatrixSettings
from tibet_nc_agent.matrix_errors import (
    NotLoggedIn,
    StoreDamaged,
    StoreInUse,
    StoreMismatch,
    TokenRevoked,
    Unreachable,
    WrongLogin,
)


@pytest.fixture
async def stopped(bot: Account, synapse: Synapse, tmp_path: Path) -> Agent:
    """Make an agent that has logged in once, and is not running."""
    settings = MatrixSettings(
        homeserver=synapse.url,
        user_id=bot.user_id,
        device_name="tibet-nc",
        rooms=("!none",),
        store=tmp_path / "store",
    )
    agent = Agent(settings, bot)
    await agent.open()
    await agent.stop()
    return agent


async def test_login_is_restored(synapse: Synapse, bot: Account, stopped: Agent) -> None:
    """A second start is the same device with the same keys, and needs no password."""
    stopped.password = None
    first = (await stopped.open()).ed25519
    await stopped.stop()
    again = await stopped.open()
    assert devices(synapse, bot) == {again.device_id}
    assert again.ed25519 == first
    await stopped.stop()


async def test_interrupted_login_makes_no_second_device(
    synapse: Synapse, bot: Account, stopped: Agent
) -> None:
    """A crash between the login and its saving leads to the same device again."""
    file = stopped.settings.store / "login.json"
    without_token = re.sub(r'"access_token":"[^"]*"', '"access_token":""', file.read_text())
    file.write_text(without_token)
    assert devices(synapse, bot) == {(await stopped.open()).device_id}
    await stopped.stop()


async def test_login_by_token(stopped: Agent, synapse: Synapse, bot: Account) -> None:
    """A given token is used, and its device found out."""
    fresh = synapse.login(bot.user_id, bot.password)
    stopped.settings = replace(stopped.settings, store=stopped.settings.store / "other")
    stopped.password, stopped.access_token = None, fresh.access_token
    assert (await stopped.open()).device_id == fresh.device_id
    await stopped.stop()


async def test_token_of_another_device_is_refused(
    stopped: Agent, synapse: Synapse, bot: Account
) -> None:
    """A token of another device than the store's is refused by name."""
    stopped.access_token = synapse.login(bot.user_id, bot.password).access_token
    with pytest.raises(WrongLogin, match="belongs to device"):
        await stopped.open()


async def test_token_of_another_user_is_refused(
    stopped: Agent, new_account: Callable[[str], Account]
) -> None:
    """A token of another user than the configured one is refused by name."""
    other = new_account("other")
    stopped.access_token = other.access_token
    with pytest.raises(WrongLogin, match=other.user_id):
        await stopped.open()


async def test_wrong_password_is_one_clear_line(stopped: Agent) -> None:
    """A wrong password is named, and not shown (I10)."""
    stopped.settings = replace(stopped.settings, store=stopped.settings.store / "other")
    stopped.password = "not-the-password"
    with pytest.raises(WrongLogin, match=r"the login of @bot-.* failed") as caught:
        await stopped.open()
    assert "not-the-password" not in str(caught.value)


async def test_without_login_or_password(stopped: Agent) -> None:
    """Without a saved login, token or password, the error says what to run."""
    stopped.settings = replace(stopped.settings, store=stopped.settings.store / "other")
    stopped.password = None
    with pytest.raises(NotLoggedIn, match="tibet-nc-agent login"):
        await stopped.open()


async def test_store_serves_one_agent(stopped: Agent) -> None:
    """A second agent on the store is refused while the first is open."""
    await stopped.open()
    second = Agent(stopped.settings, stopped.account)
    with pytest.raises(StoreInUse, match="another agent"):
        await second.open()
    await stopped.stop()


async def test_unreachable_homeserver(stopped: Agent) -> None:
    """A homeserver that isn't there is one line, at once, and the store is free again."""
    right = stopped.settings
    stopped.settings = replace(right, homeserver="http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 can't be reached"):
        await stopped.open()
    stopped.settings = right
    await stopped.open()
    await stopped.stop()


async def test_lost_store_is_noticed(stopped: Agent) -> None:
    """A store that vanished is not silently a new identity; the error says how to recover."""
    (stopped.settings.store / "olm.db").unlink()
    with pytest.raises(StoreMismatch, match="&& tibet-nc-agent login"):
        await stopped.open()


async def test_older_store_is_noticed(
    synapse: Synapse, stopped: Agent, new_account: Callable[[str], Account]
) -> None:
    """A store that was put back makes keys that it has given out before, and isn't gone on with."""
    store, stranger = stopped.settings.store, new_account("mallory")
    backup = shutil.copytree(store, store.with_name("backup"))
    device = (stopped.account.user_id, (await stopped.open()).device_id)
    given_out = claim_keys(synapse, stranger, *device)
    await stopped.listen()
    await until(lambda: claim_keys(synapse, stranger, *device, most=1) == 1)
    await stopped.stop()
    claim_keys(synapse, stranger, *device, most=given_out - 10)  # so few that more are asked for
    shutil.rmtree(store)
    shutil.copytree(backup, store)
    await stopped.listen()
    error = await stopped.ended()
    assert isinstance(error, StoreMismatch)
    assert "put back from a backup, or a snapshot" in str(error)
    assert "&& tibet-nc-agent login" in str(error)
    await stopped.stop()


async def test_foreign_store_is_noticed(
    stopped: Agent, new_account: Callable[[str], Account]
) -> None:
    """Another account's login in the store is refused."""
    other = new_account("other")
    foreign = Agent(replace(stopped.settings, user_id=other.user_id), other)
    with pytest.raises(WrongLogin, match="is a login of"):
        await foreign.open()


async def test_deleted_device_is_noticed(stopped: Agent, synapse: Synapse, bot: Account) -> None:
    """A device that was deleted and logged in again by somebody else is not ours any more."""
    matrix = await stopped.open()
    device_id = matrix.device_id
    await stopped.stop()
    synapse.delete_device(bot.user_id, device_id)
    with pytest.raises(TokenRevoked, match="run tibet-nc-agent login"):
        await stopped.open()


@pytest.mark.parametrize("name", ["olm.db", "replay.db", "login.json"])
async def test_damaged_file_is_noticed(stopped: Agent, name: str) -> None:
    """A file of the store that is garbage is named as damaged."""
    for leftover in stopped.settings.store.glob(f"{name}-*"):
        leftover.unlink()
    (stopped.settings.store / name).write_bytes(b"garbage " * 1000)
    with pytest.raises(StoreDamaged):
        await stopped.open()


async def test_wrong_pickle_key_is_noticed(stopped: Agent) -> None:
    """A store is not read with another pickle key, nor replaced."""
    right, stopped.pickle_key = stopped.pickle_key, bytes(32)
    with pytest.raises(StoreDamaged, match="pickle key"):
        await stopped.open()
    stopped.pickle_key = right
    await stopped.open()
    await stopped.stop()


async def test_files_are_private(
    synapse: Synapse, bot: Account, operator: Operator, tmp_path: Path
) -> None:
    """Nobody but the agent can read any file of the store."""
    agent = await invited_agent(synapse.url, bot, operator, tmp_path / "store")
    await agent.text(await operator.send_text(agent.room_id, "$ uptime"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in agent.settings.store.iterdir()}
    await agent.stop()
    assert {"login.json", "olm.db", "replay.db"} <= modes.keys()
    assert set(modes.values()) == {0o600}
    assert agent.settings.store.stat().st_mode & 0o777 == 0o700


async def test_revoked_token_ends_listening(agent: Agent, synapse: Synapse) -> None:
    """A token that is revoked while the agent listens ends it with a clear line."""
    synapse.delete_device(agent.account.user_id, agent.matrix.device_id)
    error = await agent.ended()
    assert isinstance(error, TokenRevoked)
    assert "run tibet-nc-agent login" in str(error)


async def test_logs_hold_no_secret(stopped: Agent, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at debug level does a token, a password or a key come into a log (I10)."""
    caplog.set_level(logging.DEBUG)
    token = re.search(
        r'"access_token":"([^"]*)"', (stopped.settings.store / "login.json").read_text()
    )
    assert token is not None
    await stopped.crash_after_a_batch()
    assert stopped.settings.user_id in caplog.text
    for secret in (token[1], stopped.account.password, stopped.pickle_key.hex()):
        assert secret not in caplog.text
