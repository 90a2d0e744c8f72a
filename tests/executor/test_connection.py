# SPDX-License-Identifier: MIT
"""What ends a connection: another uid, another key, a bad frame, a request out of turn (I2, I5)."""

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.executor.rig import (
    AGENT,
    OPERATOR,
    ROOM,
    Client,
    Connect,
    Executor,
    raw_socket,
    security,
)
from tests.executor.shell.driver import until
from tests.kernels import TAKES_NO_FILES
from tests.separation import FOREIGN_UID, as_agent
from tibet_nc_executor.connection import REQUESTS_AT_ONCE
from tibet_nc_executor.server import CONNECTIONS, FOREIGN_RECORDS
from tibet_nc_protocol.envelope import Opener
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.framing import FrameReader, frame
from tibet_nc_protocol.limits import FRAME_BYTES
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Challenge,
    Failure,
    Finished,
    Hello,
    Started,
    Status,
    StatusReport,
)
from tibet_nc_protocol.records import SecurityEvent
from tibet_nc_protocol.signing import Purpose


async def test_a_frame_that_is_not_signed_by_the_agent_ends_the_connection(
    executor: Executor,
    connect: Connect,
) -> None:
    """An unsigned or foreign message is recorded, answered with a failure, and nothing else."""
    client = await connect(executor)
    data = bytearray(client.sealer.seal(client.request("true")))
    data[-1] ^= 1
    await client.send_raw(frame(bytes(data)))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not signed" in failure.reason
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\0", (FRAME_BYTES + 1).to_bytes(4), b"\xff\xff\xff\xff", frame(b"hello"), b"\0\0"],
    ids=["empty", "over", "huge", "garbage", "torn"],
)
async def test_a_bad_frame_ends_the_connection_with_a_record(
    executor: Executor, connect: Connect, data: bytes
) -> None:
    """Empty, oversized, torn and meaningless frames: one failure, one record, closed."""
    client = await connect(executor)
    await client.send_raw(data)
    client.writer.write_eof()
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


async def test_a_repeated_frame_ends_the_connection(executor: Executor, connect: Connect) -> None:
    """The very bytes of an earlier request don't verify a second time."""
    client = await connect(executor)
    sealed = frame(client.sealer.seal(client.request("true", "$replayed")))
    await client.send_raw(sealed)
    assert isinstance(await client.receive(), Started)
    assert isinstance(await client.receive(), Finished)
    await client.send_raw(sealed)
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)


async def test_only_so_many_requests_are_under_way(executor: Executor, connect: Connect) -> None:
    """What a peer asks for beyond that waits unread until one of them is answered."""
    client = await connect(executor)
    gate = executor.directory / "gate"
    for _ in range(REQUESTS_AT_ONCE):
        await client.send(client.request(f"until [ -e {gate} ]; do sleep 0.1; done", "$one"))
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    for _ in range(REQUESTS_AT_ONCE):
        assert isinstance(await client.receive(), Started)
    gate.touch()
    assert isinstance(await client.receive(), Finished)
    rest = [await client.receive() for _ in range(REQUESTS_AT_ONCE)]
    assert sum(isinstance(answer, StatusReport) for answer in rest) == 1


async def test_nothing_is_permitted_before_the_hello(executor: Executor) -> None:
    """A request on a connection that was not greeted ends it."""
    reader, writer = await asyncio.open_unix_connection(executor.socket)
    client = Client(reader, writer)
    await asyncio.wait_for(reader.read(65536), 10)
    await client.send(client.request("true"))
    assert await asyncio.wait_for(reader.read(), 10) != b""
    await client.close()
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


async def test_a_second_hello_is_refused(executor: Executor, connect: Connect) -> None:
    """The hello is said once."""
    client = await connect(executor)
    await client.send(Hello(protocol=1, version="x", connection=client.sealer.connection))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not permitted" in failure.reason


@pytest.mark.parametrize(
    ("protocol", "connection", "why"),
    [(2, None, b"the peer speaks protocol 2"), (1, "0" * 32, b"answers another challenge")],
)
async def test_a_hello_of_another_version_or_to_another_challenge_is_refused(
    executor: Executor, protocol: int, connection: str | None, why: bytes
) -> None:
    """Peers speak the same version, on the connection that was made for them."""
    reader, writer = await asyncio.open_unix_connection(executor.socket)
    client = Client(reader, writer)
    (sealed,) = FrameReader().feed(await asyncio.wait_for(reader.read(65536), 10))
    challenge = Opener(executor.key, Purpose.RESPONSE, RESPONSES).open(sealed)
    assert isinstance(challenge, Challenge)
    client.sealer.connection = challenge.connection
    await client.send(
        Hello(protocol=protocol, version="x", connection=connection or client.sealer.connection)
    )
    assert why in await asyncio.wait_for(reader.read(), 10)
    await client.close()
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


async def test_a_message_of_another_connection_does_not_verify(
    executor: Executor, connect: Connect
) -> None:
    """A hello for one connection is worth nothing on another."""
    first = await connect(executor)
    reader, writer = await asyncio.open_unix_connection(executor.socket)
    await asyncio.wait_for(reader.read(65536), 10)
    hello = Hello(protocol=1, version="x", connection=first.sealer.connection)
    writer.write(frame(first.sealer.seal(hello)))
    rest = await asyncio.wait_for(reader.read(), 10)
    assert b"not signed by the enrolled key" in rest
    writer.close()
    await writer.wait_closed()


async def connected_as_another(executor: Executor, times: int = 1) -> tuple[int, bytes]:
    """Connect as another uid, with every file mode open; return exit status and what was heard."""
    executor.socket.parent.chmod(0o755)
    executor.socket.chmod(0o666)
    script = (
        "import contextlib, socket, sys\n"
        "for _ in range(int(sys.argv[2])):\n"
        "    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "    with contextlib.suppress(OSError):\n"
        "        s.sendall(b'x' * 8)\n"
        "        sys.stdout.buffer.write(s.recv(100))\n"
    )
    other = replace(executor.uids, agent=FOREIGN_UID)
    words = [sys.executable, "-I", "-c", script, str(executor.socket), str(times)]
    done = await asyncio.to_thread(
        subprocess.run, [*as_agent(other), *words], capture_output=True, check=False
    )
    assert done.stderr == b""
    return done.returncode, done.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another uid")
async def test_another_uid_is_turned_away_by_the_kernels_word(executor: Executor) -> None:
    """With every file mode open, another uid still gets nothing but a closed socket (I2)."""
    assert await connected_as_another(executor) == (0, b"")
    await until(lambda: bool(security(executor)))
    (record,) = security(executor)
    assert (record.what, record.uid) == (SecurityEvent.PEER, FOREIGN_UID)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another uid")
async def test_others_who_come_again_and_again_do_not_fill_the_chain(
    executor: Executor, connect: Connect
) -> None:
    """So many are recorded one by one; all are turned away, and the agent is served."""
    assert await connected_as_another(executor, FOREIGN_RECORDS + 20) == (0, b"")
    assert isinstance(await (await connect(executor)).run("true"), Finished)
    executor.stop()
    assert len(security(executor)) == FOREIGN_RECORDS


@pytest.mark.skipif(not TAKES_NO_FILES, reason="needs Linux 6.16")
async def test_no_open_file_comes_in(executor: Executor, connect: Connect) -> None:
    """An agent sends none along with its bytes: closing one could take as long as it likes."""
    with raw_socket(executor) as plain, pytest.raises(PermissionError):
        socket.send_fds(plain, [b"\0"], [plain.fileno()])
    assert isinstance(await (await connect(executor)).run("true"), Finished)


async def test_an_agent_that_connects_again_and_again_takes_no_descriptors(
    executor: Executor, connect: Connect
) -> None:
    """Beyond some connections of its uid all are turned away, recorded, and what it has goes on."""
    client = await connect(executor)
    with ExitStack() as held:
        for _ in range(CONNECTIONS - 1):
            assert held.enter_context(raw_socket(executor)).recv(1) != b""
        for _ in range(3):
            with raw_socket(executor) as more:
                assert more.recv(1) == b""
        assert isinstance(await client.run("true"), Finished)
    assert [record.what for record in security(executor)] == [SecurityEvent.PEER] * 3
    assert f"{CONNECTIONS} connections" in security(executor)[0].detail
    await until(lambda: is_served(executor))
    assert isinstance(await client.run("true"), Finished)


def is_served(executor: Executor) -> bool:
    """Say whether who connects now hears anything; who isn't served sees the end of it."""
    with raw_socket(executor) as plain:
        return plain.recv(1) != b""


def test_the_challenge_is_signed_by_the_executor(executor: Executor) -> None:
    """Before it says anything, the agent knows that it speaks to the executor it pinned."""
    with raw_socket(executor) as plain:
        data = plain.recv(65536)
    opener = Opener(AGENT.public_key, Purpose.RESPONSE, REQUESTS)
    with pytest.raises(SignatureError):
        opener.open(data[4:])
