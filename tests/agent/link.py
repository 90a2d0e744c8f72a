# SPDX-License-Identifier: MIT
"""A link to the executor of these tests, what is asked over it, and what comes back."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from tests.agent.executor import AGENT, EXECUTOR, Peer
from tibet_nc_agent.executor_link import ExecutorLink
from tibet_nc_agent.link_error import LinkError
from tibet_nc_protocol.messages import Finished, Jobs, JobsReport, Run, Started
from tibet_nc_protocol.terms import Reason

SECONDS = 20.0
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
    return ExecutorLink(path, identity=AGENT, key=EXECUTOR.public_key, uid=uid)


@contextlib.asynccontextmanager
async def running(link: ExecutorLink) -> AsyncGenerator[ExecutorLink]:
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


async def answer_jobs(peer: Peer) -> None:
    """Greet, then answer every request with an empty report."""
    await peer.greet()
    while True:
        request = await peer.receive()
        assert isinstance(request, Jobs)
        await peer.send(JobsReport(request=request.request, jobs=()))
