# SPDX-License-Identifier: MIT
"""A real executor for a test, and clients on its socket.

What it is set to, besides the rig's settings, is said by ``pytest.mark.executor``.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.directories import reachable_directory
from tests.executor.rig import Client, Connect, Executor


@pytest.fixture
def place() -> Iterator[Path]:
    """Make a directory that every uid can reach."""
    with reachable_directory() as path:
        yield path


@pytest.fixture
def executor(place: Path, request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Start an executor."""
    mark = request.node.get_closest_marker("executor")
    chosen: Mapping[str, Any] = {} if mark is None else mark.kwargs
    with Executor(place, **chosen) as running:
        yield running


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Return what connects clients, which are closed afterwards."""
    clients: list[Client] = []

    async def new(executor: Executor) -> Client:
        clients.append(await Client.connect(executor))
        return clients[-1]

    yield new
    for client in clients:
        await client.close()


@pytest_asyncio.fixture
async def client(executor: Executor, connect: Connect) -> Client:
    """Connect to the executor."""
    return await connect(executor)
