# SPDX-License-Identifier: MIT
"""A link whose executor isn't there, goes away, or has a socket that isn't its own (I2, I3)."""

import asyncio
import contextlib
import os
import socket
import tempfile
import traceback
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.acting import NOBODY, acting_as
from tests.agent.executor import Peer, listening
from tests.agent.link import answer_jobs, failure_of, finished, jobs, link_to, run, running, started
from tibet_nc_agent.link_error import LinkDownError
from tibet_nc_protocol.messages import JobsReport, Run


@contextlib.contextmanager
def unprivileged(directory: Path) -> Generator[int]:
    """Act as a user without privilege, who owns a directory; yields that user's uid."""
    if os.getuid() != 0:
        yield os.getuid()
        return
    os.chown(directory, NOBODY, NOBODY)
    with acting_as(NOBODY):
        yield NOBODY


async def test_open_requests_fail_and_can_be_asked_again(socket_path: Path) -> None:
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

    async with listening(socket_path, script) as peers, running(link_to(socket_path)) as link:
        await link.wait_up()
        with pytest.raises(LinkDownError):
            await link.execute(run(), lambda _: None)
        assert link.welcome is None
        await link.wait_up()
        assert await link.execute(run(), lambda _: None) == finished(1)
        assert len(peers) == 2


async def test_asking_while_down_says_why(socket_path: Path) -> None:
    """Who asks while nobody answers is told the reason at once."""
    async with running(link_to(socket_path)) as link:
        await failure_of(link, "is not there: is tibet-nc-executor running?")
        with pytest.raises(LinkDownError, match=r"is not there: is tibet-nc-executor running\?"):
            await link.ask(jobs, JobsReport)


async def test_asking_while_down_leaves_nothing_behind(socket_path: Path) -> None:
    """However often somebody asks in vain, the kept failure holds none of those who asked."""
    async with running(link_to(socket_path)) as link:
        await failure_of(link, "is not there")
        kept: list[int] = []
        for _ in range(3):
            with pytest.raises(LinkDownError) as caught:
                await link.ask(jobs, JobsReport)
            kept.append(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(set(kept)) == 1


async def test_executor_that_comes_later(socket_path: Path) -> None:
    """The link comes up by itself when the executor does."""
    async with running(link_to(socket_path)) as link:
        await failure_of(link, "is not there")
        async with listening(socket_path, answer_jobs):
            await link.wait_up()
            assert await link.ask(jobs, JobsReport) == JobsReport(request=1, jobs=())


async def test_nobody_listens(socket_path: Path) -> None:
    """A socket without a listener is told as such."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    async with running(link_to(socket_path)) as link:
        await failure_of(link, f"{socket_path} does not answer: is tibet-nc-executor running?")


async def test_socket_that_may_not_be_used() -> None:
    """A socket that this user may not use is told with the user's uid."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "executor.sock"
        async with listening(path, answer_jobs):
            path.chmod(0)
            with unprivileged(Path(directory)) as uid:
                async with running(link_to(path)) as link:
                    await failure_of(link, f"may not be used by uid {uid}")


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


async def test_failures_are_logged_once(
    socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure that stays the same is one line in the log, however often it is met."""
    caplog.set_level("WARNING")
    third = asyncio.Event()

    async def script(_: Peer) -> None:
        if len(peers) == 3:
            third.set()

    async with listening(socket_path, script) as peers, running(link_to(socket_path)):
        await third.wait()
    assert [record.message for record in caplog.records] == [
        f"the executor hangs up on {socket_path}: does it start (systemctl status "
        f"tibet-nc-executor), and does it admit uid {os.geteuid()}?"
    ]
