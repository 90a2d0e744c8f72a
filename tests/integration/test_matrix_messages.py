# SPDX-License-Identifier: MIT
"""Messages between an operator and the agent, through a real homeserver."""

import asyncio
import hashlib
import secrets
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.proxy import Proxy
from tests.integration.agent import WAIT_SECONDS, Agent, invited_agent
from tibet_nc_agent import media
from tibet_nc_agent.event import MemberRemoved, TextMessage
from tibet_nc_agent.matrix_errors import (
    NobodyCanRead,
    NotJoined,
    SendError,
    TooLarge,
    Unreachable,
)

ALWAYS = sys.maxsize


async def test_command_and_answer(operator: Operator, agent: Agent) -> None:
    """An encrypted command reaches the agent with its origin, and the answer the operator."""
    command = await operator.send_text(agent.room_id, "$ uptime")
    message = await agent.text(command)
    assert (message.body, message.sender) == ("$ uptime", operator.user_id)
    assert message.encrypted
    assert not message.is_edit
    device = await agent.matrix.device_of(message)
    assert device.device_id == operator.device_id == message.device_id
    answer = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "up"}, "t1")
    seen = await operator.wait(lambda seen: seen.event_id == answer)
    assert (seen.decrypted, seen.body) == (True, "up")


async def test_own_messages_do_not_come_back(operator: Operator, agent: Agent) -> None:
    """What the agent sends is never received as a message."""
    await agent.matrix.send(agent.room_id, {"msgtype": "m.text", "body": "$ mine"}, "t1")
    await agent.text(await operator.send_text(agent.room_id, "$ theirs"))
    bodies = [event.body for event in agent.events if isinstance(event, TextMessage)]
    assert bodies == ["$ theirs"]


async def test_edit_is_marked(operator: Operator, agent: Agent) -> None:
    """An edit is known as one (I5)."""
    command = await operator.send_text(agent.room_id, "$ uptime")
    edit = await operator.edit(agent.room_id, command, "$ reboot")
    assert (await agent.text(edit)).is_edit


async def test_edit_without_its_relation_is_marked(operator: Operator, agent: Agent) -> None:
    """An edit whose relation in the clear is missing is still known as one (I5)."""
    content = {
        "msgtype": "m.text",
        "body": "* $ reboot",
        "m.new_content": {"msgtype": "m.text", "body": "$ reboot"},
    }
    assert (await agent.text(await operator.send(agent.room_id, content))).is_edit


async def test_plaintext_is_marked(operator: Operator, agent: Agent) -> None:
    """A message in plain text in an encrypted room has no origin (I5)."""
    content = {"msgtype": "m.text", "body": "$ uptime"}
    message = await agent.text(await operator.send_unencrypted(agent.room_id, content))
    assert not message.encrypted


async def test_unpaired_surrogate_becomes_text(operator: Operator, agent: Agent) -> None:
    """What JSON can say and UTF-8 can't is replaced before anybody stumbles over it."""
    message = await agent.text(await operator.send_text(agent.room_id, "$ echo \ud800"))
    assert message.body == "$ echo \N{REPLACEMENT CHARACTER}"


async def test_sends_keep_their_order(operator: Operator, agent: Agent) -> None:
    """Messages sent at once arrive in the order of the calls."""
    contents = [{"msgtype": "m.notice", "body": str(number)} for number in range(20)]
    sent = await asyncio.gather(
        *(
            agent.matrix.send(agent.room_id, dict(content), f"t{i}")
            for i, content in enumerate(contents)
        )
    )
    await operator.wait(lambda seen: seen.event_id == sent[-1])
    bodies = [seen.body for seen in operator.events if seen.event_id in sent]
    assert bodies == [str(number) for number in range(20)]


async def test_same_transaction_is_sent_once(agent: Agent) -> None:
    """A message that is sent again under its transaction id is one message (I4)."""
    content = {"msgtype": "m.notice", "body": "once"}
    first = await agent.matrix.send(agent.room_id, dict(content), "t1")
    assert await agent.matrix.send(agent.room_id, dict(content), "t1") == first


async def test_attachment_arrives_encrypted(
    operator: Operator, agent: Agent, tmp_path: Path
) -> None:
    """A file reaches the operator byte for byte, and the homeserver holds other bytes (I12)."""
    data = secrets.token_bytes(1_000_000)
    file = tmp_path / "output"
    file.write_bytes(data)
    content = await agent.matrix.upload(file, "output.txt", offset=0, size=file.stat().st_size)
    sent = await agent.matrix.send(agent.room_id, content, "t1")
    seen = await operator.wait(lambda seen: seen.event_id == sent)
    assert seen.content["info"] == {"mimetype": "text/plain", "size": len(data)}
    assert hashlib.sha256(await operator.download(seen)).digest() == hashlib.sha256(data).digest()


async def test_upload_that_nobody_could_fetch_fails(agent: Agent, tmp_path: Path) -> None:
    """An upload that the homeserver takes and gives no address for is not sent as a file (I12)."""
    file = tmp_path / "output"
    file.write_bytes(b"x")
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.rewrite("/media/v3/upload", lambda _: {"content_uri": 5})
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        with pytest.raises(Unreachable, match="no address"):
            await agent.matrix.upload(file, "output.txt", offset=0, size=1)
        await agent.stop()


async def test_a_homeserver_that_knows_no_limit_takes_a_file(
    operator: Operator, agent: Agent, tmp_path: Path
) -> None:
    """A homeserver that can't be asked how much it takes is given the file all the same."""
    file = tmp_path / "output"
    file.write_bytes(b"x")
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.refuse("/media/config", status=404, body={"errcode": "M_UNRECOGNIZED"}, times=ALWAYS)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        content = await agent.matrix.upload(file, "output.txt", offset=0, size=1)
        sent = await agent.matrix.send(agent.room_id, content, "t1")
        seen = await operator.wait(lambda seen: seen.event_id == sent)
        await agent.stop()
    assert await operator.download(seen) == b"x"


@pytest.mark.parametrize("part", ["/media/config", "/media/v3/upload"])
async def test_a_file_that_is_not_taken_is_given_up(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """A homeserver that fails over files alone isn't waited for without end: an answer waits."""
    monkeypatch.setattr(media, "PATIENCE_SECONDS", 1.5)
    file = tmp_path / "output"
    file.write_bytes(b"x")
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.refuse(part, status=502, body={}, times=ALWAYS)
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(SendError, match="502"):
                await agent.matrix.upload(file, "output.txt", offset=0, size=1)
        await agent.stop()


async def test_a_homeserver_that_is_away_is_waited_out_with_a_file(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a homeserver is away as a whole, the file is taken when it is back (I12)."""
    monkeypatch.setattr(media, "PATIENCE_SECONDS", 3.5)
    file = tmp_path / "output"
    file.write_bytes(b"x")
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.open()
        proxy.refuse("/media/v3/upload", status=502, body={}, times=2)
        proxy.refuse("/account/whoami", status=502, body={}, times=3)
        content = await agent.matrix.upload(file, "output.txt", offset=0, size=1)
        await agent.stop()
    assert content["msgtype"] == "m.file"


async def test_file_over_the_limit_is_refused_before_sending(agent: Agent, tmp_path: Path) -> None:
    """A file that the homeserver won't take is refused with both sizes."""
    file = tmp_path / "big"
    with file.open("wb") as big:
        big.truncate(60 * 1024 * 1024)
    with pytest.raises(TooLarge) as caught:
        await agent.matrix.upload(file, "big", offset=0, size=file.stat().st_size)
    assert (caught.value.size, caught.value.limit) == (60 * 1024 * 1024, 50 * 1024 * 1024)


async def test_message_over_the_limit_is_refused(operator: Operator, agent: Agent) -> None:
    """A message that doesn't fit an event is refused, and the next one arrives."""
    with pytest.raises(TooLarge):
        await agent.matrix.send(agent.room_id, {"msgtype": "m.text", "body": "x" * 50_000}, "t1")
    sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.text", "body": "y" * 40_000}, "t2")
    assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted


async def test_nothing_is_sent_to_a_room_it_is_not_in(agent: Agent) -> None:
    """A room that the agent isn't in is refused."""
    with pytest.raises(NotJoined):
        await agent.matrix.send("!elsewhere", {"msgtype": "m.text", "body": "x"}, "t1")


async def test_leaving_is_noticed(operator: Operator, agent: Agent) -> None:
    """After it was removed from the room, the agent sends nothing there."""
    await operator.kick(agent.room_id, agent.account.user_id)
    removed = await agent.received(MemberRemoved)
    assert removed.user_id == agent.account.user_id
    with pytest.raises(NotJoined):
        await agent.matrix.send(agent.room_id, {"msgtype": "m.text", "body": "x"}, "t1")


async def test_clock_skew_is_small(agent: Agent) -> None:
    """The measured skew of a homeserver on the same machine is within the second of its header."""
    skew = agent.matrix.skew_ms
    assert skew is not None
    assert abs(skew) <= 1_000


async def test_history_from_before_joining_is_not_received(
    synapse: Synapse, bot: Account, operator: Operator, tmp_path: Path
) -> None:
    """What was said before the agent joined is not for it."""
    agent = await invited_agent(synapse.url, bot, operator, tmp_path / "store", said="$ before")
    try:
        await agent.text(await operator.send_text(agent.room_id, "$ after"))
        bodies = [event.body for event in agent.events if isinstance(event, TextMessage)]
        assert bodies == ["$ after"]
        assert len(agent.events) == 1
    finally:
        await agent.stop()


async def test_without_a_trusted_device_nothing_is_sent(agent: Agent) -> None:
    """When nobody in the room is pinned, no device may have our keys, and sending says so."""
    agent.pin()
    with pytest.raises(NobodyCanRead):
        await agent.matrix.send(agent.room_id, {"msgtype": "m.text", "body": "x"}, "t1")
