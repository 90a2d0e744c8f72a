# SPDX-License-Identifier: MIT
"""The Matrix side of an agent as a process of its own, to be killed at any moment.

    python -m tests.integration.listener CONFIGURATION

Prints "KIND EVENT" for every event of a batch, and only then saves the batch's token beside the
configuration, which is a JSON object.
"""

import asyncio
import json
import sys
from pathlib import Path

from tibet_nc_agent.matrix import Matrix, MatrixSettings
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.pauses import Pauses
from tibet_nc_agent.statefile import read_private, write_whole


async def listen(file: Path) -> None:
    """Receive for ever."""
    configuration = json.loads(file.read_text())
    settings = MatrixSettings(
        homeserver=configuration["homeserver"],
        user_id=configuration["user_id"],
        device_name="tibet-nc",
        rooms=(configuration["room"],),
        store=Path(configuration["store"]),
    )
    token_file = file.with_suffix(".token")
    saved = read_private(token_file)
    matrix = await Matrix.open(
        settings,
        access_token=None,
        password=None,
        pickle_key=bytes.fromhex(configuration["pickle_key"]),
        operators=Operators(
            file.with_suffix(".toml"), frozenset({configuration["operator"]}), Pauses(file.parent)
        ),
    )
    async for batch in matrix.batches(saved.decode() if saved else None):
        for event in batch.events:
            sys.stdout.write(f"{type(event).__name__} {getattr(event, 'event_id', '-')}\n")
        sys.stdout.flush()
        write_whole(token_file, batch.token.encode())


if __name__ == "__main__":
    asyncio.run(listen(Path(sys.argv[1])))
