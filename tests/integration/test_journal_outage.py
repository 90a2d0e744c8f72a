# SPDX-License-Identifier: MIT
"""A journald that is stopped, gone or hung: the chain goes on, and says what it did not take.

Each test has a journald of its own, in mounts of its own: nobody else's is stopped.
"""

import asyncio
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.audit.program import within
from tests.executor.rig import OPERATOR, ROOM, SECONDS, Client, Executor, whole_chain
from tests.harness.journald import SOCKET, Journald, private_journald
from tibet_nc_agent import reports
from tibet_nc_executor import doctor
from tibet_nc_executor.config import load
from tibet_nc_executor.derived import INDEX_AFTER_S
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.messages import Finished, Started, Status, StatusReport
from tibet_nc_protocol.records import (
    RECORDS,
    Checkpoint,
    Outcome,
    Security,
    SecurityEvent,
    digest,
)

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to start journald")


AGENT = reports.AgentFacts(
    version="1",
    device="DEVICE",
    uptime_ms=1,
    timebox_ms=1,
    skew_ms=None,
    waiting=0,
    given_up=(),
)


@pytest.fixture
def journald() -> Iterator[Journald]:
    """Start a journald that only this test sees."""
    with private_journald() as running:
        yield running


@pytest.fixture
def executor(journald: Journald) -> Iterator[Executor]:
    """Start an executor that has this journald to write to."""
    del journald  # it only has to run
    with tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        Path(name).chmod(0o755)
        with Executor(Path(name)) as running:
            yield running


async def _commands(executor: Executor, number: int) -> None:
    client = await Client.connect(executor)
    for _ in range(number):
        assert isinstance(await client.run("true"), Finished)
    await client.close()


async def _told_in_the_room(executor: Executor) -> str:
    """Return what the status in a room says of the journal; nothing while that is whole."""
    client = await Client.connect(executor)
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    report = await client.receive()
    assert isinstance(report, StatusReport)
    await client.close()
    lines = [part.text for part in reports.status(AGENT, report)]
    return next((line for line in lines if line.startswith("journal ")), "")


def _gaps(executor: Executor) -> list[Security]:
    return [
        record
        for record in whole_chain(executor)
        if isinstance(record, Security) and record.what is SecurityEvent.JOURNAL
    ]


def _missing(executor: Executor, journald: Journald) -> list[int]:
    """Return the records of which the journal has no entry."""
    matches = (f"_UID={executor.uids.executor}", "SYSLOG_IDENTIFIER=tibet-nc-executor")
    heads = {entry["TIBET_NC_HEAD"] for entry in journald.entries(*matches)}
    chain = whole_chain(executor)
    return [record.seq for record in chain if digest(RECORDS.encode(record)) not in heads]


async def _settled(executor: Executor, journald: Journald, missing: int) -> list[int]:
    """Wait until the journal lacks so many records and no more; return which."""
    end = time.monotonic() + SECONDS
    while len(found := _missing(executor, journald)) != missing:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.05)
    return found


def _crosscheck(executor: Executor, path: Path) -> str:
    """Compare chain and journal with the auditor's tool, which must find nothing; return it."""
    uid = str(executor.uids.executor)
    exported = subprocess.run(
        ["journalctl", "--output=export", f"_UID={uid}"], capture_output=True, check=True
    )
    path.write_bytes(exported.stdout)
    done = within("crosscheck", "--state", executor.state, "--journal", path, "--uid", uid)
    assert done.status == 0, done.out + done.err
    return done.out


@pytest.mark.parametrize("gone", [False, True])
async def test_a_gap_is_on_record_from_where_to_where(
    executor: Executor, journald: Journald, tmp_path: Path, *, gone: bool
) -> None:
    """Commands run while journald is stopped; when it is back the chain says what it lacks."""
    await _commands(executor, 1)
    await _settled(executor, journald, 0)
    assert await _told_in_the_room(executor) == ""
    first = len(whole_chain(executor))
    journald.stop()
    if gone:  # libsystemd then reports success
        SOCKET.unlink()
    await _commands(executor, 3)
    last = len(whole_chain(executor)) - 1
    end = time.monotonic() + SECONDS
    while f" to #{last} so far" not in (shown := await _told_in_the_room(executor)):
        assert time.monotonic() < end, shown
        await asyncio.sleep(0.02)
    assert "journald does not take records" in executor.log.read_text()
    assert shown.startswith("journal NOT complete, the chain is: journald did not take ")
    assert f"of records #{first} to #" in shown
    journald.start()
    await _commands(executor, 1)
    end = time.monotonic() + SECONDS
    while not _gaps(executor):
        assert time.monotonic() < end, executor.log.read_text()
        await asyncio.sleep(0.02)
    (gap,) = _gaps(executor)
    assert f"record #{gap.seq}: {gap.detail}" in await _told_in_the_room(executor)
    assert gap.number == first
    entries = counted(last - first + 1, "entry", "entries")
    assert f"{entries}, of records #{first} to #{last}" in gap.detail
    assert await _settled(executor, journald, last - first + 1) == list(range(first, last + 1))
    told_apart = f"records {first} to {last}: journald did not take them, as record {gap.seq} says"
    assert told_apart in _crosscheck(executor, tmp_path / "journal.export")
    settings = load(executor.directory / "executor.toml", {})
    told = next(check for check in doctor.examine(settings, {}) if check.name == "journal")
    assert told.ok
    assert f"did not take: 1 record, last #{gap.seq}" in told.detail


@pytest.fixture
def log_reader(executor: Executor) -> Iterator[subprocess.Popen[bytes]]:
    """Start the executor anew with a log that somebody reads, as journald does a unit's."""
    executor.stop()
    with executor.log.open("ab") as log:
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
    with reader:
        assert reader.stdin is not None
        executor.start(through=reader.stdin.fileno())
        reader.stdin.close()
        yield reader
        reader.kill()


async def test_a_log_that_ends_with_journald(
    executor: Executor, journald: Journald, log_reader: subprocess.Popen[bytes]
) -> None:
    """A unit's log ends for good when journald is stopped; gaps are told then as ever.

    What runs when the executor is stopped then has its outcome, and the chain its checkpoint.
    """
    await _settled(executor, journald, 0)
    journald.stop()
    log_reader.kill()
    log_reader.wait()
    await _commands(executor, 2)
    end = time.monotonic() + SECONDS
    while "so far" not in (shown := await _told_in_the_room(executor)):
        assert time.monotonic() < end, shown
        await asyncio.sleep(0.02)
    journald.start()
    await _commands(executor, 1)
    while not _gaps(executor):
        assert time.monotonic() < end, executor.log.read_text()
        await asyncio.sleep(0.02)
    client = await Client.connect(executor)
    await client.send(client.request("sleep 987654"))
    assert isinstance(await client.receive(), Started)
    assert executor.stop() == 0
    await client.close()
    *_, outcome, _, checkpoint = whole_chain(executor)
    assert isinstance(outcome, Outcome), outcome
    assert isinstance(checkpoint, Checkpoint)


async def test_stopped_without_a_journald(
    executor: Executor, journald: Journald, tmp_path: Path
) -> None:
    """An executor that ends while journald is away puts that on record before it does."""
    await _commands(executor, 1)
    await _settled(executor, journald, 0)
    first = len(whole_chain(executor))
    journald.stop()
    await _commands(executor, 1)
    executor.stop()
    (gap,) = _gaps(executor)
    assert whole_chain(executor)[-1] == gap
    assert gap.number == first
    assert f"of records #{first} to #{gap.seq - 1}, and none from there on" in gap.detail
    journald.start()
    with executor:
        await _commands(executor, 1)
        await _settled(executor, journald, gap.seq - first + 1)
        told_apart = f"records {first} to {gap.seq}: journald did not take them"
        assert told_apart in _crosscheck(executor, tmp_path / "journal.export")


@pytest.mark.parametrize("hung", [False, True])
async def test_what_a_killed_executor_had_still_to_send(
    executor: Executor, journald: Journald, *, hung: bool
) -> None:
    """Killed while journald is away or hangs, it sends the entries when it is started again.

    Those that journald has are not sent once more, but perhaps the newest.
    """
    await _commands(executor, 3)
    await _settled(executor, journald, 0)
    before = len(whole_chain(executor))
    if hung:
        os.kill(journald.pid, signal.SIGSTOP)
    else:
        journald.stop()
    held = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    await _commands(executor, held)  # each has two entries: more than the socket holds
    executor.kill()
    if hung:
        os.kill(journald.pid, signal.SIGCONT)
    else:
        journald.start()
    with executor:
        await _settled(executor, journald, 0)
        assert _gaps(executor) == []
    numbers = Counter(
        int(entry["TIBET_NC_SEQ"])
        for entry in journald.entries("SYSLOG_IDENTIFIER=tibet-nc-executor")
    )
    assert {number for number, times in numbers.items() if times > 1 and number < before} == set()


@pytest.mark.parametrize("pause", ["0", "0.01", "0.02", "0.03", "0.04"])
async def test_what_was_sent_is_known_to_be(executor: Executor, pause: str) -> None:
    """Soon after a command of any length nothing is left that the next start would send again."""
    client = await Client.connect(executor)
    assert isinstance(await client.run(f"sleep {pause}"), Finished)
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), StatusReport)
    await client.close()
    await _known_to_be_sent(executor)


async def _known_to_be_sent(executor: Executor) -> None:
    """Wait until the executor's index says that the journal has all records."""
    index = f"file:{executor.state / 'index.sqlite'}?mode=ro"
    with closing(sqlite3.connect(index, uri=True)) as database:
        end = time.monotonic() + SECONDS
        while True:
            (known,) = database.execute("SELECT length FROM journaled").fetchone()
            if known == (length := len(whole_chain(executor))):
                break
            assert time.monotonic() < end, (known, length)
            await asyncio.sleep(0.05)


async def test_an_index_made_anew_sends_nothing_again(
    executor: Executor, journald: Journald
) -> None:
    """Without its index an executor doesn't know what the journal has, and leaves it as it is."""
    await _commands(executor, 3)
    executor.stop()
    for path in executor.state.glob("index.sqlite*"):
        path.unlink()
    with executor:
        await _commands(executor, 1)
        await _settled(executor, journald, 0)
    entries = journald.entries("SYSLOG_IDENTIFIER=tibet-nc-executor")
    assert len(entries) == len(whole_chain(executor))


async def test_a_hung_journald_loses_nothing(executor: Executor, journald: Journald) -> None:
    """While journald hangs commands run and are answered; afterwards it has every entry.

    Without another command that is noted, so that no later start sends it again.

    Its socket is full up long before the last of them: whoever sends to it waits.
    """
    held = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    os.kill(journald.pid, signal.SIGSTOP)
    try:
        await _commands(executor, held)  # each has two entries
        await asyncio.sleep(4 * INDEX_AFTER_S)  # when the index first looks at what was sent
    finally:
        os.kill(journald.pid, signal.SIGCONT)
    await _known_to_be_sent(executor)
    await _settled(executor, journald, 0)
    assert _gaps(executor) == []
