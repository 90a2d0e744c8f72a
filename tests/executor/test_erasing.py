# SPDX-License-Identifier: MIT
"""The administrator, and nobody else, can have a command's text and output erased (I2)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.executor.injection import injected
from tests.executor.rig import UNRESTRICTED, Connect, Executor, remainders, security
from tests.executor.shell.driver import until
from tibet_nc_protocol.layout import (
    CHAIN,
    PAYLOADS,
    RECORDINGS,
    recording_name,
    remainder_name,
    segment_name,
)
from tibet_nc_protocol.messages import Chunk, Denied, Erase, Failure, Fetch, Finished
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


@pytest.mark.parametrize(
    ("number", "reason", "told"),
    [
        ("-1", "a test", "SEQ: '-1' is no number of a record, such as 42"),
        ("9" * 16, "a test", f"SEQ: '{'9' * 16}' is no number of a record, such as 42"),
        ("9" * 5000, "a test", "is no number of a record, such as 42"),
        ("1_0", "a test", "SEQ: '1_0' is no number of a record, such as 42"),
        ("four", "a test", "SEQ: 'four' is no number of a record, such as 42"),
        ("4", " ", "--reason: a text of 1 to 960 characters is expected"),
        ("4", "a" * 961, "--reason: a text of 1 to 960 characters is expected"),
        ("4", b"\xff", "--reason: a text of 1 to 960 characters is expected"),
    ],
)
def test_what_nobody_can_have_meant_is_told_so(
    place: Path, number: str, reason: str | bytes, told: str
) -> None:
    """A wrong number or reason is told as what it is, with what would be right."""
    executor = Executor(place)
    words = [*executor.argv(), "erase", "--reason", reason, "--", number]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 2
    assert done.stderr.endswith(f"{told}\n")


async def test_the_longest_reason_is_kept_whole(executor: Executor, connect: Connect) -> None:
    """Nothing is cut off of why a text was erased."""
    client = await connect(executor)
    finished = await client.run("true")
    assert isinstance(finished, Finished)
    reason = "w" * 959 + "y"
    executor.verb("erase", str(finished.number), "--reason", reason)
    (record,) = security(executor)
    assert record.detail == f"text of #{finished.number}: {reason}"


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


async def test_who_was_reading_an_erased_output_gets_no_more(
    executor: Executor, connect: Connect
) -> None:
    """What was fetched in part before it was erased is fetched no further, nor kept on the disk."""
    client = await connect(executor)
    finished = await client.run("seq 1 100000")
    assert isinstance(finished, Finished)
    await client.send(Fetch(request=client.number(), run=finished.run, offset=0))
    first = await client.receive()
    assert isinstance(first, Chunk)
    assert not first.last
    executor.verb("erase", str(finished.number), "--recording", "--reason", "printed by mistake")
    await client.send(Fetch(request=client.number(), run=finished.run, offset=len(first.data)))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.reason == "the recording is kept no longer"
    if os.getuid() == 0:
        assert executor.recordings_open() == 0


@pytest.mark.executor(shell=UNRESTRICTED)
async def test_what_was_left_running_is_erased_too(executor: Executor, connect: Connect) -> None:
    """With a command's recording goes that of what it left running."""
    client = await connect(executor)
    finished = await client.run("mkfifo gate; (read -r x <gate; echo s3cret later) & true")
    assert isinstance(finished, Finished)
    await client.run("echo >gate")
    await until(lambda: len(remainders(executor)) == 1)
    recording = executor.state / RECORDINGS / remainder_name(finished.number)
    assert b"s3cret" in recording.read_bytes()
    executor.verb("erase", str(finished.number), "--recording", "--reason", "printed by mistake")
    assert not recording.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_what_is_not_on_record_is_not_erased(executor: Executor, connect: Connect) -> None:
    """A text and a recording whose erasure can't be recorded stay, and that is said."""
    client = await connect(executor)
    finished = await client.run("echo s3cret")
    assert isinstance(finished, Finished)
    chain = executor.state / CHAIN / segment_name(0)
    erase = ("erase", str(finished.number), "--recording", "--reason", "pasted by mistake")
    with (
        injected(executor, "fdatasync:error=EIO", [chain]),
        pytest.raises(AssertionError, match="Input/output error"),
    ):
        executor.verb(*erase)
    kept = [executor.state / PAYLOADS / segment_name(0)]
    kept.append(executor.state / RECORDINGS / recording_name(finished.number))
    assert all(b"s3cret" in path.read_bytes() for path in kept)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be the administrator")
async def test_the_agent_can_erase_nothing(executor: Executor, connect: Connect) -> None:
    """A request of the administrator's ends the agent's connection (I2)."""
    client = await connect(executor)
    await client.send(Erase(request=1, number=1, recording=True, reason="x"))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not permitted to the agent" in failure.reason
