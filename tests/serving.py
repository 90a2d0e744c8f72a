# SPDX-License-Identifier: MIT
"""Servers of tests that end with every connection they were given.

What asyncio accepts in the very turn of its loop in which the server closes has no owner: whatever
test runs when it is collected fails of it.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web


async def stop_accepting(server: asyncio.Server) -> None:
    """Accept nothing more; what is accepted already is the server's afterwards."""
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    await asyncio.sleep(0)


type Meet = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


async def end(server: asyncio.Server) -> None:
    """End a server that accepts nothing more, and every connection that it has."""
    server.close()
    server.abort_clients()
    await server.wait_closed()


@asynccontextmanager
async def meeting(meet: Meet) -> AsyncGenerator[int]:
    """Meet everybody who connects to a free port of this machine; gives the port."""
    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await stop_accepting(server)
        await end(server)


@asynccontextmanager
async def serving(application: web.Application, port: int = 0) -> AsyncGenerator[int]:
    """Serve on a port of this machine, any free one if it is 0; gives the port."""
    # A client that is gone must not take what is meant for the next one.
    runner = web.AppRunner(
        application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
    )
    await runner.setup()
    assert runner.server is not None
    listener = socket.create_server(("127.0.0.1", port))
    server = await asyncio.get_running_loop().create_server(runner.server, sock=listener)
    try:
        yield listener.getsockname()[1]
    finally:
        await stop_accepting(server)
        await runner.cleanup()
        await end(server)
