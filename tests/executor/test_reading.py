# SPDX-License-Identifier: MIT
"""Recorded output in pieces: of what has ended, on and on, and from few files at once."""

import os

import pytest

from tests.executor.exchange import run
from tests.executor.rig import ROOM, UNRESTRICTED, Client, Executor
from tibet_nc_executor.office import READERS
from tibet_nc_protocol.layout import RECORDINGS, recording_name
from tibet_nc_protocol.limits import CHUNK_BYTES
from tibet_nc_protocol.messages import Chunk, Denied, Fetch, Finished, Started
from tibet_nc_protocol.terms import DenialCode, run_id

pytestmark = pytest.mark.executor(shell=UNRESTRICTED)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to look into the executor")
async def test_readers_that_nobody_asks_again_are_closed(
    executor: Executor, client: Client
) -> None:
    """Of outputs that were read in part so many are held open and no more; each is read on."""
    text = f"head -c {2 * CHUNK_BYTES} /dev/zero | tr '\\0' x"
    runs = [(await run(client, text)).run for _ in range(READERS + 4)]

    async def piece(name: str, offset: int) -> Chunk:
        await client.send(Fetch(request=client.number(), run=name, offset=offset))
        while not isinstance(chunk := await client.receive(), Chunk):
            pass
        return chunk

    for name in runs:
        chunk = await piece(name, 0)
        assert (len(chunk.data), chunk.last) == (CHUNK_BYTES, False)
    assert executor.recordings_open() == READERS
    for name in runs:
        chunk = await piece(name, CHUNK_BYTES)
        assert (len(chunk.data), chunk.last) == (CHUNK_BYTES, True)
    assert executor.recordings_open() == 0


async def test_what_has_not_ended_can_not_be_read(executor: Executor, client: Client) -> None:
    """Output of a command that runs, never ran or was aborted is denied, and others go on."""
    await client.send(client.request("sleep 4769", event="$runs"))
    assert isinstance(await client.receive(), Started)
    name = run_id(ROOM, "$runs")

    async def refused(asking: Client, run: str) -> str:
        await asking.send(Fetch(request=asking.number(), run=run, offset=0))
        denied = await asking.receive()
        assert isinstance(denied, Denied)
        assert denied.code is DenialCode.UNKNOWN
        return denied.reason

    expected = "no finished command has this id"
    assert [await refused(client, run) for run in (name, "0" * 32)] == [expected] * 2
    executor.kill()
    executor.start()
    back = await Client.connect(executor)
    assert await refused(back, name) == expected
    await back.close()


@pytest.mark.parametrize("damage", [b"junk\n", b"\xff\n"])
async def test_a_damaged_recording_is_said_to_be(
    executor: Executor, client: Client, damage: bytes
) -> None:
    """What can't be read of a recording is denied with the reason, and others go on."""
    damaged = await run(client, "echo one")
    path = executor.state / RECORDINGS / recording_name(damaged.number)
    path.write_bytes(damage)
    await client.send(Fetch(request=client.number(), run=damaged.run, offset=0))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.reason.startswith("the recording can't be read: ")
    assert (await run(client, "echo two")).output == b"two\n"


@pytest.mark.parametrize("left", [-4, 0, None], ids=["its end", "all of it", "the file"])
async def test_an_event_whose_recording_lacks_something_has_its_result(
    executor: Executor, client: Client, left: int | None
) -> None:
    """Asked for again, it is told with what can be read, and that not all can be (I3, I12)."""
    first = await client.run("echo one", "$event")
    assert isinstance(first, Finished)
    path = executor.state / RECORDINGS / recording_name(first.number)
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:left])
    again = await client.run("echo one", "$event")
    assert isinstance(again, Finished)
    assert (again.repeated, again.head, again.output_sha256) == (
        True,
        first.head,
        first.output_sha256,
    )
    assert again.output == (b"one\n" if left else b"")
    assert again.notes == ("the recording can't be read any more",)
