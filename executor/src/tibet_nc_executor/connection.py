# SPDX-License-Identifier: MIT
"""One connection: challenged first, then signed messages that the monitor permits.

Whatever is wrong with a message is recorded, told to the peer, and ends the connection: a process
that was admitted and then breaks the rules is a fault or an attack, never a matter of course.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Final

from tibet_nc_executor import VERSION
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.errors import LedgerError, NotPermittedError
from tibet_nc_executor.monitor import Monitor, Role, State
from tibet_nc_executor.office import Office
from tibet_nc_executor.sessions import Sessions
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.envelope import Opener, Sealer
from tibet_nc_protocol.errors import FramingError, PeerError
from tibet_nc_protocol.framing import FrameReader, frame
from tibet_nc_protocol.limits import PROTOCOL_VERSION, TEXT_CHARACTERS
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Announcement,
    Challenge,
    Failure,
    Hello,
    Response,
    SessionNotice,
)
from tibet_nc_protocol.records import Checkpoint, SecurityEvent
from tibet_nc_protocol.signing import Identity, PublicKey, Purpose

READ_BYTES: Final = 64 * 1024
REQUESTS_AT_ONCE: Final = 256
"""Requests of one connection that may be under way; more wait unread, and hold up the peer."""

SETTLE_S: Final = 2.0
"""How long a peer has to take the last answers; one that hangs must not hold a stop up."""


class Connection:
    """Serves one peer whose uid was admitted."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        identity: Identity,
        role: Role,
        agent_key: PublicKey,
        office: Office,
        archive: Archive,
        sessions: Sessions,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._office = office
        self._archive = archive
        self._sessions = sessions
        self._id = secrets.token_hex(16)
        self._monitor = Monitor(self._id, role)
        self._sealer = Sealer(identity, Purpose.RESPONSE, RESPONSES)
        if role is Role.AGENT:
            self._opener = Opener(agent_key, Purpose.REQUEST, REQUESTS)
        else:
            self._opener = Opener(identity.public_key, Purpose.ADMINISTRATION, REQUESTS)
        self._opener.connection = self._id
        self._sending = asyncio.Lock()
        self._places = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._refraining = False

    def refrain(self) -> None:
        """Take no more requests, since the executor stops: the agent asks the next one again."""
        self._refraining = True

    async def settle(self) -> None:
        """Wait, not for long, until what was asked is answered."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_S)

    async def serve(self) -> None:
        """Serve until the peer leaves or breaks the rules. What it started goes on."""
        try:
            await self._send(
                Challenge(protocol=PROTOCOL_VERSION, version=VERSION, connection=self._id)
            )
            self._sealer.connection = self._id
            self._archive.on_checkpoint.append(self._announce)
            self._sessions.on_notice.append(self._notify)
            await self._receive()
        except (PeerError, NotPermittedError) as error:
            await self._fail(str(error)[:TEXT_CHARACTERS])
        except OSError:
            return  # the peer is gone; what it asked for is in the chain
        finally:
            with suppress(ValueError):
                self._archive.on_checkpoint.remove(self._announce)
                self._sessions.on_notice.remove(self._notify)
            for task in self._tasks:
                task.cancel()

    async def _receive(self) -> None:
        frames = FrameReader()
        while data := await self._reader.read(READ_BYTES):
            for payload in frames.feed(data):
                if not self._refraining:
                    await self._dispatch(payload)
        if frames.pending:
            raise FramingError(f"the stream ended {counted(frames.pending, 'byte')} into a frame")

    async def _dispatch(self, payload: bytes) -> None:
        request = self._monitor.admit(self._opener.open(payload))
        request_sha256 = hashlib.sha256(payload).hexdigest()
        if isinstance(request, Hello):
            await self._office.answer(request, request_sha256, self._send)
            return
        await self._places.acquire()
        task = self._start(self._office.answer(request, request_sha256, self._send))
        task.add_done_callback(lambda _: self._places.release())

    def _announce(self, record: Checkpoint) -> None:
        """Tell the agent of a checkpoint, which the room is to hold."""
        self._notify(Announcement(size=record.size, root=record.root, note=record.note))

    def _notify(self, news: Announcement | SessionNotice) -> None:
        """Tell the agent what nobody has asked."""
        if self._monitor.role is Role.AGENT and self._monitor.state is State.OPEN:
            self._start(self._send(news))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, OSError):
            # A fault of ours. It must not be swallowed, nor take the other commands down.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a request could not be answered", "exception": error, "task": task}
            )
            self._writer.close()

    async def _send(self, response: Response) -> None:
        async with self._sending:
            self._writer.write(frame(self._sealer.seal(response)))
            await self._writer.drain()

    async def _fail(self, reason: str) -> None:
        with suppress(LedgerError):  # the connection ends either way
            await self._archive.security(SecurityEvent.PROTOCOL, reason)
        # Not in its turn: what goes before may wait for a peer that reads nothing.
        self._writer.write(frame(self._sealer.seal(Failure(reason=reason))))
