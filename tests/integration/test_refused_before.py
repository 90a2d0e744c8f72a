# SPDX-License-Identifier: MIT
"""What was refused and not told before a crash is told as the record says it."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.harness import Account, Operator
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tibet_nc_protocol.records import Refusal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


async def test_a_refusal_that_has_grown_old_is_told_as_it_was_recorded(
    proxy: Proxy, bot: Account, operator: Operator, room: str, directory: Path
) -> None:
    """By the time it can be told the message is too old as well; the answer goes by the record."""
    with Host(
        directory / "host",
        homeserver=proxy.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
    ) as host:
        await asyncio.to_thread(host.start)
        await operator.wait_member(room, bot.user_id)
        await operator.answer_to(await operator.send_text(room, "$ true"))
        sent = sum("/send/" in path for _, path in proxy.seen)
        proxy.refuse("/send/", status=502, times=1_000_000)
        event = await operator.send_text(room, "$ reboot")
        await proxy.reached("/send/", times=sent + 1)
        await asyncio.to_thread(host.agent.kill)
        host.limit_age(1)  # only now: on a slow machine a message may be seconds old when it comes
        await asyncio.sleep(1.5)  # the timebox itself
        proxy.pass_all()
        await asyncio.to_thread(host.start_agent)
        answer = await operator.answer_to(event)
        (record,) = refusals(host, event)
        assert record.family == "power"
        assert (answer.result["verdict"], answer.result["number"]) == ("denied", record.seq)
        assert record.detail in answer.body
        assert len(operator.answers_to(event)) == 1


def refusals(host: Host, event: str) -> list[Refusal]:
    """Return the records that an event was refused."""
    records = [record for record in host.records() if isinstance(record, Refusal)]
    return [record for record in records if record.event == event]
