# SPDX-License-Identifier: MIT
"""An executor's end of the socket for the link's tests: real socket, real frames, real signatures.

It answers what a test tells it to; what it must not do on its own is decide anything.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.serving import end, stop_accepting
from tibet_nc_protocol.envelope import Opener, Sealer
from tibet_nc_protocol.framing import FrameReader, frame
from tibet_nc_protocol.limits import PROTOCOL_VERSION
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Challenge,
    Hello,
    Request,
    Response,
    Welcome,
)
from tibet_nc_protocol.signing import Identity, Purpose

AGENT: Final = Identity(b"\x01" * 32)
EXECUTOR: Final = Identity(b"\x02" * 32)
OTHER: Final = Identity(b"\x03" * 32)
CONNECTION: Final = "c" * 32
WELCOME: Final = Welcome(host="web1", records=3, head="0" * 64, rows=24, columns=80)


class Peer:
    """One accepted connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identity: Identity
    ) -> None:
        self.reader: Final = reader
        self.writer: Final = writer
        self.sealer: Final = Sealer(identity, Purpose.RESPONSE, RESPONSES)
        self._opener = Opener(AGENT.public_key, Purpose.REQUEST, REQUESTS)
        self._frames = FrameReader()
        self._waiting: list[bytes] = []

    async def send(self, response: Response) -> None:
        """Send a signed response."""
        self.writer.write(frame(self.sealer.seal(response)))
        await self.writer.drain()

    async def receive(self) -> Request:
        """Return the next request; raises EOFError when the agent has gone."""
        while not self._waiting:
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            self._waiting.extend(self._frames.feed(data))
        return self._opener.open(self._waiting.pop(0))

    async def challenge(self, protocol: int = PROTOCOL_VERSION) -> None:
        """Send the challenge, after which the connection has its id."""
        await self.send(Challenge(protocol=protocol, version="1", connection=CONNECTION))
        self.sealer.connection = self._opener.connection = CONNECTION

    async def greet(self) -> Hello:
        """Go through a good handshake."""
        await self.challenge()
        hello = await self.receive()
        assert isinstance(hello, Hello)
        await self.send(WELCOME)
        return hello


type Script = Callable[[Peer], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(
    path: Path, script: Script, *, identity: Identity = EXECUTOR
) -> AsyncGenerator[list[Peer]]:
    """Follow a script with everybody who connects; yields the connections so far."""
    peers: list[Peer] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer, identity)
        peers.append(peer)
        try:
            with contextlib.suppress(EOFError, ConnectionError):
                await script(peer)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield peers
    finally:
        await stop_accepting(server)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await end(server)
        path.unlink(missing_ok=True)
