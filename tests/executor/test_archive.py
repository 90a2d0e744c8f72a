# SPDX-License-Identifier: MIT
"""The chain with all that follows from it, and what is left of both when one fails (I3, I7)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.executor import chainkit as kit
from tests.executor.injection import file_bytes_left
from tests.executor.rig import ROOM
from tests.executor.test_refusals import refusal
from tibet_nc_executor import ledger
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.derived import INDEX_AFTER_S
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.journal import Gap
from tibet_nc_executor.ledger import Salted
from tibet_nc_protocol.layout import PAYLOADS, recording_name, segment_name
from tibet_nc_protocol.records import Key, SecurityEvent
from tibet_nc_protocol.signing import Identity
from tibet_nc_protocol.terms import Stage, run_id


async def begun(directory: Path) -> Archive:
    """Return an archive with its first record."""
    made = Archive(
        directory, kit.IDENTITY, clock=time.time, segment_bytes=1 << 20, checkpoint_records=1000
    )
    await made.begin(host="host", version="0", agent_key=kit.IDENTITY.public_key)
    return made


@pytest_asyncio.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    """Make an archive of a few records, which are in its index."""
    made = await begun(tmp_path)
    for _ in range(8):
        await made.security(SecurityEvent.AGENT, "one more")
        assert made.index.length == made.length
    yield made
    await made.close()


async def test_what_the_index_missed_is_taken_from_the_chain(
    archive: Archive, tmp_path: Path
) -> None:
    """Without room in the index no command is recorded, all else is; with room it takes in all."""
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    with file_bytes_left((tmp_path / "index.sqlite-wal").stat().st_size):
        await archive.security(SecurityEvent.AGENT, "which the index can't take")
        await asyncio.sleep(2 * INDEX_AFTER_S)  # when it tries to by itself
        length = archive.length
        with pytest.raises(LedgerError, match="the index can't be written"):
            await archive.append(kit.intent("$event"), critical=False)
        assert archive.length == length
    await archive.security(SecurityEvent.AGENT, "since then")
    assert archive.index.length == archive.length
    assert failures == []


async def test_a_chain_without_a_beginning_is_not_gone_on_with(tmp_path: Path) -> None:
    """Where the first record is no genesis, every verifier would refuse what came after it."""
    archive = Archive(
        tmp_path, kit.IDENTITY, clock=time.time, segment_bytes=1 << 20, checkpoint_records=1000
    )
    await archive.security(SecurityEvent.AGENT, "the first")
    with pytest.raises(LedgerError, match="its first record is no genesis"):
        await archive.begin(host="host", version="0", agent_key=kit.IDENTITY.public_key)
    await archive.close()


async def test_nothing_is_recorded_after_a_change_of_key(archive: Archive, tmp_path: Path) -> None:
    """The record of the new key stays the last, though the journal has a gap that is found then."""
    await archive.change_key(Identity(b"another key".ljust(32, b".")))
    archive._tell(Gap(count=1, first=1, last=1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert isinstance(kit.verify(tmp_path)[-1], Key)


async def test_an_erasure_that_failed_is_to_be_done_again(archive: Archive, tmp_path: Path) -> None:
    """It is on record, and who asked is told that the text is still there; the next one works."""
    text = Salted(salt=bytes(16), command="secret")
    intent, _ = await archive.append(kit.intent("$event"), text=text)
    path = tmp_path / PAYLOADS / segment_name(0)
    in_the_way = path.with_name(f".{path.name}.new")
    in_the_way.mkdir()
    with pytest.raises(LedgerError, match="recorded, but not erased: Is a directory; do it again"):
        await archive.erase(intent.seq, "a test", None)
    assert b"secret" in path.read_bytes()
    in_the_way.rmdir()
    await archive.erase(intent.seq, "a test", None)
    assert path.read_bytes() == b""


async def test_a_recording_that_is_kept_no_longer_is_erased_all_the_same(tmp_path: Path) -> None:
    """Retention may delete a recording while its erasure gets on record, which succeeds then."""
    recording = tmp_path / recording_name(0)

    def clock() -> float:
        recording.unlink(missing_ok=True)  # it is asked when the record is made
        return time.time()

    archive = Archive(
        tmp_path, kit.IDENTITY, clock=clock, segment_bytes=1 << 20, checkpoint_records=1000
    )
    await archive.begin(host="host", version="0", agent_key=kit.IDENTITY.public_key)
    recording.write_bytes(b"secret")
    record, _ = await archive.erase(0, "pasted", tmp_path)
    assert record.erases_recording
    await archive.close()


@pytest_asyncio.fixture
async def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """Begin an archive that hands each sync to a thread, as on a slow disk."""
    monkeypatch.setattr(ledger, "AT_ONCE_S", 0.0)
    return await begun(tmp_path)


async def test_an_erasure_is_done_though_who_asked_for_it_has_left(
    tmp_path: Path, slow: Archive
) -> None:
    """What is on record as erased is gone, also if nobody waits for that on a slow disk."""
    text = Salted(salt=bytes(16), command="secret")
    intent, _ = await slow.append(kit.intent("$event"), text=text)
    erasing = asyncio.create_task(slow.erase(intent.seq, "a test", None))
    while slow.length == intent.seq + 1:  # noqa: ASYNC110 - until it is written, unsynced
        await asyncio.sleep(0)
    erasing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await erasing
    await slow.close()
    assert (tmp_path / PAYLOADS / segment_name(0)).read_bytes() == b""


async def test_an_event_is_refused_once_however_often_at_a_time(slow: Archive) -> None:
    """A refusal that is still on its way to a slow disk is the answer to the next one, too."""
    asked = [
        slow.refuse(refusal(number, "$event"), stage=Stage.SAFETY, reason="no")
        for number in range(3)
    ]
    answers = await asyncio.gather(*asked)
    assert answers == [(1, slow.head)] * 3
    assert await slow.refusal(run_id(ROOM, "$event")) == answers[0]
    assert slow.length == 2
    await slow.close()
