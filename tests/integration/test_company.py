# SPDX-License-Identifier: MIT
"""Who comes into the room, and what is said there in plain text: told once, recorded, harmless."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.integration.hosts import started
from tibet_nc_protocol.records import Intent

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

type NewOperator = Callable[..., Awaitable[Operator]]


@pytest.fixture
async def host(
    synapse: Synapse, bot: Account, operator: Operator, rooms: list[str], directory: Path
) -> AsyncIterator[Host]:
    """Start a host whose bot is in both rooms."""
    async with started(synapse.url, bot, operator, rooms, directory) as made:
        yield made


async def test_nothing_runs_and_nothing_is_said_in_company(
    host: Host, operator: Operator, new_operator: NewOperator, rooms: list[str]
) -> None:
    """While a stranger is in the room nothing runs there; the answer comes when he is gone."""
    room, other = rooms
    mallory = await new_operator()
    await operator.invite(room, mallory.user_id)
    await asyncio.to_thread(host.wait_log, f"{mallory.user_id} is no operator")
    sent = await operator.send_text(room, "$ echo seen by strangers")
    # Elsewhere everything goes on.
    answer = await operator.answer_to(await operator.send_text(other, "$ echo elsewhere"))
    assert answer.body.startswith("elsewhere\n")
    assert operator.answers_to(sent) == []
    await operator.kick(room, mallory.user_id)
    answer = await operator.answer_to(sent)
    assert answer.result["family"] == "company"
    assert mallory.user_id in answer.body
    assert [record.sender for record in host.alerts("stranger")] == [mallory.user_id]
    assert len([record for record in host.records() if isinstance(record, Intent)]) == 1


async def test_an_answer_that_waits_outlives_the_agent(
    host: Host, operator: Operator, new_operator: NewOperator, rooms: list[str]
) -> None:
    """What ran and could not be told before a kill -9 is told by the next agent, once (I3, I4)."""
    room, _ = rooms
    mallory = await new_operator()
    sent = await operator.send_text(room, "$ sleep 2; echo done")
    await asyncio.to_thread(host.wait_log, f"{sent}: passed")
    await operator.invite(room, mallory.user_id)
    await asyncio.to_thread(host.wait_log, f"an answer in {room} waits")
    await asyncio.to_thread(host.agent.kill)
    await operator.kick(room, mallory.user_id)
    await asyncio.to_thread(host.start_agent)
    assert (await operator.answer_to(sent, 40)).body.startswith("done\n")
    await operator.answer_to(await operator.send_text(room, "$ true"))
    assert len(operator.answers_to(sent)) == 1
    ran = [record.event for record in host.records() if isinstance(record, Intent)]
    assert ran.count(sent) == 1


async def test_a_new_member_is_told_once(
    host: Host, operator: Operator, new_operator: NewOperator, rooms: list[str]
) -> None:
    """An operator who joins is told to those who are there, with what he may, and recorded."""
    colleague = await new_operator()
    host.pin({each.user_id: each.master_key for each in (operator, colleague)})
    await operator.invite(rooms[0], colleague.user_id)
    await colleague.join(rooms[0])
    notice = await operator.wait(lambda seen: f"{colleague.user_id} is here now" in seen.body)
    assert "may command" in notice.body
    await operator.answer_to(await operator.send_text(rooms[0], "$ true"))
    assert len([seen for seen in operator.events if "is here now" in seen.body]) == 1
    assert [record.sender for record in host.alerts("member")] == [colleague.user_id]


async def test_plain_text_is_told_once(host: Host, operator: Operator, rooms: list[str]) -> None:
    """What is said in plain text in an encrypted room is told there once, and recorded (I5)."""
    shared = rooms[1]
    for text in ("hello", "again", "$ reboot"):
        sent = await operator.send_unencrypted(shared, {"msgtype": "m.text", "body": text})
    answer = await operator.answer_to(sent)
    assert answer.result["family"] == "plaintext"
    notices = [seen for seen in operator.events if "was not encrypted: the homeserver" in seen.body]
    assert len(notices) == 1
    (record,) = host.alerts("plaintext")
    assert record.sender == operator.user_id
