# SPDX-License-Identifier: MIT
"""Peers that are not the executor they should be are told nothing and said to be so (I5)."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.agent.executor import AGENT, OTHER, WELCOME, Peer, Script, listening
from tests.agent.link import failure_of, link_to, run, running
from tibet_nc_agent.link_error import WrongExecutorError
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.messages import ChainTail, Failure, JobsReport, Recorded


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
        (hang_up, "hangs up on {path}: does it start (systemctl status tibet-nc-executor)"),
        (hang_up, f", and does it admit uid {os.getuid()}?"),
        (hang_up_on_hello, "tibet-nc-executor enrol-agent " + AGENT.public_key.hex),
        (refuse_hello, "not signed by the enrolled key; is this agent enrolled?"),
        (greet_with_a_report, "greets with JobsReport"),
        (replay, "doesn't sign with the enrolled key"),
        (answer_unasked, "answers a request that was never made"),
        (greet_twice, "greets a second time"),
    ],
)
async def test_faulty_peers(script: Script, text: str, socket_path: Path) -> None:
    """Each fault of a peer ends the connection with one line that says which it was."""
    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        error = await failure_of(link, text.format(path=socket_path))
        assert "\n" not in str(error)
        assert link.welcome is None or script in {answer_unasked, greet_twice, replay}


async def test_another_identity(socket_path: Path) -> None:
    """Who can't sign with the enrolled key is not told anything (I5)."""
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.challenge()
        assert await peer.reader.read() == b""
        heard.set()

    async with (
        listening(socket_path, script, identity=OTHER),
        running(link_to(socket_path)) as link,
    ):
        await failure_of(link, "doesn't sign with the enrolled key: is executor.key_file this")
        await heard.wait()


async def test_wrong_kind_of_answer(socket_path: Path) -> None:
    """An answer of another kind than was asked for is no answer, and ends the connection."""

    async def script(peer: Peer) -> None:
        await peer.greet()
        await peer.receive()
        await peer.send(Recorded(request=1, number=1, head="0" * 64))
        assert await peer.reader.read() == b""
        ended.put_nowait(peer)

    ended: asyncio.Queue[Peer] = asyncio.Queue()
    async with listening(socket_path, script), running(link_to(socket_path)) as link:
        await link.wait_up()
        with pytest.raises(WrongExecutorError, match="answers with Recorded"):
            await link.ask(lambda number: ChainTail(request=number, limit=1), JobsReport)
        await failure_of(link, "the executor answers with Recorded")
        await ended.get()
        await link.wait_up()
        with pytest.raises(WrongExecutorError, match="answers a run with Recorded"):
            await link.execute(run(), lambda _: None)
        await ended.get()
