# SPDX-License-Identifier: MIT
"""What is shown of a terminal that isn't 24 rows of 80."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


async def test_output_is_drawn_as_wide_as_its_terminal(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> None:
    """What moves the cursor is shown as on a terminal of the size that the settings say."""
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
    ) as host:
        settings = host.etc / "executor.toml"
        size = "[shell]\nrows = 30\ncolumns = 132\n"
        settings.write_text(settings.read_text().replace("[shell]\n", size))
        await asyncio.to_thread(host.start)
        await operator.wait_member(room, bot.user_id)
        event = await operator.send_text(room, r"$ stty size; printf '\e[30;127Hbottom\n'; sleep 2")
        answer = await operator.answer_to(event)
        lines = answer.body.splitlines()
        # The line end behind it moves the screen up by one.
        assert lines[:30] == ["30 132", *[""] * 28, " " * 126 + "bottom"]
        assert lines[30].startswith("shown as a terminal would have left it")
