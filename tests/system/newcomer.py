# SPDX-License-Identifier: MIT
"""Somebody who has Element and a fresh Debian, and types what docs/install.md says.

The operator's client is the SDK that Element is built on, so nothing of ours is on that side.
"""

import asyncio
import os
import subprocess
from dataclasses import dataclass

from tests.harness.element import ElementOperator, Shown
from tests.harness.synapse import Account, Synapse
from tests.system.documented import enter, examples, log_the_agent_in, type_in
from tests.system.machine import Machine, MachineError
from tests.system.pages import blocks
from tests.system.site import ANSWER_SECONDS


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """What came of it: the room, and what Element showed there as the first answers."""

    room: str
    answers: list[Shown]


def read_until(process: subprocess.Popen[bytes], text: str) -> str:
    """Read a terminal until a text is shown; raises MachineError with what was shown instead."""
    assert process.stdout is not None
    said = b""
    while text.encode() not in said:
        part = os.read(process.stdout.fileno(), 4096)
        if not part:
            raise MachineError(f"never said {text!r}: {said.decode(errors='replace')}")
        said += part
    return said.decode(errors="replace")


async def compare_emoji(machine: Machine, block: str, operator: ElementOperator) -> None:
    """Type the block that asks for the comparison; compare, and say yes on both sides."""
    with type_in(machine, block, {"@you:example.org": operator.user_id}) as process:
        try:
            await asyncio.to_thread(read_until, process, "was asked")
            await operator.ask("acceptVerification")
            shown = await operator.ask("compareEmoji", start=False)
            console = await asyncio.to_thread(read_until, process, "Type 'yes'")
            assert "   ".join(f"{symbol} {name}" for symbol, name in shown["emoji"]) in console
            ending = asyncio.to_thread(process.communicate, b"yes\n", ANSWER_SECONDS)
            (said, _), _ = await asyncio.gather(ending, operator.ask("confirmEmoji"))
        finally:
            process.kill()
    if process.returncode != 0:
        raise MachineError(said.decode(errors="replace"))


async def ten_minutes(
    machine: Machine, homeserver: Synapse, bot: Account, account: Account
) -> Newcomer:
    """Do all of the ten minutes; the operator has used the account in Element before."""
    async with await ElementOperator.login(
        homeserver.url, account.user_id, account.password
    ) as operator:
        await operator.cross_sign()
        room = await operator.create_room(invite=[bot.user_id])
        for block in blocks("docs/install.md", "Ten minutes"):
            if "ask-password" in block:
                await asyncio.to_thread(log_the_agent_in, machine, bot)
            elif "--emoji" in block:
                await compare_emoji(machine, block, operator)
            else:
                real = examples(homeserver, bot, account, room)
                await asyncio.to_thread(enter, machine, block, real)
        answers: list[Shown] = []
        for text in ("status", "df -h"):
            event = await operator.send_text(room, text)
            answers.append(await operator.answer_to(event, ANSWER_SECONDS))
        return Newcomer(room=room, answers=answers)
