# SPDX-License-Identifier: MIT
"""Checkpoints are recorded as the chain grows, at each stop and with time, and told (I8)."""

from pathlib import Path

from tests.executor.rig import Connect, Executor, records
from tests.executor.shell.driver import until
from tibet_nc_protocol.messages import Announcement
from tibet_nc_protocol.note import Verifier, open_checkpoint
from tibet_nc_protocol.records import Checkpoint


async def test_checkpoints_follow_the_chain_across_restarts(place: Path, connect: Connect) -> None:
    """Every so many records, and at the stop, a checkpoint with the true root is recorded (I8)."""
    settings = "[audit]\ncheckpoint_records = 10\n"
    with Executor(place, settings=settings) as executor:
        for _ in range(2):
            client = await connect(executor)
            for _ in range(8):
                await client.run("true")
            await client.close()
            executor.stop()
            executor.start()
    chain = records(executor)  # which verifies each root and each note
    found = [record for record in chain if isinstance(record, Checkpoint)]
    assert len(found) >= 4
    assert isinstance(chain[-1], Checkpoint)
    key = Verifier(name=found[0].note.split("\n")[0], key=executor.key)
    for record in found:
        checkpoint = open_checkpoint(record.note, key)
        assert (checkpoint.size, checkpoint.root.hex()) == (record.seq, record.root)


async def test_the_agent_is_told_of_each_checkpoint(place: Path, connect: Connect) -> None:
    """A checkpoint is announced as it is recorded, so that the room can hold it (I8)."""
    with Executor(place, settings="[audit]\ncheckpoint_s = 1\n") as executor:
        client = await connect(executor)
        announcement = await client.receive()
        assert isinstance(announcement, Announcement)
        noted = [r.note for r in records(executor) if isinstance(r, Checkpoint)]
        assert announcement.note in noted


async def test_an_idle_executor_makes_checkpoints_too(place: Path) -> None:
    """A chain that nobody writes to still says from time to time how long it is (I8)."""
    with Executor(place, settings="[audit]\ncheckpoint_s = 1\n") as executor:
        await until(
            lambda: sum(isinstance(record, Checkpoint) for record in records(executor)) >= 2
        )
