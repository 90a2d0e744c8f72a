# SPDX-License-Identifier: MIT
"""The whole system with an operator on the stack that Element is built on.

Its client trusts no device that its owner hasn't signed, from its first moment on: that anything
is answered at all shows that the agent's device is signed, and that it reads what such a client
sends.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.directories import reachable_directory
from tests.harness import Account, Operator, Synapse
from tests.harness.element import ElementOperator
from tests.harness.host import Host
from tibet_nc_protocol.layout import CHAIN

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids"),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One conversation that goes through all tests of this module."""

    host: Host
    bot: Account
    operator: ElementOperator
    room: str

    async def ask(self, body: str) -> str:
        """Send a message and return its event id."""
        return await self.operator.send_text(self.room, body)

    def commands_run(self) -> int:
        """Return how many commands the chain says were begun."""
        chain = self.host.state / CHAIN
        lines = b"".join(path.read_bytes() for path in sorted(chain.iterdir()))
        return lines.count(b'"kind":"intent"')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(synapse: Synapse) -> AsyncIterator[Scene]:
    """Start a host, with a cross-signed operator of it on Element's stack in its room."""
    bot, account = (synapse.register(f"{role}-{secrets.token_hex(6)}") for role in ("bot", "op"))
    async with await ElementOperator.login(
        synapse.url, account.user_id, account.password
    ) as operator:
        master_key = await operator.cross_sign()
        room = await operator.create_room(invite=[bot.user_id])
        with (
            reachable_directory() as path,
            Host(
                path / "host",
                homeserver=synapse.url,
                bot=bot,
                operators={operator.user_id: master_key},
                rooms=[room],
            ) as host,
        ):
            await asyncio.to_thread(host.start)
            await operator.wait_member(room, bot.user_id)
            yield Scene(host=host, bot=bot, operator=operator, room=room)


async def test_a_command_is_answered_without_a_warning(scene: Scene) -> None:
    """A command is answered with a result for programs, and Element has nothing to warn of."""
    answer = await scene.operator.answer_to(await scene.ask("$ echo hello; exit 3"))
    assert answer.body.startswith("hello\n")
    assert answer.sender == scene.bot.user_id
    assert answer.decrypted
    assert (answer.shield, answer.shield_reason) == ("NONE", None)
    assert answer.result["exit"] == 3
    assert answer.result["verdict"] == "ran"


async def test_big_output_is_attached_whole(scene: Scene) -> None:
    """Element's own code decrypts the attachment, and its bytes are those of the record (I12)."""
    answer = await scene.operator.answer_to(await scene.ask("$ seq 1 50000"), 60)
    attached = await scene.operator.wait(lambda seen: seen.content.get("msgtype") == "m.file")
    downloaded = await scene.operator.download(attached)
    assert downloaded.size == answer.result["output_bytes"] == 288894
    assert downloaded.sha256 == answer.result["output_sha256"]


async def test_an_edited_command_is_not_run(scene: Scene) -> None:
    """An edit made by Element is refused with a note, never run (I5)."""
    command = await scene.ask("$ echo first")
    await scene.operator.answer_to(command)
    before = scene.commands_run()
    edit = await scene.operator.edit(scene.room, command, "$ echo second")
    answer = await scene.operator.answer_to(edit)
    assert answer.result["verdict"] == "refused"
    assert scene.commands_run() == before


async def test_edits_of_the_agent_read_right(scene: Scene) -> None:
    """While a command runs, Element shows its progress in one message, which changes in place."""
    operator = scene.operator
    command = await scene.ask("$ for n in 1 2 3 4; do echo line $n; sleep 2; done")
    started = await operator.wait(
        lambda seen: seen.result.get("event_id") == command and not seen.result.get("final")
    )
    answer = await operator.answer_to(command, 60)
    edits = operator.edits_of(started.event_id)
    assert all((edit.sender, edit.shield) == (scene.bot.user_id, "NONE") for edit in edits)
    texts = [edit.content["m.new_content"]["body"] for edit in edits]
    assert any("line 2" in text for text in texts)
    assert (await operator.shown(started))["body"] == texts[-1] != started.body
    assert answer.replaces is None
    assert answer.body.startswith("line 1\nline 2\nline 3\nline 4\n")


async def test_a_new_megolm_session_in_mid_conversation(scene: Scene) -> None:
    """Commands go on being answered when the operator's client changes its room key."""
    operator = scene.operator
    commands: list[str] = []
    for n in range(3):
        commands.append(await scene.ask(f"$ echo {n}"))
        assert (await operator.answer_to(commands[-1])).body.startswith(f"{n}\n")
        await operator.rotate_room_key(scene.room)
    sent = [seen for seen in operator.events if seen.event_id in commands]
    assert len({seen.source["content"]["session_id"] for seen in sent}) == 3


async def test_a_second_device_signed_by_the_operator_commands_too(
    scene: Scene, synapse: Synapse
) -> None:
    """A new device of the operator commands once the operator has signed it (I5)."""
    operator = scene.operator
    async with await ElementOperator.login(
        synapse.url, operator.user_id, operator.password
    ) as second:
        await operator.verify_device(second)
        command = await second.send_text(scene.room, "$ echo second device")
        for reader in (second, operator):
            answer = await reader.answer_to(command)
            assert answer.body.startswith("second device\n")
            assert answer.shield == "NONE"


async def test_a_second_device_that_the_operator_has_not_signed_does_not(
    scene: Scene, synapse: Synapse
) -> None:
    """Who has only the operator's password gets nothing run, and can read no output (I5)."""
    operator = scene.operator
    async with await Operator.login(
        synapse.url, operator.user_id, operator.password, signed=False
    ) as thief:
        before = scene.commands_run()
        refused = await operator.answer_to(await thief.send_text(scene.room, "$ echo stolen"))
        assert (refused.result["verdict"], refused.result["stage"]) == ("refused", "sender")
        answer = await operator.answer_to(await scene.ask("$ echo private"))
        assert answer.body.startswith("private\n")
        assert scene.commands_run() == before + 1
        seen = await thief.wait(lambda seen: seen.event_id == answer.event_id)
        assert not seen.decrypted
