# SPDX-License-Identifier: MIT
"""Cross-signing on a real homeserver: the agent's own identity, and an operator's pinned one."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from vodozemac import Account

from tests.harness import Operator
from tests.harness.proxy import Proxy
from tests.integration.agent import Agent
from tibet_nc_agent import keyring
from tibet_nc_agent.canonical import JsonObject, canonical
from tibet_nc_agent.crosssign import CrossSigning, Use
from tibet_nc_agent.event import Batch, TextMessage
from tibet_nc_agent.fingerprint import spaced
from tibet_nc_agent.identity import Device, Identity, verify_identity
from tibet_nc_agent.matrix_errors import (
    AuthenticationNeeded,
    IdentityError,
    OtherIdentity,
    Refused,
)

type NewOperator = Callable[..., Awaitable[Operator]]


async def identity(agent: Agent, user_id: str, pinned: str | None = None) -> Identity:
    """Return an identity as the homeserver has it now."""
    return verify_identity(await agent.matrix.keys_of(user_id), user_id, pinned=pinned)


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


async def test_one_swapped_device_key_is_not_signed(agent: Agent, tmp_path: Path) -> None:
    """Another Olm key beside our own signing key, which has not signed it, is not signed either."""
    keys = new_keys(tmp_path)
    user_id, device_id = agent.account.user_id, agent.matrix.device_id

    def swap(body: dict[str, Any]) -> dict[str, Any]:
        olm_keys = body["device_keys"][user_id][device_id]["keys"]
        olm_keys[f"curve25519:{device_id}"] = Account().curve25519_key.to_base64()
        return body

    async with watched(agent) as proxy:
        proxy.rewrite("/keys/query", swap)
        with pytest.raises(IdentityError, match="has no keys of our device"):
            await agent.matrix.cross_sign(keys, password=None)
        assert not [path for _, path in proxy.seen if path.endswith("/keys/signatures/upload")]


async def test_a_device_that_is_withheld_is_not_signed(agent: Agent, tmp_path: Path) -> None:
    """Where the homeserver shows no keys of our device, or damaged ones, that is said."""
    keys = new_keys(tmp_path)
    user_id, device_id = agent.account.user_id, agent.matrix.device_id
    shown: JsonObject = {}

    def withhold(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "device_keys": {user_id: shown}}

    async with watched(agent) as proxy:
        proxy.rewrite("/keys/query", withhold)
        for _ in range(2):
            with pytest.raises(IdentityError, match="has no keys of our device"):
                await agent.matrix.cross_sign(keys, password=None)
            shown[device_id] = {}
        assert not [path for _, path in proxy.seen if path.endswith("/signatures/upload")]


async def test_a_signature_that_is_refused_is_told(agent: Agent, tmp_path: Path) -> None:
    """A signature that the homeserver names among its failures was not taken, and that is said."""
    keys = new_keys(tmp_path)
    async with watched(agent) as proxy:
        proxy.rewrite("/keys/signatures/upload", lambda body: {**body, "failures": {"x": {}}})
        with pytest.raises(Refused, match="refuses our signature"):
            await agent.matrix.cross_sign(keys, password=None)


async def test_identity_is_not_replaced(agent: Agent, tmp_path: Path) -> None:
    """An account that has another identity keeps it, and the error names both and the command."""
    theirs, ours = new_keys(tmp_path), new_keys(tmp_path)
    await agent.matrix.cross_sign(theirs, password=None)
    with pytest.raises(OtherIdentity, match="tibet-nc-agent login --reset-identity") as caught:
        await agent.matrix.cross_sign(ours, password=agent.account.password)
    for keys in (theirs, ours):
        assert spaced(keys.public_key(Use.MASTER)) in str(caught.value)
    await identity(agent, agent.account.user_id, theirs.public_key(Use.MASTER))


@asynccontextmanager
async def watched(agent: Agent) -> AsyncGenerator[Proxy]:
    """Have the agent reach its homeserver through a proxy, for the length of a block."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        yield proxy
        await agent.stop()


def uploads(proxy: Proxy) -> int:
    """Return how often an identity was uploaded, or tried to."""
    return len([path for _, path in proxy.seen if path.endswith("/keys/device_signing/upload")])


async def test_identity_that_a_person_gave_up_is_replaced(agent: Agent, tmp_path: Path) -> None:
    """The identity that is named is replaced, by password, and the new one signs the device."""
    theirs, ours = new_keys(tmp_path), new_keys(tmp_path)
    user_id, password = agent.account.user_id, agent.account.password
    given_up = theirs.public_key(Use.MASTER)
    await agent.matrix.cross_sign(theirs, password=None)
    await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
    own = await identity(agent, user_id, ours.public_key(Use.MASTER))
    assert [device.cross_signed for device in own.devices] == [True]
    async with watched(agent) as proxy:
        await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
        assert uploads(proxy) == 0


async def test_no_other_identity_is_replaced(agent: Agent, tmp_path: Path) -> None:
    """One that came after the question, or that is the agent's already, is not uploaded over."""
    theirs, ours = new_keys(tmp_path), new_keys(tmp_path)
    await agent.matrix.cross_sign(theirs, password=None)
    password = agent.account.password
    async with watched(agent) as proxy:
        another = new_keys(tmp_path).public_key(Use.MASTER)
        with pytest.raises(OtherIdentity):
            await agent.matrix.cross_sign(ours, password=password, replacing=another)
        own = theirs.public_key(Use.MASTER)
        await agent.matrix.cross_sign(theirs, password=password, replacing=own)
        assert uploads(proxy) == 0


def shown_as(user_id: str, key: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Have the homeserver show something as a user's master key."""
    value = {"user_id": user_id, "usage": ["master"], "keys": {f"ed25519:{key}": key}}

    def change(body: dict[str, Any]) -> dict[str, Any]:
        body["master_keys"] = {user_id: value}
        return body

    return change


@pytest.mark.parametrize(
    "key",
    [Account().ed25519_key.to_base64(), "no key", "", 7],
    ids=["a key", "text", "nothing", "7"],
)
async def test_the_homeserver_resets_nothing(agent: Agent, tmp_path: Path, key: object) -> None:
    """Whatever the homeserver shows, the agent by itself uploads no identity over another."""
    ours = new_keys(tmp_path)
    await agent.matrix.cross_sign(ours, password=None)
    async with watched(agent) as proxy:
        proxy.rewrite("/keys/query", shown_as(agent.account.user_id, key))
        with pytest.raises(IdentityError):
            await agent.matrix.cross_sign(ours, password=agent.account.password)
        assert uploads(proxy) == 0


async def test_wrong_password_replaces_nothing(agent: Agent, tmp_path: Path) -> None:
    """A wrong password is called that, none is asked for, and the account is as before."""
    theirs, ours = new_keys(tmp_path), new_keys(tmp_path)
    await agent.matrix.cross_sign(theirs, password=None)
    given_up = theirs.public_key(Use.MASTER)
    for password, said in (("wrong", "does not accept the password"), (None, "password_file")):
        with pytest.raises(AuthenticationNeeded, match=said):
            await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
    await identity(agent, agent.account.user_id, given_up)


OAUTH: Final[dict[str, Any]] = {
    "session": "dummy",
    "flows": [{"stages": ["m.oauth"]}, {"stages": ["org.matrix.cross_signing_reset"]}],
    "params": {
        name: {"url": "https://account.example.org/?action=org.matrix.cross_signing_reset"}
        for name in ("m.oauth", "org.matrix.cross_signing_reset")
    },
}
"""What Synapse answers where another server keeps the accounts."""


async def test_approval_elsewhere(agent: Agent, tmp_path: Path) -> None:
    """Where no password is taken the page to approve at is named, and after that it works."""
    theirs, ours = new_keys(tmp_path), new_keys(tmp_path)
    await agent.matrix.cross_sign(theirs, password=None)
    given_up, password = theirs.public_key(Use.MASTER), agent.account.password
    async with watched(agent) as proxy:
        part = "/keys/device_signing/upload"
        sso: dict[str, Any] = {"session": "x", "flows": [{"stages": ["m.login.sso"]}]}
        for answer, said in (
            (OAUTH, "https://account.example.org/"),
            (sso, "takes no password for this, but asks for m.login.sso"),
        ):
            proxy.refuse(part, status=401, body=answer)
            with pytest.raises(AuthenticationNeeded, match=said):
                await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
        assert uploads(proxy) == 2  # and none of them with a password
        await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
        await identity(agent, agent.account.user_id, ours.public_key(Use.MASTER))


async def test_refused_upload_replaces_nothing(agent: Agent, tmp_path: Path) -> None:
    """A refusal of the homeserver's is told as it is, and can be repeated when it is mended."""
    theirs, ours = new_keys(tmp_path), new_keys(tmp_path)
    await agent.matrix.cross_sign(theirs, password=None)
    given_up, password = theirs.public_key(Use.MASTER), agent.account.password
    async with watched(agent) as proxy:
        proxy.refuse("/keys/device_signing/upload", status=403)
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
        await identity(agent, agent.account.user_id, given_up)
        await agent.matrix.cross_sign(ours, password=password, replacing=given_up)
        await identity(agent, agent.account.user_id, ours.public_key(Use.MASTER))


async def test_password_is_used_when_it_is_asked_for(agent: Agent, tmp_path: Path) -> None:
    """Where the homeserver asks for the password, it is given; without one the error says so."""
    keys = new_keys(tmp_path)
    asked: dict[str, Any] = {
        "flows": [{"stages": ["m.login.password"]}],
        "session": "x",
        "params": {},
    }
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


@pytest.mark.parametrize("told", [True, False])
async def test_a_device_that_was_signed_out_commands_no_more(
    operator: Operator, agent: Agent, monkeypatch: pytest.MonkeyPatch, *, told: bool
) -> None:
    """What was known of devices is asked anew when it is said to have changed, or is old (I5).

    The command comes with the very news of the change, or there is no such news.
    """
    if not told:
        monkeypatch.setattr(keyring, "FRESH_SECONDS", 0.0)

    def tell(body: dict[str, Any]) -> dict[str, Any]:
        joined = body.get("rooms", {}).get("join", {})
        said = told and joined.get(agent.room_id, {}).get("timeline", {}).get("events")
        return {**body, "device_lists": {"changed": [operator.user_id] if said else []}}

    def sign_out(body: dict[str, Any]) -> dict[str, Any]:
        body.get("device_keys", {}).get(operator.user_id, {}).clear()
        return body

    async def judged(batches: AsyncGenerator[Batch], event_id: str) -> Device:
        """Judge a message as soon as its batch is there."""
        async for batch in batches:
            for event in batch.events:
                if isinstance(event, TextMessage) and event.event_id == event_id:
                    return await agent.matrix.device_of(event)
        raise AssertionError(event_id)

    async with watched(agent) as proxy:
        proxy.rewrite("/sync", tell)
        batches = agent.matrix.batches(agent.token)
        sent = await operator.send_text(agent.room_id, "$ 1")
        assert (await judged(batches, sent)).device_id == operator.device_id
        proxy.rewrite("/keys/query", sign_out)
        sent = await operator.send_text(agent.room_id, "$ 2")
        with pytest.raises(IdentityError, match="no device of"):
            await judged(batches, sent)
        await batches.aclose()
