# SPDX-License-Identifier: MIT
"""Large answers of a homeserver: the agent stays small, and tells what it has not seen (I4)."""

import asyncio
from pathlib import Path
from typing import Final

from tests.integration.attacks.attack import Attack, Body, a_copy, needs_root, room_of

pytestmark = needs_root

MOST_MIB: Final = 256
"""Most memory that the agent may have had: its unit gives it 512 MiB."""


def peak_mib(attack: Attack) -> int:
    """Return the most memory that the agent has had."""
    status = Path(f"/proc/{attack.host.agent.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


async def test_large_answers_are_asked_for_in_parts(attack: Attack) -> None:
    """A sync answer that is more than is read is asked for anew, and no command is lost."""
    (first,) = attack.ran()
    paddings: list[object] = [[0] * 600_000, "x" * 17 * 1024 * 1024]

    def pad(body: Body) -> Body:
        return {**body, "more": paddings.pop()} if paddings else body

    attack.proxy.rewrite("/sync", pad)
    sent = await attack.command("$ echo heard")
    answer = await attack.answer_to(sent)
    assert answer.body.startswith("heard\n")
    assert attack.ran() == [first, sent]
    peak = peak_mib(attack)
    assert peak < MOST_MIB
    for why in ("is longer than 16777216 bytes", "has more than 500000 values"):
        await asyncio.to_thread(attack.host.wait_log, f"the homeserver's answer {why}")


async def test_large_pages_of_a_gap_are_told(attack: Attack) -> None:
    """A gap that is filled with more than the agent keeps is told and recorded as one."""
    (first,) = attack.ran()
    left_out = False

    def leave_out(body: Body) -> Body:
        nonlocal left_out
        if not left_out and attack.room in body.get("rooms", {}).get("join", {}):
            left_out = True
            room = room_of(body, attack.room)
            room["timeline"] |= {"events": [], "limited": True, "prev_batch": body["next_batch"]}
        return body

    def fill(body: Body) -> Body:
        content = {"msgtype": "m.text", "body": "x" * 63_000}
        event = {"type": "m.room.encrypted", "sender": attack.operator.user_id, "content": content}
        return {**body, "chunk": [a_copy(event) for _ in range(230)], "end": body["start"]}

    attack.proxy.rewrite("/sync", leave_out)
    attack.proxy.rewrite("/messages", fill)
    await attack.wake()
    record = await attack.security(lambda each: each.detail.startswith("gap: "))
    assert record.room == attack.room
    await attack.operator.wait(lambda seen: "left messages out" in seen.body)
    peak = peak_mib(attack)
    assert peak < MOST_MIB
    assert attack.ran() == [first]
