# SPDX-License-Identifier: MIT
"""The ledger: durable before it is told, and whole again after any crash."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.executor import chainkit as kit
from tests.executor.injection import file_bytes_left
from tibet_nc_executor import ledger as module
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.ledger import Ledger, Salted
from tibet_nc_executor.reserve import RESERVE_BYTES
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, PAYLOADS_CODEC
from tibet_nc_protocol.records import FIRST_PREV, commitment
from tibet_nc_protocol.signing import Identity


@pytest.fixture(params=["by a thread", "at once"], autouse=True)
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Sync as with a slow disk and as with a fast one, whatever this machine's is."""
    chosen: str = request.param
    monkeypatch.setattr(module, "AT_ONCE_S", 0.0 if chosen == "by a thread" else 1e9)
    return chosen


async def fill(directory: Path, count: int, *, segment_bytes: int = 1 << 20) -> None:
    """Write a chain of ``count`` records."""
    ledger = kit.open_ledger(directory, segment_bytes=segment_bytes)
    await ledger.append(kit.genesis)
    for _ in range(count - 1):
        await ledger.append(kit.security)
    await ledger.close()


async def test_appended_records_form_a_chain_that_verifies(tmp_path: Path) -> None:
    """What is appended verifies, in order, whichever way it was asked for."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    done = await asyncio.gather(*(ledger.append(kit.security) for _ in range(50)))
    await ledger.close()
    assert [record.seq for record, _ in done] == list(range(1, 51))
    records = kit.verify(tmp_path)
    assert len(records) == 51
    assert ledger.length == 51


async def test_after_is_told_before_the_caller_and_in_order(tmp_path: Path) -> None:
    """Whatever follows from a record happens once it is on disk, in the chain's order."""
    told: list[int] = []
    ledger = kit.open_ledger(tmp_path, after=lambda record, _head: told.append(record.seq))

    async def append() -> None:
        record, _ = await ledger.append(kit.security if ledger.length else kit.genesis)
        assert record.seq in told

    for _ in range(3):
        await append()
    await asyncio.gather(*(append() for _ in range(20)))
    await ledger.close()
    assert told == list(range(23))


@pytest.mark.parametrize("pace", ["by a thread"], indirect=True)
async def test_a_caller_that_is_cancelled_leaves_a_whole_chain(tmp_path: Path) -> None:
    """A record whose caller went away is recorded all the same, and what follows is told."""
    told: list[int] = []
    ledger = kit.open_ledger(tmp_path, after=lambda record, _head: told.append(record.seq))
    await ledger.append(kit.genesis)
    task = asyncio.create_task(ledger.append(kit.security))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await ledger.append(kit.security)
    await ledger.close()
    assert told == [0, 1, 2]
    assert len(kit.verify(tmp_path)) == 3


@pytest.mark.parametrize("pace", ["by a thread"], indirect=True)
async def test_a_chain_is_given_free_when_all_was_told(tmp_path: Path) -> None:
    """Who closes the ledger waits for what is on its way to the disk, and for what follows."""
    told: list[int] = []
    ledger = kit.open_ledger(tmp_path, after=lambda record, _head: told.append(record.seq))
    await ledger.append(kit.genesis)
    task = asyncio.create_task(ledger.append(kit.security))
    await asyncio.sleep(0)
    await ledger.close()
    assert told == [0, 1]
    await task


async def test_segments_follow_one_another(tmp_path: Path) -> None:
    """A chain over many segments verifies and goes on after a restart."""
    await fill(tmp_path, 40, segment_bytes=4096)
    assert len(list((tmp_path / CHAIN).iterdir())) == 3
    ledger = kit.open_ledger(tmp_path, segment_bytes=4096)
    assert ledger.length == 40
    await ledger.append(kit.security)
    await ledger.close()
    assert len(kit.verify(tmp_path)) == 41


async def test_every_cut_of_the_last_line_is_mended(tmp_path: Path) -> None:
    """However much of the last line a crash left, the start cuts exactly that and goes on (I8)."""
    await fill(tmp_path, 3)
    path = tmp_path / CHAIN / "000000000000.jsonl"
    whole = path.read_bytes()
    second = whole[:-1].rfind(b"\n") + 1
    for end in range(second, len(whole)):
        path.write_bytes(whole[:end])
        ledger = kit.open_ledger(tmp_path)
        torn = ledger.torn
        assert ledger.length == 2
        assert (torn.bytes if torn else 0) == end - second
        await ledger.append(kit.security)
        await ledger.close()
        assert len(kit.verify(tmp_path)) == 3


async def test_zeros_after_the_end_are_cut(tmp_path: Path) -> None:
    """A file system that lost the last data but kept the length leaves zeros; they are cut."""
    await fill(tmp_path, 3)
    path = tmp_path / CHAIN / "000000000000.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(4096))
    ledger = kit.open_ledger(tmp_path)
    await ledger.close()
    assert ledger.length == 3
    assert path.read_bytes() == whole


@pytest.mark.parametrize("empty", [True, False])
async def test_a_segment_begun_but_not_written_is_gone_on_with(tmp_path: Path, empty: bool) -> None:
    """A crash between making a segment and its first record leaves nothing to mend."""
    await fill(tmp_path, 3)
    new = tmp_path / CHAIN / "000000000003.jsonl"
    new.write_bytes(b"" if empty else b'{"actor":"ji')
    ledger = kit.open_ledger(tmp_path)
    assert ledger.length == 3
    await ledger.append(kit.security)
    await ledger.close()
    assert len(kit.verify(tmp_path)) == 4
    assert new.stat().st_size > 0


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_flip_in_the_last_segment_is_never_taken_for_a_crash(
    tmp_path: Path, data: st.DataObject
) -> None:
    """An altered byte before the last line end stops the start, and nothing is cut (I8)."""
    directory = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    directory.mkdir()
    asyncio.run(fill(directory, 4))
    path = directory / CHAIN / "000000000000.jsonl"
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 2))
    value = data.draw(st.integers(1, 255))
    whole[place] ^= value
    path.write_bytes(whole)
    with pytest.raises(LedgerError):
        kit.open_ledger(directory)
    assert path.read_bytes() == bytes(whole)


@pytest.mark.parametrize("begun", [False, True])
async def test_another_executors_chain_is_refused(tmp_path: Path, begun: bool) -> None:
    """A chain that another key signed is not gone on with, nor in a segment that is still empty."""
    await fill(tmp_path, 2)
    if begun:
        (tmp_path / CHAIN / "000000000002.jsonl").touch()
    with pytest.raises(LedgerError, match="not signed by this executor"):
        Ledger(
            tmp_path,
            Identity(b"another key".ljust(32, b".")),
            clock=lambda: 0.0,
            segment_bytes=1 << 20,
            after=lambda _record, _head: None,
        )


async def test_two_executors_never_write_one_chain(tmp_path: Path) -> None:
    """The second to open a chain is refused while the first has it."""
    ledger = kit.open_ledger(tmp_path)
    with pytest.raises(LedgerError, match="another executor"):
        kit.open_ledger(tmp_path)
    await ledger.close()
    again = kit.open_ledger(tmp_path)
    await again.close()


async def test_the_text_is_beside_the_chain_and_fits_its_commitment(tmp_path: Path) -> None:
    """The payload has the text and the salt to which the record commits."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    salt = bytes(16)
    digest = commitment(salt, "df -h")
    await ledger.append(kit.intent("$e", digest), text=Salted(salt=salt, command="df -h"))
    await ledger.close()
    (line,) = (tmp_path / PAYLOADS / "000000000000.jsonl").read_bytes().splitlines()
    payload = PAYLOADS_CODEC.decode(line)
    assert (payload.seq, payload.command) == (1, "df -h")
    assert commitment(bytes.fromhex(payload.salt), payload.command) == digest


async def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    """A record that can't be written whole is not there at all, nor is its payload (I7)."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    chain = tmp_path / CHAIN / "000000000000.jsonl"
    payloads = tmp_path / PAYLOADS / "000000000000.jsonl"
    before = chain.read_bytes()
    text = Salted(salt=bytes(16), command="x" * 20)
    with file_bytes_left(len(before) + 100), pytest.raises(LedgerError, match="can't be written"):
        await ledger.append(kit.intent("$e"), text=text, critical=True)
    assert chain.read_bytes() == before
    assert payloads.read_bytes() == b""
    await ledger.append(kit.security)
    await ledger.close()
    assert len(kit.verify(tmp_path)) == 2


def test_an_empty_ledger_has_no_head(tmp_path: Path) -> None:
    """A new chain begins with no record and the digest that stands for none."""
    ledger = kit.open_ledger(tmp_path)
    assert (ledger.length, ledger.head) == (0, FIRST_PREV)
    asyncio.run(ledger.close())
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES


async def test_a_failed_sync_stops_everything(tmp_path: Path) -> None:
    """When a sync fails nobody knows what is on disk, so nothing more is taken (I1, I7)."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    read, write = os.pipe()  # a pipe can't be synced: EINVAL, from the kernel itself
    with pytest.raises(LedgerError, match="could not be synced"):
        await ledger.append(kit.security, before=[write])
    written = kit.lines(tmp_path)
    with pytest.raises(LedgerError, match="could not be synced"):
        await ledger.append(kit.security)
    assert kit.lines(tmp_path) == written
    os.close(read)
    os.close(write)
    await ledger.close()
