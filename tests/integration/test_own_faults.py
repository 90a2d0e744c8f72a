# SPDX-License-Identifier: MIT
"""What the agent can't answer as it should, it answers all the same, and goes on."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from tests.agent.executor import AGENT, EXECUTOR, Peer, listening
from tests.agent.link import finished, running
from tests.harness import Operator, Seen
from tests.harness.pins import write_pins
from tests.harness.proxy import Proxy
from tests.integration.agent import REFUSALS, Agent
from tibet_nc_agent import keyring, spool
from tibet_nc_agent.airlock import Rules
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.disk import Disk
from tibet_nc_agent.exchange import Exchanges
from tibet_nc_agent.executor_link import ExecutorLink
from tibet_nc_agent.inbox import Inbox
from tibet_nc_agent.lanes import Lanes
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.outbox import Outbox
from tibet_nc_agent.pauses import Pauses
from tibet_nc_agent.render import Answerer
from tibet_nc_agent.safety import Decision, Verdict
from tibet_nc_agent.service import item_of
from tibet_nc_agent.watch import Watch
from tibet_nc_protocol.messages import Recorded, Refuse, Run, Status


def failing(command: str) -> Verdict:
    """Fail over a command, as only a fault of ours can."""
    raise ZeroDivisionError(command)


@asynccontextmanager
async def desk_of(
    agent: Agent, operator: Operator, tmp_path: Path, judge: Callable[[str], Verdict] = failing
) -> AsyncGenerator[Desk]:
    """Put an agent together, whose safety stage fails: nothing comes as far as the executor."""
    pins = tmp_path / "operators.toml"
    write_pins(pins, {operator.user_id: operator.master_key})
    rules = Rules(
        user_id=agent.account.user_id,
        rooms=frozenset({agent.room_id}),
        dedicated_room=agent.room_id,
        timebox_ms=30_000,
        judge=judge,
    )
    async with AsyncExitStack() as stack:
        disk, inbox = Disk(), Inbox(tmp_path)
        stack.callback(disk.close)
        stack.push_async_callback(disk, inbox.close)
        yield Desk(
            rules=rules,
            operators=Operators(pins, frozenset(), Pauses(tmp_path)),
            matrix=agent.matrix,
            link=ExecutorLink(
                tmp_path / "socket", identity=AGENT, key=EXECUTOR.public_key, uid=None
            ),
            inbox=inbox,
            disk=disk,
            outbox=Outbox(agent.matrix),
            answerer=Answerer("host"),
            spool=spool.prepare(tmp_path),
            given_up=(),
            listening_since_ms=int(time.time() * 1000),
        )


async def handled(desk: Desk, agent: Agent, operator: Operator, text: str) -> Seen:
    """Have a message dealt with as the agent deals with each; return its one answer."""
    sent = await operator.send_text(agent.room_id, text)
    message = await agent.text(sent)
    desk.inbox.accept("token", [item_of(message)])
    lanes = Lanes()
    turn = lanes.turn(agent.room_id, operator.user_id)
    await Exchanges(desk, Watch(desk), lanes).handle(message, turn, device=None, provisional=False)
    assert desk.inbox.pending() == []
    return await operator.answer_to(sent)


async def test_a_fault_is_answered_and_ends_nothing(
    agent: Agent, operator: Operator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of our own is told and logged, both without the command's text (I4, I10)."""
    async with desk_of(agent, operator, tmp_path) as desk:
        answer = await handled(desk, agent, operator, "$ echo s3cret-text")
    assert "the agent failed over this message (ZeroDivisionError)" in answer.body
    assert answer.result["verdict"] == "aborted"
    assert "ZeroDivisionError" in caplog.text
    assert "s3cret-text" not in answer.body + caplog.text


async def test_an_answer_that_the_homeserver_finds_too_large_is_replaced(
    agent: Agent, operator: Operator, tmp_path: Path
) -> None:
    """Where an answer doesn't pass, the message is told that, as often as it takes (I4)."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        proxy.refuse("/send/m.room.encrypted/", status=413, times=3)
        async with desk_of(agent, operator, tmp_path) as desk:
            answer = await handled(desk, agent, operator, "!none")
        await agent.stop()
    assert "the agent failed over this message (TooLarge)" in answer.body


@pytest.mark.parametrize(("status", "body"), REFUSALS)
async def test_what_the_homeserver_does_not_tell_of_a_sender_is_answered(
    agent: Agent,
    operator: Operator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: dict[str, object],
) -> None:
    """Where it refuses to say whose a device is, the command is refused, and no more (I4, I5)."""
    monkeypatch.setattr(keyring, "FRESH_SECONDS", 0.0)
    told: list[Refuse] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        request = await peer.receive()
        assert isinstance(request, Refuse)
        told.append(request)
        await peer.send(Recorded(request=request.request, number=7, head="0" * 64))

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await proxy.reached("/keys/query", times=2)  # about its own device, then about the operator
        proxy.refuse("/keys/query", status=status, body=body)
        async with (
            listening(tmp_path / "socket", script),
            desk_of(agent, operator, tmp_path) as desk,
            running(desk.link),
        ):
            answer = await handled(desk, agent, operator, "$ uptime")
        await agent.stop()
    (request,) = told
    assert (answer.result["family"], answer.result["number"]) == (request.family, 7)


async def test_what_the_executor_is_not_there_to_explain_is_answered(
    agent: Agent, operator: Operator, tmp_path: Path
) -> None:
    """An executor that goes right after a result costs the line about its walls, no more (I12)."""
    output = b"cat: too many open files\n"
    asked: list[type] = []

    async def script(peer: Peer) -> None:
        await peer.greet()
        request = await peer.receive()
        assert isinstance(request, Run)
        size = len(output)
        result = finished(request.request)
        await peer.send(
            changed(result, exit=1, output=output, output_bytes=size, recorded_bytes=size)
        )
        asked.append(type(await peer.receive()))

    def allowing(_: str) -> Verdict:
        return Verdict(decision=Decision.ALLOW, findings=(), commands=())

    async with (
        listening(tmp_path / "socket", script),
        desk_of(agent, operator, tmp_path, allowing) as desk,
        running(desk.link),
    ):
        answer = await handled(desk, agent, operator, "$ cat *")
    assert asked == [Status]
    assert answer.body.startswith(output.decode())
    assert answer.result["exit"] == 1
