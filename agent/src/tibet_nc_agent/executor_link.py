# SPDX-License-Identifier: MIT
"""The agent's end of the socket: one signed connection, many requests at once (SPEC §2 to §5).

The life of a connection
------------------------
1. Connect, and look whose socket it is (SO_PEERCRED) before anything is said.
2. The executor's Challenge must be signed with the enrolled key; it gives the connection's id.
3. Hello; the Welcome that follows opens the link for requests.
4. Each request has a number, and each response names the one it answers. Run has two responses,
   the others one.
5. When the connection ends, every open request fails with LinkDownError. Nothing is lost: who
   asked for a run asks again on the next connection, and the executor answers from its records.

Connecting is tried again after 0.2 s, and twice as long each time up to 5 s.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Final, NoReturn

from tibet_nc_agent import VERSION
from tibet_nc_agent.link_error import LinkDownError, LinkError, WrongExecutorError
from tibet_nc_agent.peer import peer_uid
from tibet_nc_agent.screen import USUAL, Size
from tibet_nc_protocol.envelope import Opener, Sealer
from tibet_nc_protocol.errors import PeerError, SignatureError
from tibet_nc_protocol.framing import FrameReader, frame
from tibet_nc_protocol.limits import PROTOCOL_VERSION
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Announcement,
    Challenge,
    Chunk,
    Denied,
    Failure,
    Fetch,
    Finished,
    Hello,
    Request,
    Response,
    Run,
    SessionNotice,
    Started,
    Welcome,
)
from tibet_nc_protocol.signing import Identity, PublicKey, Purpose

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
FAREWELL_SECONDS: Final = 2.0
"""How long an executor has to read what it was asked last; one that hangs must not hold us up."""
HANDSHAKE_SECONDS: Final = 10.0
"""How long the executor may take to greet; it does so while it replays its last segment."""

_READ_BYTES: Final = 64 * 1024
_ROOT: Final = 0

log: Final = logging.getLogger(__name__)


class _Connection:
    """One connection after its handshake: numbers requests and hands out responses."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        sealer: Sealer[Request],
        welcome: Welcome,
        announced: asyncio.Queue[Announcement | SessionNotice],
    ) -> None:
        self.welcome: Final = welcome
        self._announced = announced
        self._writer = writer
        self._sealer = sealer
        self._count = 0
        self._open: dict[int, asyncio.Queue[Response | LinkError]] = {}
        self.fault = ""
        """Why it was ended from this side, if it was."""

    @contextlib.asynccontextmanager
    async def ask(
        self, make: Callable[[int], Request]
    ) -> AsyncGenerator[asyncio.Queue[Response | LinkError]]:
        """Send a request, made for its number, and yield the queue of its responses."""
        self._count += 1
        number = self._count
        queue = self._open[number] = asyncio.Queue()
        try:
            # Sealed and written without a pause in between: the place in the stream is signed.
            self._writer.write(frame(self._sealer.seal(make(number))))
            with contextlib.suppress(OSError):  # the reader notices, and ends this connection
                await self._writer.drain()
            yield queue
        finally:
            del self._open[number]

    def deliver(self, response: Response) -> None:
        """Give a response to who waits for it; raises WrongExecutorError when it fits nothing."""
        match response:
            case Challenge() | Welcome():
                raise WrongExecutorError("the executor greets a second time")
            case Failure():
                raise WrongExecutorError(f"the executor ends the connection: {response.reason}")
            case Announcement() | SessionNotice():
                self._announced.put_nowait(response)
            case _:
                queue = self._open.get(response.request)
                if queue is not None:
                    queue.put_nowait(response)
                elif not 0 < response.request <= self._count:
                    raise WrongExecutorError("the executor answers a request that was never made")

    def end(self, why: str) -> NoReturn:
        """End a connection whose peer answers with what was not asked for.

        Whoever asked tries again, which is on the next connection, and so not at once.
        """
        self.fault = why
        self._writer.close()
        raise WrongExecutorError(why)

    def fail(self, error: LinkError) -> None:
        """End every open request."""
        for queue in self._open.values():
            queue.put_nowait(error)


class ExecutorLink:
    """The way to one executor; :meth:`run` keeps it open, everything else asks over it.

    ``uid`` is the user that the socket must belong to, None for any: the signature is the proof,
    the uid only tells mistakes apart sooner. Root is accepted too: systemd makes the socket as
    root when it activates the executor, and root could do all of this anyway.
    """

    def __init__(self, path: Path, *, identity: Identity, key: PublicKey, uid: int | None) -> None:
        self._path = path
        self._identity = identity
        self._key = key
        self._uid = uid
        self._connection: _Connection | None = None
        self._up = asyncio.Event()
        self.screen = USUAL
        """The size of the commands' terminals, as the executor told it last."""
        self._lasted = False
        self.announcements: Final[asyncio.Queue[Announcement | SessionNotice]] = asyncio.Queue()
        """What the executor tells without being asked: checkpoints, and sessions that end."""
        self.failure: LinkError = LinkDownError(f"the executor's socket {path}: not connected yet")
        """Why the executor can't be asked, when it can't."""

    @property
    def welcome(self) -> Welcome | None:
        """What the executor said when the link came up, None while it is down."""
        return None if self._connection is None else self._connection.welcome

    async def wait_up(self) -> Welcome:
        """Wait, for as long as it takes, until the executor can be asked."""
        while self._connection is None:
            await self._up.wait()
        return self._connection.welcome

    async def run(self) -> None:
        """Keep the link open until cancelled; a failure is logged once and kept."""
        pause = FIRST_PAUSE_SECONDS
        logged = ""
        while True:
            try:
                await self._serve()
            except LinkError as error:
                self.failure = error
            if self._lasted:
                pause, logged = FIRST_PAUSE_SECONDS, ""
            if str(self.failure) != logged:
                logged = str(self.failure)
                log.warning("%s", logged)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def ask[R: Response](self, make: Callable[[int], Request], kind: type[R]) -> R | Denied:
        """Ask something that has one response, of this kind or a denial; raises LinkError."""
        connection = self._connected()
        async with connection.ask(make) as responses:
            response = await _next(responses)
        if not isinstance(response, kind | Denied):
            connection.end(f"the executor answers with {type(response).__name__}")
        return response

    async def execute(
        self, make: Callable[[int], Run], on_start: Callable[[Started], None]
    ) -> Finished | Denied:
        """Ask for a command to be run and wait until it ended; raises LinkError.

        After an error it may have run: ask for the same event again.
        """
        connection = self._connected()
        async with connection.ask(make) as responses:
            while True:
                match await _next(responses):
                    case Started() as started:
                        on_start(started)
                    case Finished() | Denied() as result:
                        return result
                    case response:
                        name = type(response).__name__
                        connection.end(f"the executor answers a run with {name}")

    async def fetch_output(self, run: str, write: Callable[[bytes], None]) -> Denied | None:
        """Write everything that was recorded of a run, or return why it can't be had.

        Raises LinkError, and what ``write`` raises.
        """
        offset = 0
        while True:
            chunk = await self.ask(_fetch(run, offset), Chunk)
            if isinstance(chunk, Denied):
                return chunk
            if chunk.offset != offset or not (chunk.data or chunk.last):
                self._connected().end("the executor sends recorded output out of order")
            write(chunk.data)
            offset += len(chunk.data)
            if chunk.last:
                return None

    def _connected(self) -> _Connection:
        if self._connection is None:
            raise self.failure.with_traceback(None)  # or it would hold all who ever asked
        return self._connection

    async def _serve(self) -> None:
        """Go through the life of one connection; raises LinkError at its end."""
        self._lasted = False
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise self._unreachable(error) from None
        try:
            self._check_owner(writer)
            await self._converse(reader, writer)
        finally:
            writer.close()
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await writer.wait_closed()
            except OSError:  # of which a timeout is one; what wasn't read is asked again
                writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sealer = Sealer(self._identity, Purpose.REQUEST, REQUESTS)
        opener = Opener(self._key, Purpose.RESPONSE, RESPONSES)
        frames = _frames(reader)
        welcome = await self._greet(frames, writer, sealer, opener)
        connection = self._connection = _Connection(writer, sealer, welcome, self.announcements)
        self.screen = Size(rows=welcome.rows, columns=welcome.columns)
        self._lasted = True
        self._up.set()
        log.info("connected to the executor of %s, %d records", welcome.host, welcome.records)
        try:
            async for data in frames:
                connection.deliver(_open(opener, data))
            if connection.fault:
                raise WrongExecutorError(connection.fault)
            raise LinkDownError(f"the executor closed its socket {self._path}")
        except LinkError as error:
            self.failure = error
            raise
        finally:
            self._up.clear()
            self._connection = None
            connection.fail(LinkDownError("the connection to the executor ended"))

    async def _greet(
        self,
        frames: AsyncIterator[bytes],
        writer: asyncio.StreamWriter,
        sealer: Sealer[Request],
        opener: Opener[Response],
    ) -> Welcome:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                challenge = await self._expect(
                    frames,
                    opener,
                    Challenge,
                    # systemd accepts for one that ends before it can say why.
                    "does it start (systemctl status tibet-nc-executor), and does it admit uid "
                    f"{os.geteuid()}?",
                )
                if challenge.protocol != PROTOCOL_VERSION:
                    raise WrongExecutorError(
                        f"the executor speaks protocol {challenge.protocol}, "
                        f"this agent {PROTOCOL_VERSION}: upgrade the older one"
                    )
                sealer.connection = opener.connection = challenge.connection
                hello = Hello(
                    protocol=PROTOCOL_VERSION,
                    version=VERSION,
                    connection=challenge.connection,
                )
                writer.write(frame(sealer.seal(hello)))
                return await self._expect(
                    frames,
                    opener,
                    Welcome,
                    "is this agent enrolled? "
                    f"tibet-nc-executor enrol-agent {self._identity.public_key.hex}",
                )
        except TimeoutError:
            raise LinkDownError(
                f"the executor's socket {self._path} does not answer: is tibet-nc-executor running?"
            ) from None

    async def _expect[R: Response](
        self, frames: AsyncIterator[bytes], opener: Opener[Response], kind: type[R], question: str
    ) -> R:
        async for data in frames:
            message = _open(opener, data)
            if isinstance(message, kind):
                return message
            if isinstance(message, Failure):
                raise WrongExecutorError(f"the executor refuses: {message.reason}; {question}")
            raise WrongExecutorError(f"the executor greets with {type(message).__name__}")
        raise WrongExecutorError(f"the executor hangs up on {self._path}: {question}")

    def _check_owner(self, writer: asyncio.StreamWriter) -> None:
        uid = peer_uid(writer.get_extra_info("socket"))
        if self._uid is not None and uid not in {self._uid, _ROOT}:
            raise WrongExecutorError(
                f"the executor's socket {self._path} is owned by uid {uid}, "
                f"expected {self._uid} (executor.user)"
            )

    def _unreachable(self, error: OSError) -> LinkError:
        name = f"the executor's socket {self._path}"
        match error:
            case FileNotFoundError():
                return LinkDownError(f"{name} is not there: is tibet-nc-executor running?")
            case ConnectionRefusedError():
                return LinkDownError(f"{name} does not answer: is tibet-nc-executor running?")
            case PermissionError():
                return LinkDownError(f"{name} may not be used by uid {os.geteuid()}")
            case _:
                return LinkDownError(f"{name}: {error.strerror or type(error).__name__}")


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the frames until the end of the stream; raises LinkError for a broken one."""
    cutter = FrameReader()
    try:
        while data := await reader.read(_READ_BYTES):
            for payload in cutter.feed(data):
                yield payload
    except OSError as error:
        raise LinkDownError(f"the executor's connection broke: {error.strerror}") from None
    except PeerError as error:
        raise WrongExecutorError(f"the executor breaks the protocol: {error}") from None
    if cutter.pending:
        raise LinkDownError("the executor's connection ended in the middle of a message")


def _open(opener: Opener[Response], data: bytes) -> Response:
    try:
        return opener.open(data)
    except SignatureError:
        raise WrongExecutorError(
            "the peer at the executor's socket doesn't sign with the enrolled key: "
            "is executor.key_file this executor's?"
        ) from None
    except PeerError as error:
        raise WrongExecutorError(f"the executor breaks the protocol: {error}") from None


async def _next(responses: asyncio.Queue[Response | LinkError]) -> Response:
    response = await responses.get()
    if isinstance(response, LinkError):
        raise response
    return response


def _fetch(run: str, offset: int) -> Callable[[int], Request]:
    return lambda request: Fetch(request=request, run=run, offset=offset)
