# SPDX-License-Identifier: MIT
"""An agent that can't be cross-signed serves those who talk to it all the same."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.harness import Account, Operator
from tests.harness.host import Host
from tests.harness.proxy import Proxy

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


@pytest.mark.parametrize(
    ("part", "status", "code"),
    [
        ("/keys/device_signing/upload", 404, "M_UNRECOGNIZED"),
        ("/keys/signatures/upload", 403, "M_FORBIDDEN"),
    ],
)
async def test_a_homeserver_that_takes_no_signature_ends_nothing(
    proxy: Proxy,
    bot: Account,
    operator: Operator,
    room: str,
    directory: Path,
    part: str,
    status: int,
    code: str,
) -> None:
    """Where the homeserver refuses the agent's keys or signature, it is logged, and it serves."""
    proxy.refuse(part, status=status, body={"errcode": code, "error": "no"})
    with Host(
        directory / "host",
        homeserver=proxy.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
    ) as host:
        await asyncio.to_thread(host.start)
        await operator.wait_member(room, bot.user_id)
        answer = await operator.answer_to(await operator.send_text(room, "$ echo served"))
        log = host.agent.log.read_text()
    assert answer.body.startswith("served\n")
    assert f"this device is not cross-signed: the homeserver refuses: no ({code})" in log
