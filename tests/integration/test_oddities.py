# SPDX-License-Identifier: MIT
"""Odd outputs through the whole system: two clients are shown text, and nothing else (I9)."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.element import ElementOperator
from tests.harness.host import Host
from tests.oddities import Oddity, oddities

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

ANSWER_SECONDS: Final = 120.0

KEYS: Final = {
    "msgtype",
    "body",
    "format",
    "formatted_body",
    "m.mentions",
    "m.relates_to",
    "com.beeper.linkpreviews",
    "nc.tibet.result",
}
"""All that an answer may consist of."""


def check(oddity: Oddity, content: dict[str, Any]) -> None:
    """Assert that an answer shows exactly what the corpus says, and holds nothing else."""
    body, formatted = content["body"], content["formatted_body"]
    before = f"{oddity.body}\n" if oddity.body else ""
    assert body.startswith(before), oddity.name
    assert formatted.startswith(f"{oddity.formatted}<p>"), oddity.name
    *drawn, footer = body[len(before) :].splitlines()
    assert footer.startswith("exit 0 · "), oddity.name
    assert all(line.startswith("shown as a terminal ") for line in drawn), oddity.name
    assert content.keys() == KEYS
    assert content["m.mentions"] == {}
    assert content["com.beeper.linkpreviews"] == []
    assert (content["msgtype"], content["format"]) == ("m.notice", "org.matrix.custom.html")


async def show(operator: Operator | ElementOperator, room: str, directory: Path) -> None:
    """Have every odd output printed by a real command, and check what the client is shown."""
    for number, oddity in enumerate(oddities()):
        file = directory / f"odd-{number}"
        file.write_bytes(oddity.output)
        file.chmod(0o644)
        event = await operator.send_text(room, f"$ cat {file}")
        check(oddity, dict((await operator.answer_to(event, ANSWER_SECONDS)).content))


@pytest.mark.usefixtures("host")
async def test_odd_outputs_are_text_for_a_client_on_nio(
    operator: Operator, room: str, directory: Path
) -> None:
    """The corpus through homeserver, agent, executor and terminal, to the character."""
    await show(operator, room, directory)


async def test_odd_outputs_are_text_for_element(
    synapse: Synapse, bot: Account, new_account: Callable[[str], Account], directory: Path
) -> None:
    """The same with a client on the stack that Element is built on."""
    account = new_account("op")
    async with await ElementOperator.login(
        synapse.url, account.user_id, account.password
    ) as operator:
        master_key = await operator.cross_sign()
        room = await operator.create_room(invite=[bot.user_id])
        with Host(
            directory / "host",
            homeserver=synapse.url,
            bot=bot,
            operators={operator.user_id: master_key},
            rooms=[room],
        ) as host:
            await asyncio.to_thread(host.start)
            await operator.wait_member(room, bot.user_id)
            await show(operator, room, directory)
