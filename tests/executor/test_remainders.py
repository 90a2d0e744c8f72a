# SPDX-License-Identifier: MIT
"""What commands leave running: a job of its own, until it ends and that is on record (I6, I12)."""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from tests.executor.exchange import control, jobs, run
from tests.executor.injection import injected
from tests.executor.rig import OPERATOR, ROOM, UNRESTRICTED, Client, Executor, records, remainders
from tests.executor.shell.driver import until
from tibet_nc_executor.command import FULL
from tibet_nc_executor.recording import read_output
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.layout import RECORDINGS, remainder_name
from tibet_nc_protocol.limits import BACKGROUND_RUNS
from tibet_nc_protocol.messages import (
    CloseSession,
    Denied,
    Done,
    Finished,
    Jobs,
    JobsReport,
    Recorded,
    Started,
    Stop,
    Tail,
    TailReport,
)
from tibet_nc_protocol.records import Outcome, Remainder, Session
from tibet_nc_protocol.terms import Reason, Signal

pytestmark = pytest.mark.executor(shell=UNRESTRICTED)


@pytest.mark.parametrize(
    ("signal", "reason", "killed"),
    [(Signal.INTERRUPT, Reason.CANCELLED, 0), (Signal.KILL, Reason.KILLED, 1)],
)
async def test_what_a_command_left_is_listed_and_ended_by_its_number(
    executor: Executor, client: Client, signal: Signal, reason: Reason, killed: int
) -> None:
    """A command is over at once; what it left is a job of its own until it ends (I6)."""
    finished = await run(client, "sleep 4750 & echo up")
    assert (finished.exit, finished.output, finished.leftover) == (0, b"up\n", 1)
    (job,) = await jobs(client)
    assert (job.number, job.left, job.sender) == (finished.number, 1, OPERATOR)
    await control(client, finished.number, signal)
    await until(lambda: len(remainders(executor)) == 1)
    while await jobs(client):  # noqa: ASYNC110 - listed until a moment after its record is on disk
        await asyncio.sleep(0.01)
    (remainder,) = remainders(executor)
    assert (remainder.intent, remainder.run) == (finished.number, finished.run)
    assert (remainder.reason, remainder.killed) == (reason, killed)
    assert remainder.notes == (f"{signal} by {OPERATOR}",)


async def test_what_is_printed_later_is_in_the_remainder(
    executor: Executor, client: Client
) -> None:
    """The outcome stays true; later output has its own recording, hash and `tail` (I12)."""
    finished = await run(client, "mkfifo gate; (read -r x <gate; echo late) & echo up")
    assert finished.output == b"up\n"
    printed = await run(client, "(printf 'one\\377'; sleep 4751) & sleep 0.2; true")
    again = await run(client, "echo exact")
    assert again.output == b"exact\n"
    await client.send(Tail(request=client.number(), number=printed.number))
    assert isinstance(await client.receive(), TailReport)
    await run(client, "exec 5>gate 5>&-; true")
    await until(lambda: len(remainders(executor)) == 1)
    (remainder,) = remainders(executor)
    assert (remainder.reason, remainder.output_bytes) == (Reason.EXITED, 5)
    assert remainder.output_sha256 == hashlib.sha256(b"late\n").hexdigest()
    path = executor.state / RECORDINGS / remainder.recording
    assert b"".join(read_output(path)) == b"late\n"
    assert path.read_bytes().endswith(b',"x","exited"]\n')
    outcome = next(
        record
        for record in records(executor)
        if isinstance(record, Outcome) and record.intent == finished.number
    )
    assert (outcome.output_bytes, outcome.leftover) == (3, 1)


@pytest.mark.parametrize("when", ["between", "meanwhile"])
async def test_the_next_answer_says_that_it_has_ended(
    executor: Executor, client: Client, when: str
) -> None:
    """What was left and has ended is told once, in the session's answer that comes after."""
    made = await run(client, "mkfifo gate; pwd")
    left = await run(client, "(read -r x <gate; printf late) & true")
    others = await run(client, "sleep 4761 & true")
    on_record = executor.directory / "on-record"
    if when == "meanwhile":
        text = f"echo >gate; until [ -e {on_record} ]; do sleep 0.1; done"
        await client.send(client.request(text))
        assert isinstance(await client.receive(), Started)
    else:
        gate = Path(made.output.decode().strip()) / "gate"
        await asyncio.to_thread(gate.write_text, "\n")
    await until(lambda: len(remainders(executor)) >= 1)
    while left.number in [job.number for job in await jobs(client)]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if when == "meanwhile":
        on_record.touch()
        answer = await client.receive()
        assert isinstance(answer, Finished)
        finished = answer
    else:
        finished = await run(client, "true")
    told = [note for note in finished.notes if note.startswith(f"what #{left.number} left ")]
    assert len(told) == 1
    assert "has ended by itself, after " in told[0]
    assert told[0].endswith(" s and 4 bytes")
    await control(client, others.number, Signal.KILL)
    while others.number in [job.number for job in await jobs(client)]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    after = await run(client, "true")
    assert any(f"#{others.number} left running has ended by SIGKILL" in n for n in after.notes)
    assert not any(f"#{left.number} " in note for note in after.notes)
    assert (await run(client, "true")).notes == ()


async def test_nothing_is_typed_to_what_was_left(client: Client) -> None:
    """It reads no input, and whoever types is told so."""
    finished = await run(client, "sleep 4752 & true")
    await client.type(finished.number, "x\n")
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert "reads no input" in denied.reason


@pytest.mark.parametrize("end", ["close", "stop", "shutdown"])
async def test_it_ends_with_its_session(executor: Executor, client: Client, end: str) -> None:
    """Nothing outlives the session, however that ends, and the remainder comes before it (I6)."""
    await run(client, "nohup sleep 4753 >/dev/null 2>&1 & setsid sleep 4753 & disown -a")
    await run(client, "(trap '' HUP INT TERM; setsid sleep 4753) & true")
    match end:
        case "close":
            close = CloseSession(request=client.number(), room=ROOM, sender=OPERATOR)
            await client.send(close)
            assert isinstance(await client.receive(), Recorded)
        case "stop":
            await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
            done = await client.receive()
            assert isinstance(done, Done)
            assert done.count == 2
            await until(lambda: len(remainders(executor)) == 2)
        case _:
            executor.stop()
    assert [remainder.reason for remainder in remainders(executor)] == [Reason.KILLED] * 2
    assert executor.commands("sleep 4753") == []
    if end != "stop":
        kinds = [type(record) for record in records(executor)]
        assert kinds.index(Remainder) < len(kinds) - 1 - kinds[::-1].index(Session)
        assert kinds[::-1].index(Session) < kinds[::-1].index(Remainder)


async def test_it_runs_until_that_it_does_not_is_on_record(
    executor: Executor, client: Client
) -> None:
    """What ends with its session is shown until its remainder is recorded, which it still needs."""
    left = await run(client, "sleep 4758 & true")
    close = CloseSession(request=client.number(), room=ROOM, sender=OPERATOR)
    both = (close, Jobs(request=client.number()))
    await client.send_raw(b"".join(frame(client.sealer.seal(request)) for request in both))
    report = await client.receive()
    assert isinstance(report, JobsReport)
    assert [job.number for job in report.jobs] == [left.number]
    assert isinstance(await client.receive(), Recorded)
    assert [remainder.intent for remainder in remainders(executor)] == [left.number]
    assert await jobs(client) == ()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_recording_that_may_not_be_on_the_disk_has_no_remainder(
    executor: Executor, client: Client
) -> None:
    """A sync that failed while it ran counts; the next start records what can be said (I1)."""
    begin, end = (executor.directory / name for name in ("begin", "end"))
    waits = [f"until [ -e {gate} ]; do sleep 0.1; done" for gate in (begin, end)]
    left = await run(client, f"({'; seq 1 1300000; '.join(waits)}) & true")
    recording = executor.state / RECORDINGS / remainder_name(left.number)
    with injected(executor, "fdatasync:error=EIO", [recording]) as trace:
        begin.touch()
        await until(lambda: "INJECTED" in trace.read_text())
    end.touch()
    while await jobs(client):  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.01)
    executor.stop()
    assert remainders(executor) == []
    assert "Traceback" not in executor.log.read_text()
    executor.start()
    assert [remainder.reason for remainder in remainders(executor)] == [Reason.ABORTED]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_what_found_no_room_is_told_in_the_room(executor: Executor, client: Client) -> None:
    """Output of what was left running that isn't kept is lost, and that is said there too (I12)."""
    gate = executor.directory / "gate"
    left = await run(client, f"(until [ -e {gate} ]; do sleep 0.1; done; echo late) & true")
    recording = executor.state / RECORDINGS / remainder_name(left.number)
    with injected(executor, "write:error=EIO", [recording]):
        gate.touch()
        await until(lambda: len(remainders(executor)) == 1)
    notes = (await run(client, "true")).notes
    assert f"#{left.number}: recording ended early: Input/output error" in notes
    assert [note for note in notes if "left running has ended by itself" in note]


async def test_killed_with_the_executor_it_is_aborted(executor: Executor, client: Client) -> None:
    """After a crash nothing of it runs, the chain says so, and verifies."""
    await run(client, "setsid sleep 4754 & true")
    executor.kill()
    executor.start()
    assert executor.commands("sleep 4754") == []
    (remainder,) = remainders(executor)
    assert (remainder.reason, remainder.recording) == (Reason.ABORTED, "")
    executor.stop()
    executor.start()
    assert remainders(executor) == [remainder]


async def test_there_is_a_most(executor: Executor, client: Client) -> None:
    """Beyond a number of them, what a command leaves is killed at its end, and that is said."""
    for _ in range(BACKGROUND_RUNS):
        assert (await run(client, "sleep 4755 & true")).leftover == 1
    finished = await run(client, "sleep 4755 & true")
    assert finished.leftover == 0
    assert FULL in finished.notes
    assert len(await jobs(client)) == BACKGROUND_RUNS
    await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Done)
    await until(lambda: len(remainders(executor)) == BACKGROUND_RUNS)
