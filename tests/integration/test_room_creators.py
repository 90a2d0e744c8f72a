# SPDX-License-Identifier: MIT
"""A room of version 12, in which no power level is too high for its creators."""

import asyncio
import os
from typing import Any

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

NEEDED = 10
"""The power level that messages need, and nobody but the operator has."""


@pytest.fixture(params=["made", "named"])
async def room(
    request: pytest.FixtureRequest, synapse: Synapse, operator: Operator, bot: Account
) -> str:
    """Return a room that the agent has made, or whose maker has named it as a creator, too."""
    made = request.param == "made"
    content: dict[str, Any] = {
        "room_version": "12",
        "preset": "private_chat",
        "invite": [operator.user_id if made else bot.user_id],
        "creation_content": {} if made else {"additional_creators": [bot.user_id]},
        "initial_state": [
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        ],
        "power_level_content_override": {
            "events_default": NEEDED,
            "users": {operator.user_id: NEEDED} if made else {},
        },
    }
    token = bot.access_token if made else operator.client.access_token
    answer = synapse.request("POST", "/_matrix/client/v3/createRoom", content, token)
    assert answer.status == 200, answer.body
    await operator.join(room_id := str(answer.body["room_id"]))
    return room_id


async def test_a_creator_may_speak_in_a_muted_room(
    host: Host, operator: Operator, room: str
) -> None:
    """A creator answers where its level doesn't suffice, and the doctor finds no fault."""
    answer = await operator.answer_to(await operator.send_text(room, "$ echo heard"))
    assert answer.body.startswith("heard\n")
    done = await asyncio.to_thread(host.admin, "agent", "doctor")
    assert [line for line in done.stdout.splitlines() if f"room {room}" in line] == [
        f"ok    room {room}: joined, 2 members, m.megolm.v1.aes-sha2"
    ]
