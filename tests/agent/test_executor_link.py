# SPDX-License-Identifier: MIT
"""The link to the executor, over a real Unix socket with real signatures."""

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.executor import AGENT, EXECUTOR, OTHER, WELCOME, Peer, Script, listening
from tibet_nc_agent.executor_link import ExecutorLink
from tibet_nc_agent.link_error import LinkDownError, LinkError, WrongExecutorError
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.messages import (
    Announcement,
    ChainTail,
    Chunk,
    Denied,
    Failure,
    Fetch,
    Finished,
    Jobs,
    JobsReport,
    Recorded,
    Run,
    Started,
)
from tibet_nc_protocol.terms import DenialCode, Reason

SECONDS = 20.0
NOBODY = 65534
RUN_ID = "1" * 32


def run(event: str = "$event") -> Callable[[int], Run]:
    """Return what makes a request to run a command."""
    return lambda request: Run(
        request=request,
        room="!room",
        event=event,
        sender="@op:example.org",
        device="DEVICE",
        ciphertext="0" * 64,
        sent_ms=1,
        command="uptime",
    )


def jobs(request: int) -> Jobs:
    """Make a request for a report."""
    return Jobs(request=request)


def finished(request: int) -> Finished:
    """Return the result of a command."""
    return Finished(
        request=request,
        run=RUN_ID,
        number=1,
        outcome=2,
        head="0" * 64,
        exit=0,
        signal=None,
        reason=Reason.EXITED,
        duration_ms=1,
        output_bytes=0,
        output_sha256="0" * 64,
        recorded_bytes=0,
        output=b"",
        leftover=0,
        token="",
        notes=(),
        repeated=False,
    )


def started(request: int) -> Started:
    """Return the news that a command has started."""
    return Started(request=request, run=RUN_ID, number=1, head="0" * 64)


def link_to(path: Path, *, uid: int | None = None) -> ExecutorLink:
    """Return a link that isn't open yet."""
    return ExecutorLink(path, identity=AGENT, key=EXECUTOR.public_key, uid=uid, version="1.0")


@contextlib.asynccontextmanager
async def running(link: ExecutorLink) -> AsyncIterator[ExecutorLink]:
    """Keep a link open during a block."""
    task = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(SECONDS):
            yield link
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def failure_of(link: ExecutorLink, text: str) -> LinkError:
    """Wait until the link has failed with a text in its reason."""
    while text not in str(link.failure):  # noqa: ASYNC110 - the link tells nobody by itself
        await asyncio.sleep(0.01)
    return link.failure


@contextlib.contextmanager
def unprivileged(directory: Path) -> Iterator[int]:
    """Act as a user without privilege, who owns a directory; yields that user's uid."""
    if os.getuid() != 0:
        yield os.getuid()
        return
    os.chown(directory, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield NOBODY
    finally:
        os.seteuid(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the socket."""
    return tmp_path / "executor.sock"


async def answer_jobs(peer: Peer) -> None:
    """Greet, then answer every request with an empty report."""
    await peer.greet()
    while True:
        request = await peer.receive()
        assert isinstance(request, Jobs)
        await peer.send(JobsReport(request=request.request, jobs=()))


# --- the life of a good connection --------------------------------------------------------------


async def test_handshake(path: Path) -> None:
    """The agent speaks only after the challenge, and names protocol, version and connection."""
    hellos = []

    async def script(peer: Peer) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                assert await peer.reader.read(1) == b"something came too early"
        hellos.append(await peer.greet())
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        assert await link.wait_up() == WELCOME
        assert link.welcome == WELCOME
        assert (hellos[0].version, hellos[0].connection) == ("1.0", "c" * 32)


async def test_many_requests_at_once(path: Path) -> None:
    """Answers find their requests in whatever order they come."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        requests = [await peer.receive() for _ in range(50)]
        for request in reversed(requests):
            assert isinstance(request, Run)
            await peer.send(started(request.request))
        for request in requests[::2] + requests[1::2]:
            assert isinstance(request, Run)
            denial = Denied(
                request=request.request,
                code=DenialCode.BUSY,
                reason=request.event,
                number=None,
            )
            await peer.send(denial)
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        seen: list[int] = []
        results = await asyncio.gather(
            *(link.execute(run(f"${n}"), lambda s: seen.append(s.request)) for n in range(50))
        )
        reasons = [result.reason for result in results if isinstance(result, Denied)]
        assert reasons == [f"${number}" for number in range(50)]
        assert sorted(seen) == list(range(1, 51))


async def test_answers_byte_by_byte(path: Path) -> None:
    """However the stream arrives in pieces, the answer is the same."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        for byte in frame(peer.sealer.seal(finished(1))):
            peer.writer.write(bytes([byte]))
            await peer.writer.drain()
            await asyncio.sleep(0)
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        assert await link.execute(run(), lambda _: None) == finished(1)


async def test_cancelled_request_does_not_break_the_link(path: Path) -> None:
    """An answer that nobody waits for any more is dropped, and the link goes on."""
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        first = await peer.receive()
        asked.set()
        second = await peer.receive()
        for request in (first, second):
            assert isinstance(request, Jobs)
            await peer.send(JobsReport(request=request.request, jobs=()))
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        waiting = asyncio.create_task(link.ask(jobs, JobsReport))
        await asked.wait()
        waiting.cancel()
        assert await link.ask(jobs, JobsReport) == JobsReport(request=2, jobs=())
        assert link.welcome == WELCOME


async def test_checkpoint_in_between(path: Path) -> None:
    """A checkpoint that nobody asked for is kept apart, and answers nothing."""
    checkpoint = Announcement(size=3, root="0" * 64, note="example.org/web1\n3\n")

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        await peer.send(checkpoint)
        await peer.send(JobsReport(request=1, jobs=()))
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        assert await link.ask(jobs, JobsReport) == JobsReport(request=1, jobs=())
        assert link.announcements.get_nowait() == checkpoint


async def test_fetch_output(path: Path) -> None:
    """All recorded output is fetched from where the last piece ended, until the last one."""
    output = os.urandom(150_000)

    async def script(peer: Peer) -> None:
        await peer.greet()
        while True:
            request = await peer.receive()
            assert isinstance(request, Fetch)
            assert request.run == RUN_ID
            data = output[request.offset : request.offset + 65_536]
            last = request.offset + len(data) == len(output)
            await peer.send(
                Chunk(request=request.request, offset=request.offset, data=data, last=last)
            )

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        written = bytearray()
        assert await link.fetch_output(RUN_ID, written.extend) is None
        assert bytes(written) == output


@pytest.mark.parametrize(("offset", "data"), [(7, b"x"), (0, b"")])
async def test_fetch_out_of_order(offset: int, data: bytes, path: Path) -> None:
    """Output from another offset, or a piece that leads nowhere, is refused: no endless loop."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        await peer.send(Chunk(request=1, offset=offset, data=data, last=False))
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        with pytest.raises(WrongExecutorError, match="out of order"):
            await link.fetch_output(RUN_ID, bytearray().extend)


# --- connections that end -----------------------------------------------------------------------


async def test_open_requests_fail_and_can_be_asked_again(path: Path) -> None:
    """When the executor goes away every open request fails, and can be asked again (I3)."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        request = await peer.receive()
        assert isinstance(request, Run)
        if len(peers) == 1:
            await peer.send(started(request.request))
            return  # killed in the middle
        await peer.send(finished(request.request))
        await peer.receive()

    async with listening(path, script) as peers, running(link_to(path)) as link:
        await link.wait_up()
        with pytest.raises(LinkDownError):
            await link.execute(run(), lambda _: None)
        assert link.welcome is None
        await link.wait_up()
        assert await link.execute(run(), lambda _: None) == finished(1)
        assert len(peers) == 2


async def test_asking_while_down_says_why(path: Path) -> None:
    """Who asks while nobody answers is told the reason at once."""
    async with running(link_to(path)) as link:
        await failure_of(link, "is not there: is tibet-nc-executor running?")
        with pytest.raises(LinkDownError, match=r"is not there: is tibet-nc-executor running\?"):
            await link.ask(jobs, JobsReport)


async def test_executor_that_comes_later(path: Path) -> None:
    """The link comes up by itself when the executor does."""
    async with running(link_to(path)) as link:
        await failure_of(link, "is not there")
        async with listening(path, answer_jobs):
            await link.wait_up()
            assert await link.ask(jobs, JobsReport) == JobsReport(request=1, jobs=())


async def test_nobody_listens(path: Path) -> None:
    """A socket without a listener is told as such."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with running(link_to(path)) as link:
        await failure_of(link, f"{path} does not answer: is tibet-nc-executor running?")


async def test_socket_that_may_not_be_used() -> None:
    """A socket that this user may not use is told with the user's uid."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "executor.sock"
        async with listening(path, answer_jobs):
            path.chmod(0)
            with unprivileged(Path(directory)) as uid:
                async with running(link_to(path)) as link:
                    await failure_of(link, f"may not be used by uid {uid}")


# --- peers that are not what they should be -----------------------------------------------------


async def test_socket_of_another_user() -> None:
    """A socket that belongs to neither the executor's user nor root is told nothing (I2)."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        first = b""
        with contextlib.suppress(ConnectionError):  # what we say isn't even read
            await peer.challenge()
            first = await peer.reader.read(1)
        heard.put_nowait(first)

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "executor.sock"
        with unprivileged(Path(directory)) as uid:
            server = listening(path, script)
            await server.__aenter__()
        try:
            async with running(link_to(path, uid=uid + 1)) as link:
                await failure_of(
                    link, f"{path} is owned by uid {uid}, expected {uid + 1} (executor.user)"
                )
                assert await heard.get() == b""
            async with running(link_to(path, uid=uid)) as link:
                while not await heard.get():
                    pass
        finally:
            await server.__aexit__(None, None, None)


async def send_unsigned(peer: Peer) -> None:
    """Send a frame that is no envelope."""
    peer.writer.write(frame(b"\x81\xa4type\xa9challenge"))
    await peer.receive()


async def send_oversized(peer: Peer) -> None:
    """Announce a frame that is too long."""
    peer.writer.write(b"\xff\xff\xff\xff")
    await peer.receive()


async def send_half(peer: Peer) -> None:
    """End in the middle of a frame."""
    peer.writer.write(b"\x00\x00\x00\x09half")
    await peer.writer.drain()


async def speak_another_protocol(peer: Peer) -> None:
    """Challenge in a version that doesn't exist."""
    await peer.challenge(protocol=99)
    await peer.receive()


async def hang_up(_: Peer) -> None:
    """Close at once, as for a uid that isn't admitted."""


async def hang_up_on_hello(peer: Peer) -> None:
    """Close after the hello."""
    await peer.challenge()
    await peer.receive()


async def refuse_hello(peer: Peer) -> None:
    """Refuse the hello, as for a key that isn't enrolled."""
    await peer.challenge()
    await peer.receive()
    await peer.send(Failure(reason="request 0 is not signed by the enrolled key"))


async def greet_with_a_report(peer: Peer) -> None:
    """Answer a request that was never made, instead of a welcome."""
    await peer.challenge()
    await peer.receive()
    await peer.send(JobsReport(request=1, jobs=()))


async def replay(peer: Peer) -> None:
    """Send the same signed bytes twice."""
    await peer.challenge()
    await peer.receive()
    data = frame(peer.sealer.seal(WELCOME))
    peer.writer.write(data + data)
    await peer.receive()


async def answer_unasked(peer: Peer) -> None:
    """Answer a request of the future."""
    await peer.greet()
    await peer.send(JobsReport(request=7, jobs=()))
    await peer.receive()


async def greet_twice(peer: Peer) -> None:
    """Welcome a second time."""
    await peer.greet()
    await peer.send(WELCOME)
    await peer.receive()


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (send_unsigned, "breaks the protocol"),
        (send_oversized, "breaks the protocol: a frame of 4294967295 bytes"),
        (send_half, "ended in the middle of a message"),
        (speak_another_protocol, "speaks protocol 99, this agent 1: upgrade the older one"),
        (hang_up, f"hangs up on {{path}}: does it admit uid {os.getuid()}?"),
        (hang_up_on_hello, "tibet-nc-executor enrol-agent " + AGENT.public_key.hex),
        (refuse_hello, "not signed by the enrolled key; is this agent enrolled?"),
        (greet_with_a_report, "greets with JobsReport"),
        (replay, "doesn't sign with the enrolled key"),
        (answer_unasked, "answers a request that was never made"),
        (greet_twice, "greets a second time"),
    ],
)
async def test_faulty_peers(script: Script, text: str, path: Path) -> None:
    """Each fault of a peer ends the connection with one line that says which it was."""
    async with listening(path, script), running(link_to(path)) as link:
        error = await failure_of(link, text.format(path=path))
        assert "\n" not in str(error)
        assert link.welcome is None or script in {answer_unasked, greet_twice, replay}


async def test_another_identity(path: Path) -> None:
    """Who can't sign with the enrolled key is not told anything (I5)."""
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.challenge()
        assert await peer.reader.read() == b""
        heard.set()

    async with listening(path, script, identity=OTHER), running(link_to(path)) as link:
        await failure_of(link, "doesn't sign with the enrolled key: is executor.key_file this")
        await heard.wait()


async def test_wrong_kind_of_answer(path: Path) -> None:
    """An answer of another kind than was asked for is not taken for one."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        for request in (1, 2):
            await peer.receive()
            await peer.send(Recorded(request=request, number=1, head="0" * 64))
        await peer.receive()

    async with listening(path, script), running(link_to(path)) as link:
        await link.wait_up()
        with pytest.raises(WrongExecutorError, match="answers with Recorded"):
            await link.ask(lambda number: ChainTail(request=number, limit=1), JobsReport)
        with pytest.raises(WrongExecutorError, match="answers a run with Recorded"):
            await link.execute(run(), lambda _: None)


async def test_failures_are_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A failure that stays the same is one line in the log, however often it is met."""
    caplog.set_level("WARNING")
    third = asyncio.Event()

    async def script(_: Peer) -> None:
        if len(peers) == 3:
            third.set()

    async with listening(path, script) as peers, running(link_to(path)):
        await third.wait()
    assert [record.message for record in caplog.records] == [
        f"the executor hangs up on {path}: does it admit uid {os.geteuid()}?"
    ]
