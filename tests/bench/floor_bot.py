# SPDX-License-Identifier: MIT
"""The Matrix floor: a bare nio bot that answers every message at once, as a process of its own.

    python -m tests.bench.floor_bot HOMESERVER USER PASSWORD STORE

It joins whatever it is invited to and trusts every device, and does nothing else that takes time:
whatever a command takes longer than this is ours.
"""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nio import AsyncClient, AsyncClientConfig, InviteEvent, MatrixRoom, RoomMessageText

from tests.harness.host import ROOT
from tests.harness.synapse import Account, Json

FILTER: Final[dict[str, Json]] = {"room": {"timeline": {"limit": 500}}, "presence": {"types": []}}

PONG: Final = "pong"

logging.getLogger("nio").setLevel(logging.ERROR)


def content_of(event_id: str) -> dict[str, Json]:
    """Return the answer to a message, in the form that the operator of the harness looks for."""
    return {
        "msgtype": "m.notice",
        "body": PONG,
        "nc.tibet.result": {"event_id": event_id, "final": True},
    }


async def serve(homeserver: str, user: str, password: str, store: str) -> None:
    """Answer until the process is ended."""
    config = AsyncClientConfig(pickle_key="floor")
    client = AsyncClient(homeserver, user, store_path=store, config=config)
    await client.login(password, device_name="floor")
    await client.keys_upload()

    async def join(room: MatrixRoom, _event: InviteEvent) -> None:
        await client.join(room.room_id)

    async def answer(room: MatrixRoom, event: RoomMessageText) -> None:
        if event.sender != client.user_id:
            await client.room_send(
                room.room_id,
                "m.room.message",
                content_of(event.event_id),
                ignore_unverified_devices=True,
            )

    client.add_event_callback(join, InviteEvent)
    client.add_event_callback(answer, RoomMessageText)
    await client.sync_forever(30_000, FILTER, full_state=True)


@contextmanager
def running(homeserver: str, bot: Account, store: Path) -> Generator[None]:
    """Run the bot while a block lasts."""
    argv = [sys.executable, "-m", "tests.bench.floor_bot"]
    process = subprocess.Popen(
        [*argv, homeserver, bot.user_id, bot.password, store],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:5]))
