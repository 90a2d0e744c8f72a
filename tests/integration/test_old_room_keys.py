# SPDX-License-Identifier: MIT
"""Room keys that are of no use any more are forgotten by a running agent, and nothing else is."""

import asyncio
import os
import sqlite3
import time
from contextlib import closing

import pytest

from tests.harness import Operator
from tests.harness.host import Host
from tibet_nc_agent.nio_machine import DATABASE, KEPT_SECONDS

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


async def test_an_old_key_is_gone_and_the_operator_still_heard(
    host: Host, operator: Operator, room: str
) -> None:
    """A key whose device has had a newer one for a week is taken out of the store at a start."""
    sessions = operator.client.olm.outbound_group_sessions
    used: list[str] = []
    for number in range(2):
        sent = await operator.send_text(room, f"$ echo {number}")
        assert (await operator.answer_to(sent)).body.startswith(f"{number}\n")
        used.append(sessions.pop(room).id)
    host.agent.stop()
    with closing(sqlite3.connect(host.directory / "agent" / "matrix" / DATABASE)) as database:
        for age, session_id in zip((3, 2), used, strict=True):
            row = session_id, time.time() - age * KEPT_SECONDS
            database.execute("insert or replace into room_key_found values (?, ?)", row)
        database.commit()
        await asyncio.to_thread(host.start_agent)
        await asyncio.to_thread(host.wait_log, "1 old room key forgotten")
        kept = {row[0] for row in database.execute("select session_id from megolminboundsessions")}
    assert [session_id in kept for session_id in used] == [False, True]
    sent = await operator.send_text(room, "$ echo again")
    assert (await operator.answer_to(sent)).body.startswith("again\n")
