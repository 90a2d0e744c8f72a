# SPDX-License-Identifier: MIT
"""One request to an executor and its answer, in one call."""

from tests.executor.rig import OPERATOR, ROOM, Client
from tibet_nc_protocol.messages import Control, Done, Finished, Job, Jobs, JobsReport
from tibet_nc_protocol.terms import Signal


async def run(client: Client, command: str) -> Finished:
    """Run a command that is not denied."""
    finished = await client.run(command)
    assert isinstance(finished, Finished), finished
    return finished


async def jobs(client: Client) -> tuple[Job, ...]:
    """Ask what runs."""
    await client.send(Jobs(request=client.number()))
    report = await client.receive()
    assert isinstance(report, JobsReport)
    return report.jobs


async def control(client: Client, number: int, signal: Signal) -> None:
    """Signal a command."""
    await client.send(
        Control(request=client.number(), room=ROOM, sender=OPERATOR, number=number, signal=signal)
    )
    assert isinstance(await client.receive(), Done)
