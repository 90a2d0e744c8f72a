# SPDX-License-Identifier: MIT
"""However much a command prints, the executor's memory stays bounded and others are answered."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from tests.executor.injection import injected
from tests.executor.rig import OPERATOR, OTHER_OPERATOR, ROOM, Client, Executor
from tests.executor.shell.driver import until
from tibet_nc_protocol.layout import RECORDINGS, recording_name
from tibet_nc_protocol.messages import (
    Control,
    Denied,
    Done,
    Finished,
    Jobs,
    JobsReport,
    Started,
    Tail,
    TailReport,
)
from tibet_nc_protocol.terms import DenialCode, Signal

MIB = 1 << 20
PRINTED = 160 * MIB
GROWTH = 16 * MIB  # buffers of the terminal and the recording; a tenth of what is printed

# All that is printed here is recorded.
pytestmark = pytest.mark.executor(settings=f"[audit]\nrecording_bytes = {2 * PRINTED}\n")


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
    await client.send(client.request(f"yes | head -c {PRINTED}"))
    while not isinstance(finished := await client.receive(), Finished):
        await asyncio.sleep(0.1)  # asked now and then: on a slow machine it takes a minute
        await client.send(Jobs(request=client.number()))
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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_recording_on_its_way_to_a_slow_disk_holds_up_nobody(
    executor: Executor, client: Client
) -> None:
    """Another session's command is answered first, while a recording is still being synced."""
    first = await client.run("true")
    assert isinstance(first, Finished)
    recording = executor.state / RECORDINGS / recording_name(first.number + 2)
    with injected(executor, "fdatasync:delay_enter=8s", [recording]):
        await client.send(client.request("seq 1 200000"))
        started = await client.receive()
        assert isinstance(started, Started)
        assert recording.name == recording_name(started.number)
        await until(lambda: recording.exists() and b',"x","0"]' in recording.read_bytes())
        await client.send(client.request("true", sender=OTHER_OPERATOR))
        assert isinstance(await client.receive(), Started)
        finished = [await client.receive() for _ in range(2)]
    of_the_first = [
        isinstance(each, Finished) and each.number == started.number for each in finished
    ]
    assert of_the_first == [False, True]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_recording_that_may_not_be_on_the_disk_has_no_outcome(
    executor: Executor, client: Client
) -> None:
    """A sync that failed while the command still ran counts, though the last one went well (I1)."""
    first = await client.run("true")
    assert isinstance(first, Finished)
    recording = executor.state / RECORDINGS / recording_name(first.number + 2)
    mended = executor.directory / "mended"
    with injected(executor, "fdatasync:error=EIO", [recording]) as trace:
        waits = f"until [ -e {mended} ]; do sleep 0.1; done"
        await client.send(client.request(f"seq 1 1300000; {waits}"))
        assert isinstance(await client.receive(), Started)
        await until(lambda: "INJECTED" in trace.read_text())
    mended.touch()
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.UNRECORDED
    assert "Input/output error" in denied.reason
