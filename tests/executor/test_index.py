# SPDX-License-Identifier: MIT
"""The index forgets no run, whatever fails while it takes records in (I3)."""

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from tests.executor import chainkit as kit
from tests.executor.injection import traced
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.index import Index
from tibet_nc_executor.segments import read_from
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import Intent


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Make a chain of commands over many segments; return its directory."""

    async def write() -> None:
        ledger = kit.open_ledger(tmp_path, segment_bytes=4000)
        await ledger.append(kit.genesis)
        for number in range(20):
            event = f"$event{number}"
            record, _ = await ledger.append(kit.intent(event))
            await ledger.append(kit.outcome(event, record.seq))
        await ledger.close()

    asyncio.run(write())
    return tmp_path / CHAIN


def test_what_fails_halfway_is_taken_in_whole_later(chain: Path, tmp_path: Path) -> None:
    """A segment that can't be read just then costs no run, and its error is one that is told."""
    index = Index(tmp_path / "index.sqlite")
    last = max(chain.iterdir())
    aside = tmp_path / "aside"
    last.rename(aside)
    last.mkdir()  # which no user can read as a file, root included
    for _ in range(2):
        with pytest.raises(LedgerError, match="the chain can't be read: Is a directory"):
            index.catch_up(read_from(chain, index.length), journaled=0)
        assert (index.length, index.commands, index.tree.size) == (0, 0, 0)
    last.rmdir()
    aside.rename(last)
    index.catch_up(read_from(chain, index.length), journaled=0)
    *_, (newest, head) = read_from(chain, 0)
    index.check(newest.seq + 1, head)
    for record, _ in read_from(chain, 0):
        if isinstance(record, Intent):
            known = index.run(record.run)
            assert known is not None
            assert known.ending is not None
            assert index.run_of_ciphertext(record.ciphertext) == record.run
    assert index.unfinished() == []
    index.close()


def test_records_that_do_not_follow_change_nothing(chain: Path, tmp_path: Path) -> None:
    """Of records among which one is missing none is taken in."""
    index = Index(tmp_path / "index.sqlite")
    records = list(read_from(chain, 0))
    for gap in (0, 3, len(records) - 2):
        with pytest.raises(LedgerError, match="does not follow"):
            index.catch_up(itertools.chain(records[:gap], records[gap + 1 :]), journaled=0)
        assert (index.length, index.unfinished()) == (0, [])
    index.catch_up(records, journaled=0)
    assert index.commands == 20
    index.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
def test_no_page_is_moved_before_the_log_that_has_it_is_on_disk(
    chain: Path, tmp_path: Path
) -> None:
    """A power cut leaves the index as it was at some time, never with holes (I3)."""
    path = tmp_path / "index.sqlite"
    index = Index(path)
    log = Path(f"{path}-wal")
    with traced(os.getpid(), tmp_path / "trace", "trace=pwrite64,fsync,fdatasync", [path, log]):
        for each in read_from(chain, 0):
            index.catch_up([each], journaled=0)
        index.close()  # when all is moved
    pages = 0
    unsynced = False
    for line in (tmp_path / "trace").read_text().splitlines():
        call = line.split(" ", 1)[1].strip()
        if f"<{log}>" in call:
            unsynced = call.startswith("pwrite64(")
        elif call.startswith("pwrite64("):
            pages += 1
            assert not unsynced, line
    assert pages > 0
