# SPDX-License-Identifier: MIT
"""A full disk: nothing runs without its record, and what ran never runs again (I3, I7)."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.executor.injection import injected
from tests.executor.rig import (
    OPERATOR,
    OTHER_OPERATOR,
    ROOM,
    UNRESTRICTED,
    Connect,
    Executor,
    records,
    remainders,
)
from tests.executor.shell.driver import until
from tests.executor.test_refusals import alert, refusal
from tests.mounts import mount_memory, private_mounts
from tibet_nc_executor.durable import write_draft
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.messages import (
    Chunk,
    CloseSession,
    Denied,
    Fetch,
    Finished,
    Recorded,
    Response,
    Started,
)
from tibet_nc_protocol.records import Intent, Outcome, Session, SessionState
from tibet_nc_protocol.terms import DenialCode, Reason

EIO = "Input/output error"
ENOSPC = "No space left on device"
UNRUN = "nothing was run"
RAN = "the command ran, but its outcome could not be recorded"


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """Make a directory whose ``state`` is a file system of 4 MiB."""
    state = place / "state"
    state.mkdir()
    with private_mounts():
        mount_memory(state, "size=4m")
        yield place


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
            file.flush()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
def test_a_draft_that_does_not_fit_leaves_its_room(tmp_path: Path) -> None:
    """What was to take a file's place doesn't stay beside it when the disk is full."""
    with private_mounts():
        mount_memory(tmp_path, "size=128k")
        with pytest.raises(OSError, match="No space left"):
            write_draft(tmp_path / "file", bytes(200_000))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
async def test_a_full_disk_runs_nothing_and_says_so(small: Path, connect: Connect) -> None:
    """With no room for its record nothing runs; with room again it does, and all is whole (I7)."""
    with Executor(small) as executor:
        client = await connect(executor)
        assert isinstance(await client.run("echo before"), Finished)
        filler = executor.state / "filler"
        fill(filler)
        commands = 0
        while isinstance(denied := await client.run("n=$((n+1))"), Finished):
            commands += 1  # what is left of the last pages
            assert commands < 100
        assert denied.code is DenialCode.UNRECORDED
        assert "nothing was run" in denied.reason
        filler.unlink()
        after = await client.run("echo $n")
        assert isinstance(after, Finished)
        assert after.output.decode().strip() == (str(commands) if commands else "")
        intents = [record for record in records(executor) if isinstance(record, Intent)]
        assert len(intents) == commands + 2


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_session_that_found_no_room_is_none_to_end(
    executor: Executor, connect: Connect
) -> None:
    """Where the beginning of a session is not on record, nor is its end, and that is said (I7)."""
    client = await connect(executor)
    close = CloseSession(request=client.number(), room=ROOM, sender=OPERATOR)
    (chain,) = (executor.state / CHAIN).iterdir()
    with injected(executor, "write:error=ENOSPC", [chain]):
        denied = await client.run("true")
        assert isinstance(denied, Denied)
        assert denied.code is DenialCode.UNRECORDED
        await client.send(close)
        answer = await client.receive()
        assert isinstance(answer, Denied)
        assert answer.code is DenialCode.UNKNOWN
    assert isinstance(await client.run("true"), Finished)
    states = [record.state for record in records(executor) if isinstance(record, Session)]
    assert states == [SessionState.OPENED]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
@pytest.mark.parametrize(
    ("call", "file", "why"),
    [
        ("write:error=EIO", "chain/*", f"{UNRUN}: the record can't be written: {EIO}"),
        ("write:error=ENOSPC", "chain/*", f"{UNRUN}: the record can't be written: {ENOSPC}"),
        (
            "pwrite64:error=EIO",
            "index.sqlite*",
            f"{UNRUN}: the index can't be written: disk I/O error",
        ),
        ("write:error=EIO", "tokens.jsonl", f"{RAN}: the token can't be written: {EIO}"),
    ],
)
async def test_the_log_says_that_nothing_can_be_recorded(
    executor: Executor, connect: Connect, call: str, file: str, why: str
) -> None:
    """Who reads the service's log is told once why nothing runs, and when it does again (I7)."""
    client = await connect(executor)
    assert isinstance(await client.run("true"), Finished)
    before = executor.log.read_text()
    with injected(executor, call, executor.state.glob(file)):
        for _ in range(3):
            assert isinstance(await client.run("true"), Denied)
    for _ in range(2):
        assert isinstance(await client.run("true"), Finished)
    said = executor.log.read_text().removeprefix(before).splitlines()
    assert [line for line in said if "journald" not in line] == [
        f"tibet-nc-executor: {why}",
        "tibet-nc-executor: commands are recorded again",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_chain_that_takes_nothing_more_says_what_to_do(
    executor: Executor, connect: Connect
) -> None:
    """After a failed sync the room and the log are told that only a restart helps, which does."""
    why = (
        "the chain could not be synced: Input/output error; nothing is recorded until"
        " tibet-nc-executor is restarted, on a disk that works"
    )
    client = await connect(executor)
    (chain,) = (executor.state / CHAIN).iterdir()
    before = executor.log.read_text()
    with injected(executor, "fdatasync:error=EIO", [chain]):
        await client.run("true")
    for _ in range(2):
        denied = await client.run("true")
        assert isinstance(denied, Denied)
        assert denied.reason == f"nothing was run: {why}"
    said = executor.log.read_text().removeprefix(before).splitlines()
    assert [line for line in said if "journald" not in line] == [
        f"tibet-nc-executor: nothing was run: {why}"
    ]
    executor.stop()
    executor.start()
    assert isinstance(await (await connect(executor)).run("true"), Finished)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_stop_ends_all_sessions_where_none_of_that_finds_room(
    executor: Executor, connect: Connect
) -> None:
    """Nothing of any session is left by an executor that can't record that they end (I6)."""
    client = await connect(executor)
    homes: list[Path] = []
    for sender in (OPERATOR, OTHER_OPERATOR):
        await client.send(client.request("echo $PWD", sender=sender))
        assert isinstance(await client.receive(), Started)
        finished = await client.receive()
        assert isinstance(finished, Finished)
        homes.append(Path(finished.output.decode().strip()))
    (chain,) = (executor.state / CHAIN).iterdir()
    with injected(executor, "write:error=ENOSPC", [chain]):
        executor.stop()
    assert [home for home in homes if home.exists()] == []
    assert executor.commands("") == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_a_shell_that_ends_where_nothing_finds_room_is_no_fault(
    executor: Executor, connect: Connect
) -> None:
    """Its session ends, with its home, though neither that nor its outcome is on record (I6)."""
    client = await connect(executor)
    home = await client.run("echo $PWD")
    assert isinstance(home, Finished)
    gate = executor.directory / "gate"
    await client.send(client.request(f"until [ -e {gate} ]; do sleep 0.1; done; exit 3"))
    assert isinstance(await client.receive(), Started)
    (chain,) = (executor.state / CHAIN).iterdir()
    with injected(executor, "write:error=ENOSPC", [chain]):
        gate.touch()
        denied = await client.receive()
        assert isinstance(denied, Denied)
        assert denied.code is DenialCode.UNRECORDED
        await until(lambda: not Path(home.output.decode().strip()).exists())
        await until(lambda: executor.commands("") != [])  # a shell that waits for a new session


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
async def test_the_end_of_a_session_has_its_room(small: Path, connect: Connect) -> None:
    """Who leaves on a full disk is told that it is on record, as it is (I6)."""
    with Executor(small) as executor:
        client = await connect(executor)
        assert isinstance(await client.run("true"), Finished)
        fill(executor.state / "filler")
        while isinstance(await client.run("true"), Finished):
            pass  # what is left of the last pages
        await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
        recorded = await client.receive()
        assert isinstance(recorded, Recorded), recorded
        closed = records(executor)[recorded.number]
        assert isinstance(closed, Session)
        assert closed.state is SessionState.CLOSED


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
async def test_what_ran_without_an_outcome_on_disk_never_runs_again(
    small: Path, connect: Connect
) -> None:
    """A command whose outcome found no room is told so, also when it is asked for again (I3)."""
    with Executor(small) as executor:
        client = await connect(executor)
        await client.send(client.request("read -r line", "$lost"))
        started = await client.receive()
        assert isinstance(started, Started)
        (executor.state / "reserve").unlink()
        fill(executor.state / "filler")
        await client.type(started.number, "\n")
        answers = [await client.receive() for _ in range(2)]
        (denied,) = (answer for answer in answers if isinstance(answer, Denied))
        assert denied.code is DenialCode.UNRECORDED
        assert "No space left on device" in denied.reason
        (executor.state / "filler").unlink()
        again = await client.run("echo again", "$lost")
        assert isinstance(again, Denied)
        assert (again.code, again.number) == (DenialCode.UNRECORDED, started.number)
        executor.stop()
        executor.start()
        recorded = await (await connect(executor)).run("echo again", "$lost")
        assert isinstance(recorded, Finished)
        assert recorded.reason is Reason.ABORTED
        events = [record.event for record in records(executor) if isinstance(record, Intent)]
        assert events == ["$lost"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
async def test_what_runs_when_the_disk_fills_up_has_its_outcome(
    small: Path, connect: Connect
) -> None:
    """It is on record with what is kept for that, and says that its output found no room (I7)."""
    with Executor(small) as executor:
        client = await connect(executor)
        await client.send(client.request("read -r line; echo read", "$unrecorded"))
        started = await client.receive()
        assert isinstance(started, Started)
        fill(executor.state / "filler")
        await client.type(started.number, "typed\n")
        finished = await client.receive()
        while not isinstance(finished, Finished):
            finished = await client.receive()
        assert finished.output_bytes > finished.recorded_bytes == 0
        assert finished.output == b""  # as in the answer to whoever asks again
        assert "recording ended early: No space left on device" in finished.notes
        (executor.state / "filler").unlink()
        again = await client.run("echo again", "$unrecorded")
        assert isinstance(again, Finished)
        assert (again.repeated, again.output, again.notes) == (True, b"", finished.notes)
        await client.send(Fetch(request=client.number(), run=finished.run, offset=0))
        chunk = await client.receive()
        assert isinstance(chunk, Chunk)
        assert (chunk.data, chunk.last) == (b"", True)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
async def test_what_runs_when_no_file_can_be_made_has_its_outcome(
    place: Path, connect: Connect
) -> None:
    """Also where that begins the chain's next segment, which is two files (I7)."""
    state = place / "state"
    state.mkdir()
    with private_mounts():
        mount_memory(state, "size=16m", "nr_inodes=60")
        with Executor(place, settings="[audit]\nsegment_bytes = 4096\n") as executor:
            client = await connect(executor)
            with suppress(OSError):
                for number in range(60):
                    (state / f"filler-{number}").touch()
            commands = 0
            while isinstance(denied := await client.run("true"), Finished):
                commands += 1
            assert "nothing was run: no room" in denied.reason
            chain = records(executor)
            assert len([record for record in chain if isinstance(record, Intent)]) == commands
            assert len([record for record in chain if isinstance(record, Outcome)]) == commands


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
async def test_what_goes_on_when_the_disk_fills_up_has_its_remainder(
    small: Path, connect: Connect
) -> None:
    """So has what a command left running, with the hash of what found no room (I12)."""
    with Executor(small, shell=UNRESTRICTED) as executor:
        client = await connect(executor)
        gate = small / "gate"
        left = await client.run(f"(until [ -e {gate} ]; do sleep 0.1; done; echo late) & true")
        assert isinstance(left, Finished)
        fill(executor.state / "filler")
        gate.touch()
        await until(lambda: len(remainders(executor)) == 1)
        (remainder,) = remainders(executor)
        assert (remainder.output_bytes, remainder.recorded_bytes) == (5, 0)
        assert remainder.output_sha256 == hashlib.sha256(b"late\n").hexdigest()
        assert remainder.notes == ("recording ended early: No space left on device",)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
@pytest.mark.parametrize("kind", ["refusal", "alert"])
async def test_what_can_not_be_put_on_record_is_not_said_to_be(
    small: Path, connect: Connect, kind: str
) -> None:
    """An agent that reports to a full disk is told that nothing was recorded (I7)."""
    with Executor(small) as executor:
        client = await connect(executor)
        (executor.state / "reserve").unlink()
        fill(executor.state / "filler")
        answer: Response | None = None
        for count in range(100):  # what is left of the last pages
            number = client.number()
            report = refusal(number, f"$refused{count}") if kind == "refusal" else alert(number)
            await client.send(report)
            if not isinstance(answer := await client.receive(), Recorded):
                break
        assert isinstance(answer, Denied)
        assert answer.code is DenialCode.UNRECORDED
