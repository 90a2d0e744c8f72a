# SPDX-License-Identifier: MIT
"""Two things that go wrong at once, or one in the middle: the ledger is whole, and goes on (I7)."""

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.executor import chainkit as kit
from tests.executor.injection import descriptors_left, file_bytes_left, traced
from tibet_nc_executor import ledger as module
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.ledger import Ledger, Place, Salted, timestamp
from tibet_nc_executor.reserve import RESERVE_BYTES
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, PAYLOADS_CODEC
from tibet_nc_protocol.records import RECORDS, Record, sign

FIRST = "000000000000.jsonl"
TEXT = Salted(salt=bytes(16), command="echo something")
NOT_SYNCED = "could not be synced: Input/output error"


@asynccontextmanager
async def unsynced(directory: Path, call: str) -> AsyncGenerator[Ledger]:
    """Give a ledger while a call that syncs its chain fails."""
    ledger = kit.open_ledger(directory)
    await ledger.append(kit.genesis)
    path = directory / CHAIN / FIRST
    with traced(os.getpid(), directory / "trace", f"inject={call}:error=EIO", [path]):
        yield ledger
    await ledger.close()


def opened() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def texts(directory: Path) -> list[int]:
    """Return whose texts are kept, all of which can be read."""
    lines = (directory / PAYLOADS / FIRST).read_bytes().splitlines()
    return [PAYLOADS_CODEC.decode(line).seq for line in lines]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
@pytest.mark.parametrize("erasure", [False, True])
@pytest.mark.parametrize("folder", [CHAIN, PAYLOADS])
async def test_what_can_not_be_taken_back_is_cut_off_by_the_next(
    tmp_path: Path, folder: str, erasure: bool
) -> None:
    """A record of which a part was written, on a disk that took no more, is never half of one."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    path = tmp_path / folder / FIRST
    size = path.stat().st_size
    if folder == PAYLOADS:  # where the limit is met first
        size = (tmp_path / CHAIN / FIRST).stat().st_size
        text = Salted(salt=bytes(16), command="x" * (size + 200))
    else:
        text = TEXT
    with (
        traced(os.getpid(), tmp_path / "trace", "inject=ftruncate:error=EROFS", [path]),
        file_bytes_left(size + 100),
        pytest.raises(LedgerError, match="File too large"),
    ):
        await ledger.append(kit.intent("$one"), text=text)
    assert not path.read_bytes().endswith(b"\n")
    if erasure:
        ledger.erase_text(1)
    await ledger.append(kit.intent("$two"), text=TEXT)
    await ledger.close()
    assert len(kit.verify(tmp_path)) == 2
    assert texts(tmp_path) == [1]


async def test_a_write_that_fails_after_an_erasure_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where the texts end now that one of them is gone is what a failure is undone to."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    for number in range(2):
        await ledger.append(kit.intent(f"${number}"), text=TEXT)
    held = opened()
    ledger.erase_text(1)
    assert opened() == held
    path = tmp_path / PAYLOADS / FIRST
    before = path.read_bytes()
    size = (tmp_path / CHAIN / FIRST).stat().st_size
    with file_bytes_left(size + 100), pytest.raises(LedgerError, match="File too large"):
        await ledger.append(kit.intent("$failed"), text=TEXT)
    assert path.read_bytes() == before
    await ledger.close()
    assert texts(tmp_path) == [2]


async def test_a_line_that_is_no_text_is_nobody_s(tmp_path: Path) -> None:
    """It is neither erased nor in the way of an erasure; texts that can't be read are told."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    await ledger.append(kit.intent("$one"), text=TEXT)
    await ledger.close()
    path = tmp_path / PAYLOADS / FIRST
    with path.open("ab") as file:
        file.write(b"junk\n")
    ledger = kit.open_ledger(tmp_path)
    assert ledger.has_text(1)
    ledger.erase_text(1)
    assert path.read_bytes() == b"junk\n"
    assert not ledger.has_text(1)
    path.unlink()
    with pytest.raises(LedgerError, match="the texts can't be read"):
        ledger.has_text(1)
    await ledger.close()


async def test_every_cut_of_the_last_text_is_mended(tmp_path: Path) -> None:
    """However much of the last text a crash left, no other text is lost or glued to it (I8)."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    for number in range(2):
        await ledger.append(kit.intent(f"${number}"), text=TEXT)
    await ledger.close()
    chain, path = tmp_path / CHAIN / FIRST, tmp_path / PAYLOADS / FIRST
    lines, whole = chain.read_bytes(), path.read_bytes()
    begin = whole[:-1].rfind(b"\n") + 1
    left = [whole[:end] for end in range(begin, len(whole))]
    for crashed in [*left, whole[:begin] + bytes(4096), whole + bytes(10)]:
        chain.write_bytes(b"".join(lines.splitlines(keepends=True)[:2]))
        path.write_bytes(crashed)
        ledger = kit.open_ledger(tmp_path)
        await ledger.append(kit.intent("$more"), text=TEXT)
        await ledger.close()
        assert texts(tmp_path)[:1] == [1]
        assert texts(tmp_path)[-1] == 2
        kit.verify(tmp_path)


@pytest.mark.parametrize("slow", [True, False])
async def test_with_few_descriptors_a_record_is_told_or_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Whatever can't be opened: who is told of a record has it, in order, and none is left open."""
    monkeypatch.setattr(module, "AT_ONCE_S", 0.0 if slow else 1e9)
    told: list[int] = []

    def tell(record: Record, _head: str) -> None:
        told.append(record.seq)

    ledger = Ledger(
        tmp_path, kit.IDENTITY, clock=lambda: 1_790_000_000.0, segment_bytes=2000, after=tell
    )
    await ledger.append(kit.genesis)
    before = opened()
    beside = os.open(tmp_path / "beside", os.O_RDWR | os.O_CREAT)
    refused = 0
    for left in (0, 1, 2, 3, 4, 5) * 4:
        with descriptors_left(left):
            done = await asyncio.gather(
                *(ledger.append(kit.intent(f"${n}"), text=TEXT, before=[beside]) for n in range(2)),
                return_exceptions=True,
            )
        wrong = [each for each in done if isinstance(each, BaseException)]
        assert {type(each) for each in wrong} <= {LedgerError}
        assert all("Too many open files" in str(each) for each in wrong)
        refused += len(wrong)
    assert refused > 0
    os.close(beside)
    assert opened() == before
    await ledger.append(kit.security)
    assert told == list(range(ledger.length))
    await ledger.close()
    assert len(kit.verify(tmp_path)) == ledger.length > 8


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_without_descriptors_a_record_is_synced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no thread can be given is synced here and now, as is seen when that fails (I1)."""
    monkeypatch.setattr(module, "AT_ONCE_S", 0.0)
    async with unsynced(tmp_path, "fdatasync") as ledger:
        with descriptors_left(0), pytest.raises(LedgerError, match=NOT_SYNCED):
            await ledger.append(kit.security)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
@pytest.mark.parametrize("slow", [True, False])
async def test_the_chain_is_synced_after_all_that_it_speaks_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """A power cut between two syncs leaves no record whose text or token is not there."""
    monkeypatch.setattr(module, "AT_ONCE_S", 0.0 if slow else 1e9)
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    beside = os.open(tmp_path / "beside", os.O_RDWR | os.O_CREAT)
    with traced(os.getpid(), tmp_path / "trace", "trace=fdatasync"):
        await asyncio.gather(
            ledger.append(kit.intent("$one"), text=TEXT),
            ledger.append(kit.security, before=[beside]),
        )
    os.close(beside)
    await ledger.close()
    trace = (tmp_path / "trace").read_text()
    synced = [Path(name).parent.name for name in re.findall(r"fdatasync\(\d+<(.*?)>", trace)]
    once, twice = ([PAYLOADS, tmp_path.name, CHAIN], [PAYLOADS, CHAIN, tmp_path.name, CHAIN])
    assert synced == (once if slow else twice)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_failure_that_is_told_when_a_file_is_closed_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever, and nothing more is taken (I1, I4)."""
    monkeypatch.setattr(module, "AT_ONCE_S", 0.0)
    async with unsynced(tmp_path, "close") as ledger:
        for _ in range(2):
            with pytest.raises(LedgerError, match=NOT_SYNCED):
                await asyncio.wait_for(ledger.append(kit.security), 20)


@pytest.mark.parametrize("size", [0, 4096])
async def test_a_reserve_that_a_crash_left_in_part_is_made_whole(tmp_path: Path, size: int) -> None:
    """Room that was only begun to be kept is kept when the chain is opened again."""
    (tmp_path / "reserve").write_bytes(bytes(size))
    ledger = kit.open_ledger(tmp_path)
    await ledger.close()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= RESERVE_BYTES


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
@pytest.mark.parametrize("full", ["ENOSPC", "EDQUOT"])
@pytest.mark.parametrize("kept", [True, False])
async def test_what_must_be_recorded_gets_the_room_that_is_kept(
    tmp_path: Path, full: str, kept: bool
) -> None:
    """On a full disk, or at the end of a quota; and without the room it is said why nothing is."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    path, reserve = tmp_path / CHAIN / FIRST, tmp_path / "reserve"
    times = ":when=1" if kept else ""
    if not kept:
        reserve.unlink()
    with traced(os.getpid(), tmp_path / "trace", f"inject=write:error={full}{times}", [path]):
        if kept:
            await ledger.append(kit.security)
        else:
            with pytest.raises(LedgerError, match=r"No space left|quota exceeded"):
                await ledger.append(kit.security)
    assert not reserve.exists()
    await ledger.append(kit.intent("$next"), text=TEXT, critical=False)
    assert reserve.stat().st_size == RESERVE_BYTES
    await ledger.close()
    assert len(kit.verify(tmp_path)) == ledger.length == (3 if kept else 2)


@pytest.mark.parametrize("damage", ["missing", "emptied", "shortened", "torn", "altered"])
async def test_a_segment_that_does_not_follow_is_not_gone_on_with(
    tmp_path: Path, damage: str
) -> None:
    """What is wrong with the segment before the last one is said, and nothing is changed (I8)."""
    ledger = kit.open_ledger(tmp_path, segment_bytes=2000)
    await ledger.append(kit.genesis)
    while len(list((tmp_path / CHAIN).iterdir())) < 2:
        await ledger.append(kit.security)
    await ledger.close()
    path = tmp_path / CHAIN / FIRST
    whole = path.read_bytes()
    damaged = {
        "emptied": b"",
        "shortened": b"".join(whole.splitlines(keepends=True)[:-1]),
        "torn": whole.removesuffix(b"\n"),
        "altered": whole.removesuffix(b'"}\n') + b'x"}\n',
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    before = opened(), kit.lines(tmp_path)
    with pytest.raises(LedgerError, match=r"missing|does not end with|is damaged"):
        kit.open_ledger(tmp_path)
    assert (opened(), kit.lines(tmp_path)) == before


async def test_a_record_under_another_number_is_not_gone_on_with(tmp_path: Path) -> None:
    """One that follows by its digest and is signed must have its place's number, too (I8)."""
    ledger = kit.open_ledger(tmp_path)
    await ledger.append(kit.genesis)
    place = Place(seq=7, prev=ledger.head, time=timestamp(0.0), tree=ledger.tree)
    await ledger.close()
    with (tmp_path / CHAIN / FIRST).open("ab") as file:
        file.write(RECORDS.encode(sign(kit.security(place), kit.IDENTITY)) + b"\n")
    with pytest.raises(LedgerError, match="broken at record 1"):
        kit.open_ledger(tmp_path)


async def test_with_few_descriptors_a_chain_is_opened_or_nothing_is(tmp_path: Path) -> None:
    """However few can be opened: a chain that takes records, or an error and nothing left open."""
    before = opened()
    ledger = None
    for left in range(20):
        with suppress(LedgerError), descriptors_left(left):
            ledger = kit.open_ledger(tmp_path)
        if ledger is not None:
            break
        assert opened() == before
    assert ledger is not None
    await ledger.append(kit.genesis)
    await ledger.close()
    assert opened() == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_file_system_without_locks_is_not_another_executor(tmp_path: Path) -> None:
    """A lock that can't be had for another reason than its holder is told with that reason."""
    with (
        traced(os.getpid(), tmp_path / "trace", "inject=flock:error=ENOLCK"),
        pytest.raises(LedgerError, match="the chain can't be opened: No locks available"),
    ):
        kit.open_ledger(tmp_path / "state")
