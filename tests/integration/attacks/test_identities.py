# SPDX-License-Identifier: MIT
"""Devices and identities that a homeserver adds, replaces or withholds (I5)."""

import asyncio

from tests.harness import Account, Operator, Synapse
from tests.integration.attacks.attack import Attack, Body, NewOperator, needs_root
from tibet_nc_agent.crosssign import CrossSigning, Use

pytestmark = needs_root


async def everything_is_seen(attack: Attack, rogue: Operator) -> None:
    """End the attack, and wait until a device has what the agent has said since it began."""
    attack.proxy.pass_all()
    attack.host.pin({attack.operator.user_id: attack.operator.master_key})
    answer = await attack.answer_to(await attack.runs("$ echo later", "later\n"))
    await rogue.wait(lambda seen: seen.event_id == answer.event_id)


async def test_rogue_device_in_the_operators_account(
    attack: Attack, new_operator: NewOperator, bot: Account
) -> None:
    """A device that the homeserver adds and vouches for itself commands nothing and reads nothing.

    It swaps the self-signing key for one of its own making, which has signed the device.
    """
    rogue = await new_operator(attack.operator, signed=False)
    await rogue.wait_member(attack.room, bot.user_id)
    forged = CrossSigning.open(attack.host.directory / "forged.json", bytes(32))
    user = attack.operator.user_id

    def vouch(body: Body) -> Body:
        if user in body.get("device_keys", {}):
            devices = body["device_keys"][user]
            for device_id, device in devices.items():
                devices[device_id] = forged.sign(Use.SELF_SIGNING, user, device)
            body["self_signing_keys"][user] = forged.key_objects(user)[Use.SELF_SIGNING]
        return body

    attack.proxy.rewrite("/keys/query", vouch)
    sent = await rogue.send_text(attack.room, "$ id")
    record = await attack.refusal(sent)
    assert record.family == "identity"
    assert "no signature by" in record.detail
    assert sent not in attack.ran()
    await everything_is_seen(attack, rogue)
    assert not [seen.body for seen in rogue.events if seen.decrypted and seen.sender != user]


async def test_operators_identity_replaced(
    attack: Attack, new_operator: NewOperator, bot: Account
) -> None:
    """Another master key than the pinned one, with all that belongs to it, stops the operator.

    What the identity shows as its devices reads that it is paused, and nothing else.
    """
    rogue = await new_operator(attack.operator, signed=False)
    await rogue.wait_member(attack.room, bot.user_id)
    # What is told of a new device has to be said before: it is meant for who has it, too.
    await attack.operator.wait(lambda seen: "has not signed: " in seen.body)
    forged = CrossSigning.open(attack.host.directory / "forged.json", bytes(32))
    user = attack.operator.user_id

    def replace(body: Body) -> Body:
        if user in body.get("device_keys", {}):
            keys, devices = forged.key_objects(user), body["device_keys"][user]
            for device_id, device in devices.items():
                devices[device_id] = forged.sign(Use.SELF_SIGNING, user, device)
            body["master_keys"][user] = keys[Use.MASTER]
            body["self_signing_keys"][user] = keys[Use.SELF_SIGNING]
        return body

    attack.proxy.rewrite("/keys/query", replace)
    sent = await rogue.send_text(attack.room, "$ id")
    record = await attack.refusal(sent)
    assert record.family == "identity"
    assert "has changed" in record.detail
    assert sent not in attack.ran()
    await everything_is_seen(attack, rogue)
    read = [seen.body for seen in rogue.events if seen.decrypted and seen.sender != user]
    assert not [body for body in read if "paused" not in body]


async def test_operators_keys_withheld(attack: Attack) -> None:
    """While the homeserver says that an operator has no identity, nothing of theirs runs."""
    user = attack.operator.user_id

    def withhold(body: Body) -> Body:
        for part in ("master_keys", "self_signing_keys", "device_keys"):
            body.get(part, {}).pop(user, None)
        return body

    await asyncio.to_thread(attack.host.agent.stop)
    attack.proxy.rewrite("/keys/query", withhold)
    await asyncio.to_thread(attack.host.start_agent)
    sent = await attack.command("$ id")
    record = await attack.refusal(sent)
    assert record.family == "device"
    assert "no usable master key" in record.detail
    assert sent not in attack.ran()
    attack.proxy.pass_all()
    answer = await attack.answer_to(sent)
    assert answer.result["verdict"] == "refused"


async def test_second_device_of_the_agents_account_reads_nothing(
    attack: Attack, synapse: Synapse, bot: Account
) -> None:
    """A device that somebody adds to the agent's own account gets no keys of what it says."""
    second = await Operator.login(synapse.url, bot.user_id, bot.password, signed=False)
    try:
        await second.wait_member(attack.room, attack.operator.user_id)
        sent = await attack.runs("$ echo secret", "secret\n")
        answer = await attack.answer_to(sent)
        assert (await second.wait(lambda each: each.event_id == sent)).decrypted  # the operator's
        assert not (await second.wait(lambda each: each.event_id == answer.event_id)).decrypted
    finally:
        await second.close()
