# SPDX-License-Identifier: MIT
"""Verifications that don't come to the emoji: what the console is told, and what the room sees."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.harness import Account, Operator
from tests.integration.agent import Agent
from tibet_nc_agent.airlock import Rules
from tibet_nc_agent.console import Asked, Failed, Told, Verify, line, socket_of, told
from tibet_nc_agent.crosssign import CrossSigning
from tibet_nc_agent.safety import judge
from tibet_nc_agent.verification import Scene
from tibet_nc_agent.verifier import Verifier

SECONDS: Final = 1.0
"""How long a verification may take in these tests."""


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
async def console(agent: Agent, tmp_path: Path) -> AsyncIterator[Path]:
    """Listen to root; return the directory in which."""
    keys = CrossSigning.open(tmp_path / "cross-signing.json", secrets.token_bytes(32))
    await agent.matrix.cross_sign(keys, password=agent.account.password)
    rules = Rules(
        user_id=agent.account.user_id,
        rooms=frozenset(agent.settings.rooms),
        dedicated_room=agent.room_id,
        timebox_ms=30_000,
        judge=judge,
    )
    scene = Scene(rules=rules, matrix=agent.matrix, alert=record_nothing, seconds=SECONDS)
    serving = asyncio.create_task(Verifier(scene, tmp_path).serve())
    await asyncio.to_thread(appear, socket_of(tmp_path))
    yield tmp_path
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


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


async def test_nobody_accepts_in_time(console: Path, agent: Agent, operator: Operator) -> None:
    """A request that is not accepted is withdrawn, with the code for it, and nothing is proved."""
    asked, failed = await verify(console, operator.user_id)
    assert asked == Asked(room=agent.room_id, by_user=False)
    assert "m.timeout" in reason(failed)
    cancelled = await operator.wait(lambda seen: seen.type == "m.key.verification.cancel")
    assert cancelled.content["code"] == "m.timeout"
    assert not cancelled.decrypted


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
