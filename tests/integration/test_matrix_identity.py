# SPDX-License-Identifier: MIT
"""Cross-signing on a real homeserver: the agent's own identity, and an operator's pinned one."""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vodozemac import Account

from tests.harness import Operator
from tests.harness.proxy import Proxy
from tests.integration.agent import Agent
from tibet_nc_agent.canonical import JsonObject, canonical
from tibet_nc_agent.crosssign import CrossSigning, Use
from tibet_nc_agent.identity import Identity, verify_identity
from tibet_nc_agent.matrix_errors import AuthenticationNeeded, IdentityError, Refused

type NewOperator = Callable[..., Awaitable[Operator]]


async def identity(agent: Agent, user_id: str, pinned: str | None = None) -> Identity:
    """Return an identity as the homeserver has it now."""
    return verify_identity(await agent.matrix.keys_of(user_id, fresh=True), user_id, pinned=pinned)


def new_keys(directory: Path) -> CrossSigning:
    """Make an identity."""
    return CrossSigning.open(directory / secrets.token_hex(4), bytes(32))


async def test_agent_is_cross_signed(agent: Agent, tmp_path: Path) -> None:
    """The account gets its identity without a password, and it vouches for the agent's device."""
    keys = new_keys(tmp_path)
    await agent.matrix.cross_sign(keys, password=None)
    own = await identity(agent, agent.account.user_id, keys.public_key(Use.MASTER))
    (device,) = own.devices
    assert device.device_id == agent.matrix.device_id
    assert device.cross_signed


async def test_cross_signing_again_changes_nothing(agent: Agent, tmp_path: Path) -> None:
    """A second bootstrap uploads nothing."""
    keys = new_keys(tmp_path)
    await agent.matrix.cross_sign(keys, password=None)
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        await agent.matrix.cross_sign(keys, password=None)
        assert [path for _, path in proxy.seen if path.endswith("/upload")] == []
        await agent.stop()


async def test_interrupted_cross_signing_is_resumed(agent: Agent, tmp_path: Path) -> None:
    """A bootstrap that broke off between its two uploads is finished by the next."""
    keys = new_keys(tmp_path)
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.refuse("/keys/signatures/upload", status=403)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await agent.matrix.cross_sign(keys, password=None)
        await agent.matrix.cross_sign(keys, password=None)
        own = await identity(agent, agent.account.user_id, keys.public_key(Use.MASTER))
        assert own.devices[0].cross_signed
        await agent.stop()


async def test_swapped_device_keys_are_not_signed(agent: Agent, tmp_path: Path) -> None:
    """Keys that the homeserver gives out as our device's are signed only if they are ours."""
    keys = new_keys(tmp_path)
    user_id, device_id = agent.account.user_id, agent.matrix.device_id
    rogue = Account()
    value: JsonObject = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            f"ed25519:{device_id}": rogue.ed25519_key.to_base64(),
            f"curve25519:{device_id}": rogue.curve25519_key.to_base64(),
        },
    }
    signature = rogue.sign(canonical(value)).to_base64()
    swapped = {**value, "signatures": {user_id: {f"ed25519:{device_id}": signature}}}

    def swap(body: dict[str, Any]) -> dict[str, Any]:
        body["device_keys"][user_id][device_id] = swapped
        return body

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        proxy.rewrite("/keys/query", swap)
        with pytest.raises(IdentityError, match="other keys as those of our device"):
            await agent.matrix.cross_sign(keys, password=None)
        await agent.stop()
        assert not [path for _, path in proxy.seen if path.endswith("/keys/signatures/upload")]


async def test_identity_is_never_replaced(agent: Agent, tmp_path: Path) -> None:
    """An account that has another identity keeps it, and the error says what to restore."""
    keys = new_keys(tmp_path)
    await agent.matrix.cross_sign(keys, password=None)
    with pytest.raises(IdentityError, match="restore"):
        await agent.matrix.cross_sign(new_keys(tmp_path), password=agent.account.password)
    await identity(agent, agent.account.user_id, keys.public_key(Use.MASTER))


async def test_password_is_used_when_it_is_asked_for(agent: Agent, tmp_path: Path) -> None:
    """Where the homeserver asks for the password, it is given; without one the error says so."""
    keys = new_keys(tmp_path)
    asked = {"flows": [{"stages": ["m.login.password"]}], "session": "x", "params": {}}
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.refuse("/keys/device_signing/upload", status=401, body=asked, times=2)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        with pytest.raises(AuthenticationNeeded, match="password"):
            await agent.matrix.cross_sign(keys, password=None)
        await agent.matrix.cross_sign(keys, password=agent.account.password)
        await identity(agent, agent.account.user_id, keys.public_key(Use.MASTER))
        await agent.stop()


async def test_new_login_keeps_the_identity(agent: Agent, tmp_path: Path) -> None:
    """After a lost store, a new device signed with the kept keys is the same agent."""
    keys = new_keys(tmp_path)
    await agent.matrix.cross_sign(keys, password=None)
    before = agent.matrix.device_id
    await agent.stop()
    agent.settings = replace(agent.settings, store=tmp_path / "new store")
    await agent.open()
    await agent.matrix.cross_sign(keys, password=None)
    own = await identity(agent, agent.account.user_id, keys.public_key(Use.MASTER))
    signed = {device.device_id: device.cross_signed for device in own.devices}
    assert signed == {before: True, agent.matrix.device_id: True}


async def test_pinned_operator_is_recognised(
    operator: Operator, agent: Agent, new_operator: NewOperator
) -> None:
    """Only a device that the pinned identity vouches for is the operator's (I5)."""
    first = await agent.text(await operator.send_text(agent.room_id, "$ 1"))
    device = await agent.matrix.device_of(first)
    assert (device.device_id, device.cross_signed) == (operator.device_id, True)

    second = await new_operator(operator, signed=False)
    await second.wait_member(agent.room_id, agent.account.user_id)
    unsigned = await agent.text(await second.send_text(agent.room_id, "$ 2"))
    with pytest.raises(IdentityError, match="not signed by"):
        await agent.matrix.device_of(unsigned)
    await second.sign_device()
    device = await agent.matrix.device_of(unsigned)
    assert (device.device_id, device.cross_signed) == (second.device_id, True)


async def test_changed_identity_is_refused(operator: Operator, agent: Agent) -> None:
    """After an operator's identity was reset, nothing of it counts (I5)."""
    await agent.matrix.device_of(await agent.text(await operator.send_text(agent.room_id, "$ 1")))
    await operator.reset_identity()
    message = await agent.text(await operator.send_text(agent.room_id, "$ 2"))
    with pytest.raises(IdentityError, match="has changed"):
        await agent.matrix.device_of(message)


async def test_who_is_not_pinned_has_no_device(operator: Operator, agent: Agent) -> None:
    """A signed device of a user whom nobody pinned is as good as none (I5)."""
    message = await agent.text(await operator.send_text(agent.room_id, "$ 1"))
    agent.pin()
    with pytest.raises(IdentityError, match="is not pinned"):
        await agent.matrix.device_of(message)


async def test_message_from_before_a_restart_is_of_its_device(
    agent: Agent, operator: Operator
) -> None:
    """A message that waited over a restart is judged before the rooms are known again (I4)."""
    message = await agent.text(await operator.send_text(agent.room_id, "$ 1"))
    await agent.stop()
    await agent.open()
    assert agent.matrix.members(agent.room_id) == frozenset()
    assert (await agent.matrix.device_of(message)).device_id == operator.device_id


async def test_plain_text_is_of_no_device(agent: Agent, operator: Operator) -> None:
    """A message in plain text has no device, whoever it says it is from (I5)."""
    content = {"msgtype": "m.text", "body": "$ uptime"}
    message = await agent.text(await operator.send_unencrypted(agent.room_id, content))
    with pytest.raises(IdentityError, match="plain text"):
        await agent.matrix.device_of(message)
