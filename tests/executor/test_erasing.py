# SPDX-License-Identifier: MIT
"""The administrator, and nobody else, can have a command's text and output erased (I2)."""

import os

import pytest

from tests.executor.rig import Connect, Executor, security
from tibet_nc_protocol.layout import RECORDINGS, recording_name
from tibet_nc_protocol.messages import Erase, Failure, Finished
from tibet_nc_protocol.records import SecurityEvent


async def test_an_erased_text_is_gone_and_the_chain_still_verifies(
    executor: Executor, connect: Connect
) -> None:
    """After erase no file holds the text or the output, and who looks is told when and why."""
    client = await connect(executor)
    finished = await client.run("echo s3cret-in-the-command")
    assert isinstance(finished, Finished)
    await client.run("echo another")
    number = finished.number
    executor.verb("erase", str(number), "--recording", "--reason", "pasted by mistake")
    for path in executor.state.rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path
    (record,) = security(executor)
    assert (record.what, record.number) == (SecurityEvent.ERASED, number)
    assert "pasted by mistake" in record.detail
    payloads = (executor.state / "payloads" / "000000000000.jsonl").read_text()
    assert "another" in payloads
    after = await client.run("echo later")
    assert isinstance(after, Finished)
    assert "later" in (executor.state / "payloads" / "000000000000.jsonl").read_text()
    with pytest.raises(AssertionError, match="no text or recording"):
        executor.verb("erase", str(number), "--reason", "again")


async def test_the_output_stays_unless_it_is_asked_for(
    executor: Executor, connect: Connect
) -> None:
    """Erasing a command's text leaves its recording, which can be erased afterwards."""
    client = await connect(executor)
    finished = await client.run("echo s3cret-in-the-command | tr a-z A-Z")
    assert isinstance(finished, Finished)
    recording = executor.state / RECORDINGS / recording_name(finished.number)
    executor.verb("erase", str(finished.number), "--reason", "pasted by mistake")
    assert b"S3CRET" in recording.read_bytes()
    executor.verb("erase", str(finished.number), "--recording", "--reason", "and printed")
    assert not recording.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be the administrator")
async def test_the_agent_can_erase_nothing(executor: Executor, connect: Connect) -> None:
    """A request of the administrator's ends the agent's connection (I2)."""
    client = await connect(executor)
    await client.send(Erase(request=1, number=1, recording=True, reason="x"))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not permitted to the agent" in failure.reason
