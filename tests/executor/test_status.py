# SPDX-License-Identifier: MIT
"""What the executor says of itself agrees with its chain and its settings."""

import os

import pytest

from tests.executor.rig import OPERATOR, ROOM, Connect, Executor, records
from tibet_nc_protocol.messages import Alert, ChainReport, ChainTail, Recorded, Status, StatusReport

pytestmark = pytest.mark.executor(settings="[audit]\nrecording_bytes = 3000000\n")


async def test_status_and_chain_say_what_is(executor: Executor, connect: Connect) -> None:
    """The reports agree with the chain."""
    client = await connect(executor)
    await client.send(
        Alert(
            request=client.number(),
            what="identity",
            detail="changed",
            room=ROOM,
            event=None,
            sender=OPERATOR,
        )
    )
    assert isinstance(await client.receive(), Recorded)
    await client.run("true")
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    status = await client.receive()
    await client.send(ChainTail(request=client.number(), limit=3))
    report = await client.receive()
    assert isinstance(status, StatusReport)
    assert isinstance(report, ChainReport)
    chain = records(executor)
    assert (status.records, status.runs, status.running) == (len(chain), 1, 0)
    assert [entry.number for entry in report.entries] == [2, 3, 4]
    assert report.head == status.head == report.entries[-1].digest
    assert report.key == executor.key.hex
    assert (status.session_commands, status.denial) == (1, None)
    assert status.directory is not None
    assert status.directory.startswith(str(executor.directory / "home"))
    assert status.limits.recording_bytes == 3_000_000


async def test_a_status_says_why_a_command_would_be_denied(
    executor: Executor, connect: Connect
) -> None:
    """Whether a command of somebody would be admitted can be asked, and nothing is recorded."""
    client = await connect(executor)
    before = len(records(executor))
    stranger, elsewhere = "@eve:example.org", "!other:example.org"
    denials: list[str | None] = []
    for room, sender in ((ROOM, stranger), (elsewhere, OPERATOR), (ROOM, OPERATOR)):
        await client.send(Status(request=client.number(), room=room, sender=sender))
        status = await client.receive()
        assert isinstance(status, StatusReport)
        denials.append(status.denial)
    assert denials == [
        f"{stranger} is not pinned on this host: tibet-nc-agent trust {stranger}",
        f"{elsewhere} is not a room of this host",
        None,
    ]
    assert len(records(executor)) == before


async def test_a_status_names_the_walls_that_are_not_up(
    executor: Executor, connect: Connect
) -> None:
    """What was found missing and is accepted is said, and no wall that isn't up is claimed (I2)."""
    client = await connect(executor)
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    status = await client.receive()
    assert isinstance(status, StatusReport)
    cage, own = status.cage, executor.uids.separated
    assert (cage.separated, cage.restricted, cage.network, cage.network_view) == (
        own,
        True,
        True,  # no unit takes the network from this executor
        True,
    )
    assert cage.read_only == all(
        os.statvfs(path).f_flag & os.ST_RDONLY for path in ("/", "/etc", "/usr", "/var")
    )
    assert cage.walls[:2] == ("a uid of its own" if own else "NO uid of its own", "restricted bash")
    assert {"NO network wall: accepted", "NO network-view wall: accepted"} <= set(cage.walls)
