# SPDX-License-Identifier: MIT
"""What operators do with a room: remove the agent, invite it again, mute it, upgrade the room."""

import asyncio
import os

import pytest

from tests.harness import Account, Operator
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

TOLD = "the agent is no longer in this room"


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed", "at-once"])
async def test_who_was_removed_comes_back_when_invited(
    host: Host, bot: Account, operator: Operator, room: str, *, noticed: bool
) -> None:
    """It joins again, answers again, and its absence is on record, however short it was."""
    await operator.answer_to(await operator.send_text(room, "$ echo before"))
    await operator.kick(room, bot.user_id)
    if noticed:
        await asyncio.to_thread(host.wait_log, TOLD)
    await operator.invite(room, bot.user_id)
    await operator.wait_member(room, bot.user_id)
    answer = await operator.answer_to(await operator.send_text(room, "$ echo after"))
    assert answer.body.startswith("after\n")
    assert [record.room for record in host.alerts("left")] == [room]


async def failure(host: Host, room: str) -> str:
    """Return the doctor's one complaint, which must be of this room."""
    done = await asyncio.to_thread(host.admin, "agent", "doctor")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 1
    assert line.startswith(f"FAIL  room {room}: ")
    return line


async def test_agent_that_may_not_send_is_found_and_answers_later(
    host: Host, bot: Account, operator: Operator, room: str
) -> None:
    """The doctor names the power level that answers need; what waited is told once it may be."""
    await operator.set_state(room, "m.room.power_levels", {"events_default": 10})
    sent = await operator.send_text(room, "$ echo heard")
    await asyncio.to_thread(host.wait_log, f"an answer in {room} waits: ")
    assert "the agent's power level is 0, 10 is needed; fix: give" in await failure(host, room)
    levels = {"events_default": 10, "users": {bot.user_id: 10}}
    await operator.set_state(room, "m.room.power_levels", levels)
    assert (await operator.answer_to(sent, 60)).body.startswith("heard\n")
    assert len(operator.answers_to(sent)) == 1


async def test_upgraded_room_names_its_successor(
    host: Host, bot: Account, operator: Operator, room: str
) -> None:
    """The journal, the chain and the doctor name the room to set; an invitation alone sets none."""
    tombstone = {"body": "moved", "replacement_room": "!new\u202e:example.org"}
    await operator.set_state(room, "m.room.tombstone", tombstone)
    await asyncio.to_thread(host.wait_log, f"{room} was upgraded: set !new")
    await operator.answer_to(await operator.send_text(room, "$ true"))
    (alert,) = host.alerts("upgraded")
    assert (alert.room, alert.detail) == (
        room,
        "upgraded: its place has !new\u27e8U+202E\u27e9:example.org",
    )
    assert "its place has !new\u27e8U+202E\u27e9:example.org; fix: set" in await failure(host, room)
    other = await operator.create_room(invite=[bot.user_id])
    told = f"ignored: an invitation to {other} by {operator.user_id}: matrix.rooms doesn't name it"
    await asyncio.to_thread(host.wait_log, told)
