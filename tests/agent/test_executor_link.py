# SPDX-License-Identifier: MIT
"""The link to the executor, over a real Unix socket with real signatures."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from tests.agent.executor import WELCOME, Peer, listening
from tests.agent.link import RUN_ID, SECONDS, finished, jobs, link_to, run, running, started
from tibet_nc_agent import VERSION
from tibet_nc_agent.link_error import LinkDownError, WrongExecutorError
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.messages import (
    Announcement,
    Chunk,
    Denied,
    Fetch,
    Hello,
    Jobs,
    JobsReport,
    Run,
)
from tibet_nc_protocol.terms import DenialCode


async def test_handshake(socket_path: Path) -> None:
    """The agent speaks only after the challenge, and names protocol, version and connection."""
    hellos: list[Hello] = []

    async def script(peer: Peer) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                assert await peer.reader.read(1) == b"something came too early"
        hellos.append(await peer.greet())
        await peer.receive()

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        assert await link.wait_up() == WELCOME
        assert link.welcome == WELCOME
        assert (hellos[0].version, hellos[0].connection) == (VERSION, "c" * 32)


async def test_many_requests_at_once(socket_path: Path) -> None:
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

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        seen: list[int] = []
        results = await asyncio.gather(
            *(link.execute(run(f"${n}"), lambda s: seen.append(s.request)) for n in range(50))
        )
        reasons = [result.reason for result in results if isinstance(result, Denied)]
        assert reasons == [f"${number}" for number in range(50)]
        assert sorted(seen) == list(range(1, 51))


async def test_answers_byte_by_byte(socket_path: Path) -> None:
    """However the stream arrives in pieces, the answer is the same."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        for byte in frame(peer.sealer.seal(finished(1))):
            peer.writer.write(bytes([byte]))
            await peer.writer.drain()
            await asyncio.sleep(0)
        await peer.receive()

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        assert await link.execute(run(), lambda _: None) == finished(1)


async def test_cancelled_request_does_not_break_the_link(socket_path: Path) -> None:
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

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        waiting = asyncio.create_task(link.ask(jobs, JobsReport))
        await asked.wait()
        waiting.cancel()
        assert await link.ask(jobs, JobsReport) == JobsReport(request=2, jobs=())
        assert link.welcome == WELCOME


async def test_executor_that_reads_nothing(socket_path: Path) -> None:
    """One that hangs, with more waiting than its socket holds, keeps no agent from ending."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.greet()
        await gone.wait()

    async with listening(socket_path, script):
        link = link_to(socket_path)
        serving = asyncio.create_task(link.run())
        await link.wait_up()
        asking = [
            asyncio.create_task(link.execute(run(f"${number}"), lambda _: None))
            for number in range(5_000)
        ]
        await asyncio.sleep(0)
        serving.cancel()
        ended, _ = await asyncio.wait([serving], timeout=SECONDS)
        gone.set()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert ended == {serving}
        assert {type(result) for result in results} == {LinkDownError}


async def test_checkpoint_in_between(socket_path: Path) -> None:
    """A checkpoint that nobody asked for is kept apart, and answers nothing."""
    checkpoint = Announcement(size=3, root="0" * 64, note="example.org/web1\n3\n")

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        await peer.send(checkpoint)
        await peer.send(JobsReport(request=1, jobs=()))
        await peer.receive()

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        assert await link.ask(jobs, JobsReport) == JobsReport(request=1, jobs=())
        assert link.announcements.get_nowait() == checkpoint


async def test_fetch_output(socket_path: Path) -> None:
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

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        written = bytearray()
        assert await link.fetch_output(RUN_ID, written.extend) is None
        assert bytes(written) == output


@pytest.mark.parametrize(("offset", "data"), [(7, b"x"), (0, b"")])
async def test_fetch_out_of_order(offset: int, data: bytes, socket_path: Path) -> None:
    """Output from another offset, or a piece that leads nowhere, is refused: no endless loop."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        await peer.send(Chunk(request=1, offset=offset, data=data, last=False))
        await peer.receive()

    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        with pytest.raises(WrongExecutorError, match="out of order"):
            await link.fetch_output(RUN_ID, bytearray().extend)
