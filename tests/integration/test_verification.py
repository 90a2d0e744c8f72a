# SPDX-License-Identifier: MIT
"""Verifications that don't come to the emoji: what the console is told, and what the room sees."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from vodozemac import Sas

from tests.harness import Account, Operator
from tests.integration.agent import Agent
from tibet_nc_agent.airlock import Rules
from tibet_nc_agent.console import (
    Asked,
    Decision,
    Failed,
    Proved,
    Shown,
    Told,
    Verify,
    line,
    socket_of,
    told,
)
from tibet_nc_agent.crosssign import CrossSigning
from tibet_nc_agent.event import VerificationEvent
from tibet_nc_agent.identity import verify_identity
from tibet_nc_agent.safety import judge
from tibet_nc_agent.sas import (
    CANCEL_TYPE,
    REQUEST_MSGTYPE,
    Compare,
    Handshake,
    Ours,
    Send,
    State,
)
from tibet_nc_agent.sas.contents import relation
from tibet_nc_agent.verification import Scene
from tibet_nc_agent.verifier import Verifier


async def record_nothing(room: str, user: str, detail: str) -> None:
    """Stand where the chain is: nothing here is an attack."""
    pytest.fail(f"{room} {user} {detail}")


def appear(path: Path) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def seconds() -> float:
    """How long a verification may take."""
    return 30.0


@pytest.fixture
async def serving(
    agent: Agent, tmp_path: Path, seconds: float
) -> AsyncIterator[asyncio.Task[None]]:
    """Listen to root."""
    keys = CrossSigning.open(tmp_path / "cross-signing.json", secrets.token_bytes(32))
    await agent.matrix.cross_sign(keys, password=agent.account.password)
    rules = Rules(
        user_id=agent.account.user_id,
        rooms=frozenset(agent.settings.rooms),
        dedicated_room=agent.room_id,
        timebox_ms=30_000,
        judge=judge,
    )
    scene = Scene(rules=rules, matrix=agent.matrix, alert=record_nothing, seconds=seconds)
    verifier = Verifier(scene, tmp_path)
    task = asyncio.create_task(verifier.serve())
    agent.on_event = lambda event: (
        verifier.take(event) if isinstance(event, VerificationEvent) else None
    )
    await asyncio.to_thread(appear, socket_of(tmp_path))
    yield task
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
def console(serving: asyncio.Task[None], tmp_path: Path) -> Path:
    """Return the directory in which root is listened to."""
    assert not serving.done()
    return tmp_path


@pytest.fixture
async def guest(
    agent: Agent, operator: Operator, new_operator: Callable[..., Awaitable[Operator]]
) -> Operator:
    """Bring somebody into the room whom nobody has named or pinned."""
    guest = await new_operator()
    await operator.invite(agent.room_id, guest.user_id)
    await guest.join(agent.room_id)
    await guest.wait_member(agent.room_id, agent.account.user_id)
    await agent.until(lambda: guest.user_id in agent.matrix.members(agent.room_id))
    return guest


async def verify(state: Path, user: str) -> list[Told]:
    """Name a user as root does; return all that is told."""
    reader, writer = await asyncio.open_unix_connection(socket_of(state))
    writer.write(line(Verify(user=user)))
    lines = [told(each) async for each in reader]
    writer.close()
    await writer.wait_closed()
    return lines


def reason(news: Told) -> str:
    """Return why a verification has failed."""
    assert isinstance(news, Failed)
    return news.reason


@pytest.mark.parametrize("seconds", [5.0])
async def test_nobody_accepts_in_time(console: Path, agent: Agent, operator: Operator) -> None:
    """A request that is not accepted is withdrawn, with the code for it, and nothing is proved."""
    asked, failed = await verify(console, operator.user_id)
    assert asked == Asked(room=agent.room_id, by_user=False)
    assert "m.timeout" in reason(failed)
    cancelled = await operator.wait(lambda seen: seen.type == "m.key.verification.cancel")
    assert cancelled.content["code"] == "m.timeout"
    assert not cancelled.decrypted


@pytest.mark.parametrize("seconds", [600.0])
async def test_the_agent_can_end_while_root_waits(
    console: Path, serving: asyncio.Task[None], operator: Operator
) -> None:
    """A console that is open doesn't keep the agent from ending, and is closed by it."""
    reader, writer = await asyncio.open_unix_connection(socket_of(console))
    writer.write(line(Verify(user=operator.user_id)))
    assert isinstance(told(await reader.readline()), Asked)
    serving.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([serving])
        assert await reader.readline() == b""
    writer.close()


async def test_who_is_in_no_room_cant_be_asked(
    console: Path, agent: Agent, new_operator: Callable[..., Awaitable[Operator]]
) -> None:
    """Root is told that there is no room in common, and what to do."""
    elsewhere = await new_operator()
    (failed,) = await verify(console, elsewhere.user_id)
    assert f"invite {agent.account.user_id} to {agent.room_id}" in reason(failed)


async def test_who_has_no_identity_cant_be_verified(
    console: Path, agent: Agent, operator: Operator, new_account: Callable[[str], Account]
) -> None:
    """Root is told that the account has no cross-signing keys that could be pinned."""
    assert agent.room_id in operator.client.rooms
    (failed,) = await verify(console, new_account("nobody").user_id)
    assert "has no usable master key" in reason(failed)


async def test_a_line_that_makes_no_sense_ends_the_connection(console: Path) -> None:
    """Whoever says something else to the agent than what is meant is told nothing."""
    for data in (b"hello\n", b'{"type":"Decision","matches":true}\n', b"x" * 10_000):
        reader, writer = await asyncio.open_unix_connection(socket_of(console))
        writer.write(data)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_client_may_encrypt_what_a_verification_takes(
    console: Path, agent: Agent, guest: Operator
) -> None:
    """Somebody whom nobody has named or pinned is verified by events that are all encrypted."""
    reader, writer = await asked(console, guest)
    await verified(reader, writer, guest, agent)
    types = [event.event_type for event in agent.events if isinstance(event, VerificationEvent)]
    names = [f"m.key.verification.{name}" for name in ("ready", "accept", "key", "mac", "done")]
    assert types in (names, names[:-1])  # the last may still be on its way


async def asked(
    console: Path, guest: Operator
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Name a user as root does, and see that the user is asked."""
    reader, writer = await asyncio.open_unix_connection(socket_of(console))
    writer.write(line(Verify(user=guest.user_id)))
    assert isinstance(told(await reader.readline()), Asked)
    return reader, writer


async def verified(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, guest: Operator, agent: Agent
) -> None:
    """Let root and the user compare, and see that the user's key is proved."""
    verifying = asyncio.create_task(other_side(guest, agent))
    shown = told(await reader.readline())
    assert isinstance(shown, Shown), shown
    writer.write(line(Decision(matches=True)))
    assert told(await reader.readline()) == Proved(master_key=guest.master_key)
    compared = await verifying
    assert (compared.emoji, compared.decimals) == (shown.emoji, shown.decimals)
    writer.close()
    await writer.wait_closed()


async def test_what_belongs_to_no_verification_of_the_users_ends_none(
    console: Path, agent: Agent, operator: Operator, guest: Operator
) -> None:
    """Who isn't named can't end a verification, nor does what the user says in another one."""
    reader, writer = await asked(console, guest)
    request = await guest.wait(lambda seen: seen.content.get("msgtype") == REQUEST_MSGTYPE)
    another = await guest.send_text(agent.room_id, "hello")
    for sender, event_id in ((operator, request.event_id), (guest, another)):
        content = {"code": "m.user", **relation(event_id)}
        await sender.send_unencrypted(agent.room_id, content, event_type=CANCEL_TYPE)
    await verified(reader, writer, guest, agent)


async def other_side(guest: Operator, agent: Agent) -> Compare:
    """Be the user's client: the same state machine, over encrypted events; return what it shows."""
    request = await guest.wait(lambda seen: seen.content.get("msgtype") == REQUEST_MSGTYPE)
    _, answer = await guest.request(
        "POST", "/_matrix/client/v3/keys/query", {"device_keys": {request.sender: []}}
    )
    machine = Handshake(
        ours=Ours(
            user_id=guest.user_id,
            device_id=guest.device_id,
            ed25519=str(guest.client.olm.account.identity_keys["ed25519"]),
            master=guest.master_key,
        ),
        theirs=verify_identity(answer, request.sender, pinned=agent.matrix.master),
        sas=Sas(),
    )
    effects, taken = machine.answer(request.event_id, request.content), {request.event_id}
    shown: list[Compare] = []
    while True:
        for effect in effects:
            if isinstance(effect, Send):
                await guest.send(agent.room_id, effect.content, event_type=effect.event_type)
        shown += [effect for effect in effects if isinstance(effect, Compare)]
        if machine.state is State.DONE:
            return shown[0]
        if machine.state is State.COMPARING:
            effects = machine.decide(matches=True)
            continue
        event = await guest.wait(
            lambda seen: (
                seen.sender == request.sender
                and seen.type.startswith("m.key.verification.")
                and seen.event_id not in taken
            )
        )
        taken.add(event.event_id)
        effects = machine.receive(event.type, event.content)
