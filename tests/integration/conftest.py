# SPDX-License-Identifier: MIT
"""One real homeserver for the whole session; users and rooms are new for every test."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.directories import reachable_directory
from tests.harness import Account, Operator, Synapse, recheck
from tests.harness.browser import Page, browser, find_chromium
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration.agent import Agent, invited_agent
from tests.integration.hosts import started


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """Run a homeserver; a test that stops it must start it again."""
    with Synapse(tmp_path_factory.mktemp("synapse")) as homeserver:
        yield homeserver


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the second verifier."""
    return recheck.build(tmp_path_factory.mktemp("recheck"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Return a tab of a real browser."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("there is no Chromium, and only root can install Debian's")
    with browser(chromium, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def directory() -> Iterator[Path]:
    """Make a directory that every uid can reach."""
    with reachable_directory() as path:
        yield path


@pytest.fixture
def new_account(synapse: Synapse) -> Callable[[str], Account]:
    """Register a user that no other test has: ``new_account("bot")``."""

    def register(role: str) -> Account:
        return synapse.register(f"{role}-{secrets.token_hex(6)}")

    return register


@pytest.fixture
async def new_operator(
    synapse: Synapse, new_account: Callable[[str], Account]
) -> AsyncIterator[Callable[..., Awaitable[Operator]]]:
    """Log operators in, on a new account or on that of an earlier one, and close them."""
    opened: list[Operator] = []

    async def login(earlier: Operator | None = None, *, signed: bool = True) -> Operator:
        if earlier is None:
            account = new_account("op")
            user_id, password, identity = account.user_id, account.password, None
        else:
            user_id, password, identity = earlier.user_id, earlier.password, earlier.identity
        operator = await Operator.login(
            synapse.url, user_id, password, identity=identity, signed=signed
        )
        opened.append(operator)
        return operator

    yield login
    for operator in opened:
        await operator.close()


@pytest.fixture
def bot(new_account: Callable[[str], Account]) -> Account:
    """Register the account of an agent."""
    return new_account("bot")


@pytest.fixture
async def operator(new_operator: Callable[..., Awaitable[Operator]]) -> Operator:
    """Log one operator in."""
    return await new_operator()


@pytest.fixture
async def room(operator: Operator, bot: Account) -> str:
    """Make an encrypted room with the bot invited."""
    return await operator.create_room(invite=[bot.user_id])


@pytest.fixture
async def rooms(operator: Operator, bot: Account) -> list[str]:
    """Make two encrypted rooms with the bot invited; the first is the dedicated one."""
    return [await operator.create_room(invite=[bot.user_id]) for _ in range(2)]


@pytest.fixture
async def agent(
    synapse: Synapse, bot: Account, operator: Operator, tmp_path: Path
) -> AsyncIterator[Agent]:
    """Run the Matrix side of an agent in a room with the operator."""
    agent = await invited_agent(synapse.url, bot, operator, tmp_path / "store")
    yield agent
    await agent.stop()


@pytest.fixture
async def host(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> AsyncIterator[Host]:
    """Start a host whose agent was invited to its room, and is there."""
    async with started(synapse.url, bot, operator, [room], directory) as made:
        yield made


@pytest.fixture
async def proxy(synapse: Synapse) -> AsyncIterator[Proxy]:
    """Put something before the homeserver that can do as it likes."""
    async with Proxy(synapse.url) as running:
        yield running


@pytest.fixture
async def behind(
    proxy: Proxy, bot: Account, operator: Operator, room: str, directory: Path
) -> AsyncIterator[Host]:
    """Start a host that hears its homeserver through the proxy only, and has answered a command."""
    async with started(proxy.url, bot, operator, [room], directory) as made:
        await operator.answer_to(await operator.send_text(room, "$ true"))
        yield made
