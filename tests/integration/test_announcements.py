# SPDX-License-Identifier: MIT
"""What the executor announces while nothing can be sent, and what is told of it afterwards."""

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.harness import Operator, Seen
from tests.harness.proxy import Proxy
from tests.integration.agent import Agent
from tests.integration.test_own_faults import desk_of
from tibet_nc_agent.news import News
from tibet_nc_agent.watch import Watch
from tibet_nc_protocol.messages import Announcement, SessionNotice


async def test_of_checkpoints_that_waited_the_newest_is_told(
    agent: Agent, operator: Operator, tmp_path: Path
) -> None:
    """When a homeserver is back, the newest checkpoint is told, and none that it covers (I8)."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        async with desk_of(agent, operator, tmp_path) as desk:
            proxy.refuse("/send/m.room.encrypted/", status=502, body={})
            publishing = asyncio.create_task(News(desk, Watch(desk)).publish())
            announcements = desk.link.announcements
            announcements.put_nowait(checkpoint(1))
            await proxy.reached("/send/m.room.encrypted/")
            for size in (2, 3, 4):
                announcements.put_nowait(checkpoint(size))
            announcements.put_nowait(
                SessionNotice(
                    room=agent.room_id,
                    sender=operator.user_id,
                    session="a session",
                    seconds=0,
                    reason="it was idle",
                )
            )
            await operator.wait(lambda seen: told(seen, "checkpoint · 4 records"))
            publishing.cancel()
            await asyncio.wait([publishing])
        await agent.stop()
    sizes = [seen.body.split()[2] for seen in operator.events if told(seen, "checkpoint · ")]
    assert sizes == ["1", "4"]
    assert any(told(seen, f"the session of {operator.user_id} has") for seen in operator.events)


def checkpoint(size: int) -> Announcement:
    """Return the announcement of a checkpoint."""
    root = str(size) * 64
    return Announcement(size=size, root=root, note=f"example.org/web1\n{size}\n")


def told(seen: Seen, start: str) -> bool:
    """Whether something was told that begins so."""
    return seen.body.startswith(start)
