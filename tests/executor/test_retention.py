# SPDX-License-Identifier: MIT
"""Recordings are kept as long as the settings say; that they are deleted is on record first."""

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.executor.rig import SECONDS, Client, Executor, records
from tibet_nc_executor.retention import DAY_S, Kept, Limits, expired
from tibet_nc_protocol.layout import RECORDINGS, recording_name
from tibet_nc_protocol.messages import Denied, Fetch, Finished
from tibet_nc_protocol.records import Intent, Security, SecurityEvent

PRINTED = 20_000

# 50 kB of recordings are kept, and what is over is deleted after every ten records.
pytestmark = pytest.mark.executor(
    settings="[recordings]\nkeep_bytes = 50_000\n[audit]\ncheckpoint_records = 10\n"
)


KEPT = st.lists(
    st.builds(
        Kept,
        number=st.integers(0, 50),
        bytes=st.integers(0, 100),
        written=st.integers(0, 100).map(float),
    ),
    unique_by=lambda item: item.number,
).map(lambda items: sorted(items, key=lambda item: item.number))


@given(kept=KEPT, seconds=st.integers(0, 100), limit=st.integers(0, 300), below=st.integers(0, 51))
def test_the_oldest_go_and_no_more_than_must(
    kept: list[Kept], seconds: int, limit: int, below: int
) -> None:
    """What goes is a beginning; what stays is within the limits, or young, or runs."""
    gone = expired(kept, Limits(seconds=seconds, bytes=limit), 100.0, below)
    stay = kept[len(gone) :]
    assert kept[: len(gone)] == gone
    assert all(item.number < below for item in gone)
    if stay and stay[0].number < below:
        assert not seconds or stay[0].written >= 100 - seconds
        assert not limit or sum(item.bytes for item in stay) <= limit
    for index, item in enumerate(gone):
        old = seconds and item.written < 100 - seconds
        assert old or (limit and sum(other.bytes for other in kept[index:]) > limit)


def test_it_is_said_in_words() -> None:
    """The record says which limits are set."""
    assert str(Limits(seconds=30 * DAY_S, bytes=5)) == "30 days and 5 bytes in all"


async def _print(client: Client, times: int) -> list[int]:
    numbers: list[int] = []
    for _ in range(times):
        done = await client.run(f"head -c {PRINTED} /dev/zero | tr '\\0' x")
        assert isinstance(done, Finished)
        numbers.append(done.number)
    return numbers


def _retentions(executor: Executor) -> list[Security]:
    return [
        record
        for record in records(executor)
        if isinstance(record, Security) and record.what is SecurityEvent.RETENTION
    ]


def _there(executor: Executor) -> list[str]:
    return sorted(path.name for path in (executor.state / RECORDINGS).iterdir())


async def _gone(executor: Executor, number: int) -> None:
    """Wait until a recording is deleted: that follows the checkpoint, not the answer."""
    end = time.monotonic() + SECONDS
    while recording_name(number) in _there(executor):
        assert time.monotonic() < end, executor.log.read_text()
        await asyncio.sleep(0.02)


async def test_over_the_bytes_the_oldest_are_deleted_on_record(executor: Executor) -> None:
    """The newest recordings that fit stay; every one that went is below a number on record."""
    client = await Client.connect(executor)
    numbers = await _print(client, 12)
    await client.close()
    executor.stop()
    with executor:
        for number in numbers[:10]:
            await _gone(executor, number)
    upto = max(record.number or 0 for record in _retentions(executor))
    there = _there(executor)
    assert there == [recording_name(number) for number in numbers if number > upto]
    assert 0 < len(there) < len(numbers)
    assert sum((executor.state / RECORDINGS / name).stat().st_size for name in there) <= 50_000


async def test_what_is_gone_is_said_to_be(executor: Executor) -> None:
    """Asked for output that is kept no longer, the executor says that."""
    client = await Client.connect(executor)
    numbers = await _print(client, 12)
    run = next(
        record.run
        for record in records(executor)
        if isinstance(record, Intent) and record.seq == numbers[0]
    )
    await _gone(executor, numbers[0])
    await client.send(Fetch(request=client.number(), run=run, offset=0))
    while not isinstance(answer := await client.receive(), Denied):
        pass
    assert answer.reason == "the recording is kept no longer"
    await client.close()


async def test_what_could_not_be_deleted_goes_later(executor: Executor) -> None:
    """When deleting fails after the record, commands go on, and the next start deletes."""
    folder = executor.state / RECORDINGS
    client = await Client.connect(executor)
    first, *_ = await _print(client, 3)
    folder.chmod(0o500)
    await _print(client, 9)
    await client.close()
    async with asyncio.timeout(SECONDS):
        while "recordings stay for now" not in executor.log.read_text():  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.01)
    assert recording_name(first) in _there(executor)
    folder.chmod(0o700)
    before = _retentions(executor)
    assert before[0].number is not None
    assert before[0].number >= first
    executor.stop()
    with executor:
        await _gone(executor, first)


async def test_what_a_link_points_to_counts_for_nothing(executor: Executor, tmp_path: Path) -> None:
    """A link among the recordings is as large as it is itself, and what it names is left alone."""
    client = await Client.connect(executor)
    first, second, third = await _print(client, 3)
    await client.close()
    executor.stop()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(bytes(1_000_000))
    link = executor.state / RECORDINGS / recording_name(third + 1)
    link.symlink_to(elsewhere)
    with executor:
        await _gone(executor, first)
    assert [record.number for record in _retentions(executor)] == [first]
    assert _there(executor) == [recording_name(second), recording_name(third), link.name]
    assert elsewhere.stat().st_size == 1_000_000
