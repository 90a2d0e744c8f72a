# SPDX-License-Identifier: MIT
"""However much a command prints, the executor's memory stays bounded and others are answered."""

import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.executor.rig import OPERATOR, OTHER_OPERATOR, ROOM, Client, Executor
from tibet_nc_protocol.messages import (
    Control,
    Done,
    Finished,
    Jobs,
    JobsReport,
    Started,
    Tail,
    TailReport,
)
from tibet_nc_protocol.terms import Signal

MIB = 1 << 20
PRINTED = 160 * MIB
GROWTH = 16 * MIB  # buffers of the terminal and the recording; a tenth of what is printed


@pytest.fixture
def executor() -> Iterator[Executor]:
    """Start an executor that records all that is printed here."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        place = Path(name)
        place.chmod(0o755)
        settings = f"[audit]\nrecording_bytes = {2 * PRINTED}\n"
        with Executor(place, settings=settings) as running:
            yield running


@pytest_asyncio.fixture
async def client(executor: Executor) -> AsyncIterator[Client]:
    """Connect to it."""
    connected = await Client.connect(executor)
    yield connected
    await connected.close()


def memory(executor: Executor, name: str) -> int:
    """Return a figure of the executor's memory, as the kernel counts it, in bytes."""
    status = Path(f"/proc/{executor.pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def test_memory_stays_bounded(executor: Executor, client: Client) -> None:
    """The peak of the executor's memory doesn't grow with what a command prints."""
    await client.run("seq 1 100000")
    before = memory(executor, "VmHWM")
    finished = await client.run(f"yes | head -c {PRINTED}")
    assert isinstance(finished, Finished)
    assert finished.output_bytes == finished.recorded_bytes == PRINTED
    assert memory(executor, "VmHWM") - before < GROWTH


async def test_a_flood_slows_only_itself(executor: Executor, client: Client) -> None:
    """While one session prints without end another one's commands run, in order and exact."""
    await client.send(client.request("yes"))
    flood = await client.receive()
    assert isinstance(flood, Started)
    before = memory(executor, "VmRSS")
    for number in range(10):
        request = client.request(f"echo {number}", sender=OTHER_OPERATOR)
        await client.send(request)
        assert isinstance(await client.receive(), Started)
        finished = await client.receive()
        assert isinstance(finished, Finished)
        assert finished.output == b"%d\n" % number
    await client.send(Jobs(request=client.number()))
    report = await client.receive()
    assert isinstance(report, JobsReport)
    assert [job.number for job in report.jobs] == [flood.number]
    await client.send(Tail(request=client.number(), number=flood.number))
    tail = await client.receive()
    assert isinstance(tail, TailReport)
    assert tail.output_bytes > 0
    assert memory(executor, "VmRSS") - before < GROWTH
    kill = Control(
        request=client.number(),
        room=ROOM,
        sender=OPERATOR,
        number=flood.number,
        signal=Signal.KILL,
    )
    await client.send(kill)
    answers = [await client.receive(), await client.receive()]
    assert {type(answer) for answer in answers} == {Done, Finished}
