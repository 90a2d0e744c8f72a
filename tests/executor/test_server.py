# SPDX-License-Identifier: MIT
"""A real executor process, asked over its real socket by a client that may break the rules."""

import asyncio
import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.executor.rig import (
    AGENT,
    OPERATOR,
    ROOM,
    SECONDS,
    Client,
    Executor,
    raw_socket,
    records,
)
from tests.executor.shell.driver import commands_of
from tests.separation import FOREIGN_UID, as_agent
from tibet_nc_executor.office import READERS
from tibet_nc_protocol.envelope import Opener
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.limits import FRAME_BYTES, INLINE_BYTES
from tibet_nc_protocol.messages import (
    REQUESTS,
    Alert,
    Announcement,
    ChainReport,
    ChainTail,
    Chunk,
    CloseSession,
    Control,
    Denied,
    Done,
    Erase,
    Failure,
    Fetch,
    Finished,
    Hello,
    Jobs,
    JobsReport,
    Recorded,
    Refuse,
    Started,
    Status,
    StatusReport,
    Stop,
    Tail,
    TailReport,
)
from tibet_nc_protocol.note import Verifier, open_checkpoint
from tibet_nc_protocol.records import (
    Aborted,
    Checkpoint,
    Intent,
    Outcome,
    Refusal,
    Security,
    SecurityEvent,
    Session,
)
from tibet_nc_protocol.signing import PublicKey, Purpose
from tibet_nc_protocol.terms import DenialCode, Reason, Signal, Stage

SETTINGS = "[audit]\nrecording_bytes = 3000000\n"


@pytest.fixture
def place() -> Iterator[Path]:
    """Make a directory that every uid can reach."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def executor(place: Path) -> Iterator[Executor]:
    """Start an executor."""
    with Executor(place, settings=SETTINGS) as running:
        yield running


type Connect = Callable[[Executor], Awaitable[Client]]


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    """Return what connects clients, which are closed afterwards."""
    clients: list[Client] = []

    async def new(executor: Executor) -> Client:
        clients.append(await Client.connect(executor))
        return clients[-1]

    yield new
    for client in clients:
        await client.close()


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def security(executor: Executor) -> list[Security]:
    """Return the security records."""
    return [record for record in records(executor) if isinstance(record, Security)]


# --- what a command leaves ------------------------------------------------------------------------


async def test_a_command_leaves_intent_outcome_recording_and_token(
    executor: Executor, connect: Connect
) -> None:
    """One command: its records in order, its output whole, its token anchored."""
    client = await connect(executor)
    request = client.request("printf 'a\\377b\\n'; exit 3")
    await client.send(request)
    started = await client.receive()
    finished = await client.receive()
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert (finished.exit, finished.signal, finished.output) == (3, None, b"a\xffb\n")
    assert finished.reason is Reason.EXITED
    chain = records(executor)
    session, intent, outcome = chain[1:]
    assert isinstance(session, Session)
    assert isinstance(intent, Intent)
    assert isinstance(outcome, Outcome)
    assert (started.number, finished.number, finished.outcome) == (intent.seq, intent.seq, 3)
    assert (outcome.intent, outcome.exit, outcome.output_bytes) == (intent.seq, 3, 4)
    assert (intent.sender, intent.event, intent.session) == (
        OPERATOR,
        request.event,
        outcome.session,
    )
    tokens = (executor.state / "tokens.jsonl").read_text()
    assert f'"token_id": "{outcome.token}"' in tokens


async def test_big_output_is_fetched_whole(executor: Executor, connect: Connect) -> None:
    """What doesn't fit the result is fetched in chunks, exactly (I12)."""
    client = await connect(executor)
    finished = await client.run("seq 1 200000")
    assert isinstance(finished, Finished)
    whole = "".join(f"{n}\n" for n in range(1, 200001)).encode()
    assert finished.output == whole[:INLINE_BYTES]
    assert finished.recorded_bytes == finished.output_bytes == len(whole)
    output = bytearray()
    last = False
    while not last:
        await client.send(Fetch(request=client.number(), run=finished.run, offset=len(output)))
        chunk = await client.receive()
        assert isinstance(chunk, Chunk)
        assert chunk.offset == len(output)
        output += chunk.data
        last = chunk.last
    assert bytes(output) == whole
    # Going back is permitted too, also after many others were begun and not finished.
    for _ in range(2 * READERS):
        other = await client.run("seq 1 20000")
        assert isinstance(other, Finished)
        await client.send(Fetch(request=client.number(), run=other.run, offset=0))
        assert isinstance(await client.receive(), Chunk)
    opened = [os.readlink(path) for path in Path(f"/proc/{executor.pid}/fd").iterdir()]
    assert 0 < len([name for name in opened if name.endswith(".cast")]) <= READERS
    await client.send(Fetch(request=client.number(), run=finished.run, offset=7))
    chunk = await client.receive()
    assert isinstance(chunk, Chunk)
    assert chunk.data[:20] == whole[7:27]


async def test_output_over_the_cap_is_hashed_whole_and_said_to_be_cut(
    executor: Executor, connect: Connect
) -> None:
    """The recording ends at its limit, the hash and the length don't (I12)."""
    client = await connect(executor)
    finished = await client.run("head -c 5000000 /dev/zero")
    assert isinstance(finished, Finished)
    assert (finished.output_bytes, finished.recorded_bytes) == (5000000, 3000000)
    assert finished.output_sha256 == hashlib.sha256(bytes(5000000)).hexdigest()


# --- once -----------------------------------------------------------------------------------------


async def test_an_event_runs_once_however_often_it_is_asked(
    executor: Executor, connect: Connect
) -> None:
    """The second answer to an event is the first one's result; nothing runs again (I3)."""
    client = await connect(executor)
    command = "n=$((n+1)); echo run $n"
    first = await client.run(command, "$once")
    second = await client.run(command, "$once")
    assert isinstance(first, Finished)
    assert isinstance(second, Finished)
    assert (first.output, second.output) == (b"run 1\n", b"run 1\n")
    assert (first.repeated, second.repeated) == (False, True)
    assert first.head == second.head
    third = await client.run(command, "$other")
    assert isinstance(third, Finished)
    assert third.output == b"run 2\n"


async def test_an_event_asked_twice_at_once_runs_once(executor: Executor, connect: Connect) -> None:
    """Two requests for one event at the same time share one run (I3)."""
    client = await connect(executor)
    for _ in range(2):
        await client.send(client.request("sleep 0.3; echo $RANDOM", "$twin"))
    responses = [await client.receive() for _ in range(4)]
    finished = [response for response in responses if isinstance(response, Finished)]
    assert len(finished) == 2
    assert finished[0].output == finished[1].output
    assert len([record for record in records(executor) if isinstance(record, Intent)]) == 1


async def test_the_same_ciphertext_under_another_event_id_is_refused(
    executor: Executor, connect: Connect
) -> None:
    """A homeserver that repeats a ciphertext as a new event gets nothing run (I3, I5)."""
    client = await connect(executor)
    same = "ab" * 32
    await client.send(client.request("true", "$one", ciphertext=same))
    assert isinstance(await client.receive(), Started)
    assert isinstance(await client.receive(), Finished)
    await client.send(client.request("true", "$two", ciphertext=same))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.REPLAY
    assert [record.what for record in security(executor)] == [SecurityEvent.REPLAY]


async def test_a_ciphertext_that_still_runs_or_waits_is_refused_under_another_event_id(
    executor: Executor, connect: Connect
) -> None:
    """A repetition that comes before the first one is on record gets nothing run (I3, I5)."""
    client = await connect(executor)
    same = "ab" * 32
    await client.send(client.request("sleep 0.3", "$busy"))
    assert isinstance(await client.receive(), Started)
    await client.send(client.request("true", "$waits", ciphertext=same))
    await client.send(client.request("true", "$two", ciphertext=same))
    responses = [await client.receive() for _ in range(4)]
    denied = [response.code for response in responses if isinstance(response, Denied)]
    assert denied == [DenialCode.REPLAY]
    assert isinstance(await client.run("true"), Finished)  # and the executor goes on
    intents = [record for record in records(executor) if isinstance(record, Intent)]
    assert [record.event for record in intents][:2] == ["$busy", "$waits"]
    assert len(intents) == 3


async def test_nothing_is_forgotten_by_a_restart(executor: Executor, connect: Connect) -> None:
    """Events and ciphertexts that ran are known after a restart, with their results (I3)."""
    client = await connect(executor)
    await client.send(client.request("echo first", "$kept", ciphertext="cd" * 32))
    assert isinstance(await client.receive(), Started)
    before = await client.receive()
    assert isinstance(before, Finished)
    executor.stop()
    executor.start()
    client = await connect(executor)
    again = await client.run("echo second", "$kept")
    assert isinstance(again, Finished)
    assert (again.output, again.repeated, again.head) == (b"first\n", True, before.head)
    await client.send(client.request("true", "$new", ciphertext="cd" * 32))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.REPLAY


async def test_a_lost_index_is_made_anew_from_the_chain(
    executor: Executor, connect: Connect
) -> None:
    """Deleting the index loses nothing (I3)."""
    client = await connect(executor)
    await client.run("echo first", "$kept")
    executor.stop()
    for path in executor.state.glob("index.sqlite*"):
        path.unlink()
    executor.start()
    again = await (await connect(executor)).run("echo second", "$kept")
    assert isinstance(again, Finished)
    assert (again.output, again.repeated) == (b"first\n", True)


@pytest.mark.parametrize("table", ["runs", "ciphertexts"])
async def test_an_index_that_can_not_be_read_runs_nothing(
    executor: Executor, connect: Connect, table: str
) -> None:
    """With a damaged index nothing runs and that is told; made anew, all goes on (I3, I7)."""
    client = await connect(executor)
    finished = await client.run("true")
    assert isinstance(finished, Finished)
    with closing(sqlite3.connect(executor.state / "index.sqlite")) as database:

        def followed() -> bool:
            (length,) = database.execute("SELECT length FROM marker").fetchone()
            return bool(length > finished.outcome)

        await until(followed)
        database.execute(f"DROP TABLE {table}")
    denied = await client.run("echo no")
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.UNRECORDED
    assert denied.reason.startswith("nothing was run: the index can't be read: ")
    executor.stop()
    for path in executor.state.glob("index.sqlite*"):
        path.unlink()
    executor.start()
    assert isinstance(await (await connect(executor)).run("true"), Finished)
    assert len([record for record in records(executor) if isinstance(record, Intent)]) == 2


# --- crashes --------------------------------------------------------------------------------------


async def test_killed_in_the_middle_it_says_aborted_and_never_runs_again(
    executor: Executor,
    connect: Connect,
) -> None:
    """Kill -9 in mid-command: one intent, one aborted record, one answer (I1, I3, I4)."""
    client = await connect(executor)
    await client.send(client.request("echo x >>ran; sleep 30; echo done", "$killed"))
    assert isinstance(await client.receive(), Started)
    executor.kill()
    executor.start()
    client = await connect(executor)
    finished = await client.run("echo x >>ran; sleep 30; echo done", "$killed")
    assert isinstance(finished, Finished)
    assert finished.reason is Reason.ABORTED
    assert (finished.exit, finished.signal) == (None, None)
    chain = records(executor)
    assert len([record for record in chain if isinstance(record, Intent)]) == 1
    assert [record.intent for record in chain if isinstance(record, Aborted)] == [finished.number]


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
async def test_the_next_start_says_what_it_had_to_end(executor: Executor, connect: Connect) -> None:
    """What a killed executor's command left running is ended at the start, which says so (I6)."""
    client = await connect(executor)
    await client.send(client.request("setsid sleep 4758 & sleep 30"))
    assert isinstance(await client.receive(), Started)
    async with asyncio.timeout(SECONDS):
        while not executor.commands("sleep 4758"):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    executor.kill()
    executor.start()
    assert executor.commands("sleep 4758") == []
    assert "ended what an earlier executor left running: " in executor.log.read_text()
    assert "could not be ended" not in executor.log.read_text()


async def test_stopped_in_the_middle_it_records_how_the_command_ended(
    executor: Executor, connect: Connect
) -> None:
    """A clean stop kills what runs and records its outcome before it ends (I1)."""
    client = await connect(executor)
    await client.send(client.request("sleep 30"))
    assert isinstance(await client.receive(), Started)
    assert executor.stop() == 0
    outcomes = [record for record in records(executor) if isinstance(record, Outcome)]
    assert [record.reason for record in outcomes] == [Reason.KILLED]
    assert "the executor was stopped" in outcomes[0].notes
    assert isinstance(records(executor)[-2], Session)


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
@pytest.mark.parametrize("ending", ["stopped", "killed"])
async def test_what_waits_for_a_command_ends_with_the_executor(
    executor: Executor, connect: Connect, ending: str
) -> None:
    """The process made ready for the next command doesn't outlive the executor, nor runs it."""

    async def until(count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(commands_of(executor.uids.shell)) != count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)

    client = await connect(executor)
    await client.run("true")
    await until(1)
    if ending == "killed":
        executor.kill()
    else:
        assert executor.stop() == 0
    await until(0)


async def test_the_agent_may_leave_and_come_back(executor: Executor, connect: Connect) -> None:
    """A command goes on without its agent; who asks again joins it (I4)."""
    client = await connect(executor)
    await client.send(client.request("sleep 0.5; echo done", "$left"))
    assert isinstance(await client.receive(), Started)
    await client.close()
    client = await connect(executor)
    finished = await client.run("sleep 0.5; echo done", "$left")
    assert isinstance(finished, Finished)
    assert (finished.output, finished.repeated) == (b"done\n", True)


async def test_a_shortened_chain_stops_the_start(executor: Executor, connect: Connect) -> None:
    """A chain from which whole records were cut is not gone on with (I8)."""
    client = await connect(executor)
    await client.run("true")
    executor.stop()
    (path,) = (executor.state / "chain").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    with pytest.raises(AssertionError, match="was cut or replaced"):
        executor.start()


# --- who and what may not -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sender": "@stranger:example.org"}, DenialCode.SENDER),
        ({"room": "!elsewhere:example.org"}, DenialCode.ROOM),
        ({"sent_ms": 1_000_000}, DenialCode.STALE),
        ({"sent_ms": 4_000_000_000_000}, DenialCode.STALE),
    ],
)
async def test_the_executor_looks_for_itself(
    executor: Executor, connect: Connect, change: dict[str, object], code: DenialCode
) -> None:
    """What its own settings forbid doesn't run, whatever the agent says, and is recorded (I5)."""
    client = await connect(executor)
    await client.send(client.request("true", **change))  # type: ignore[arg-type]  # one of four
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is code
    (record,) = records(executor)[1:]
    assert record.seq == denied.number
    assert isinstance(record, Refusal if code is DenialCode.STALE else Security)


async def test_a_frame_that_is_not_signed_by_the_agent_ends_the_connection(
    executor: Executor,
    connect: Connect,
) -> None:
    """An unsigned or foreign message is recorded, answered with a failure, and nothing else."""
    client = await connect(executor)
    data = bytearray(client.sealer.seal(client.request("true")))
    data[-1] ^= 1
    await client.send_raw(frame(bytes(data)))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not signed" in failure.reason
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\0", (FRAME_BYTES + 1).to_bytes(4), b"\xff\xff\xff\xff", frame(b"hello"), b"\0\0"],
    ids=["empty", "over", "huge", "garbage", "torn"],
)
async def test_a_bad_frame_ends_the_connection_with_a_record(
    executor: Executor, connect: Connect, data: bytes
) -> None:
    """Empty, oversized, torn and meaningless frames: one failure, one record, closed."""
    client = await connect(executor)
    await client.send_raw(data)
    client.writer.write_eof()
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


async def test_a_repeated_frame_ends_the_connection(executor: Executor, connect: Connect) -> None:
    """The very bytes of an earlier request don't verify a second time."""
    client = await connect(executor)
    sealed = frame(client.sealer.seal(client.request("true", "$replayed")))
    await client.send_raw(sealed)
    assert isinstance(await client.receive(), Started)
    assert isinstance(await client.receive(), Finished)
    await client.send_raw(sealed)
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)


async def test_nothing_is_permitted_before_the_hello(executor: Executor) -> None:
    """A request on a connection that was not greeted ends it."""
    reader, writer = await asyncio.open_unix_connection(executor.socket)
    client = Client(reader, writer)
    await asyncio.wait_for(reader.read(65536), 10)
    await client.send(client.request("true"))
    assert await asyncio.wait_for(reader.read(), 10) != b""
    await client.close()
    assert [record.what for record in security(executor)] == [SecurityEvent.PROTOCOL]


async def test_a_second_hello_and_another_version_are_refused(
    executor: Executor, connect: Connect
) -> None:
    """The hello is said once, in the version that both speak."""
    client = await connect(executor)
    await client.send(Hello(protocol=1, version="x", connection=client.sealer.connection))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not permitted" in failure.reason


async def test_a_message_of_another_connection_does_not_verify(
    executor: Executor, connect: Connect
) -> None:
    """A hello for one connection is worth nothing on another."""
    first = await connect(executor)
    reader, writer = await asyncio.open_unix_connection(executor.socket)
    await asyncio.wait_for(reader.read(65536), 10)
    hello = Hello(protocol=1, version="x", connection=first.sealer.connection)
    writer.write(frame(first.sealer.seal(hello)))
    rest = await asyncio.wait_for(reader.read(), 10)
    assert b"not signed by the enrolled key" in rest
    writer.close()
    await writer.wait_closed()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another uid")
async def test_another_uid_is_turned_away_by_the_kernels_word(executor: Executor) -> None:
    """With every file mode open, another uid still gets nothing but a closed socket (I2)."""
    executor.socket.parent.chmod(0o755)
    executor.socket.chmod(0o666)
    script = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'x'*8)\n"
        "sys.stdout.buffer.write(s.recv(100))\n"
    )
    other = replace(executor.uids, agent=FOREIGN_UID)
    done = await asyncio.to_thread(
        subprocess.run,
        [*as_agent(other), sys.executable, "-I", "-c", script, str(executor.socket)],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) in {(0, b""), (1, b"")}, done.stderr
    await until(lambda: bool(security(executor)))
    (record,) = security(executor)
    assert (record.what, record.uid) == (SecurityEvent.PEER, FOREIGN_UID)


async def test_the_shell_uid_reads_and_reaches_nothing(
    executor: Executor, connect: Connect
) -> None:
    """As the shell uid: no file of the executor's, no key, no socket, no memory (I6, I10)."""
    client = await connect(executor)
    await client.run("echo a recording")
    paths = [str(path) for path in sorted(executor.state.rglob("*"))]
    paths += [str(executor.state), str(executor.socket), str(executor.socket.parent)]
    proc = [f"/proc/{executor.pid}/{name}" for name in ("environ", "mem", "maps", "fd", "auxv")]
    assert len(paths) > 8
    script = (
        "import os, socket, sys\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        if path.endswith('.sock'):\n"
        "            socket.socket(socket.AF_UNIX).connect(path)\n"
        "        elif os.path.isdir(path): os.listdir(path)\n"
        "        else: open(path, 'rb').read(1)\n"
        "        print('REACHED', path)\n"
        "    except OSError as error:\n"
        "        print(error.errno)\n"
    )
    quoted = " ".join(f"'{path}'" for path in (*paths, *proc))
    done = await client.run(
        f'/usr/bin/env python3 -c "{script}" {quoted}'.replace("/usr/bin/env ", "")
    )
    assert isinstance(done, Finished)
    lines = done.output.decode().split()
    assert "REACHED" not in lines
    assert len(lines) == len(paths) + len(proc), done.output
    assert set(lines) <= {"13", "1", "2"}


# --- control --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signal", "reason"), [(Signal.INTERRUPT, Reason.CANCELLED), (Signal.KILL, Reason.KILLED)]
)
async def test_an_operator_ends_a_command(
    executor: Executor, connect: Connect, signal: Signal, reason: Reason
) -> None:
    """Interrupt and kill end a command, and the outcome names who did it."""
    client = await connect(executor)
    await client.send(client.request("sleep 30"))
    started = await client.receive()
    # Bash loses a signal in the moment before the program is there.
    await until(lambda: bool(executor.commands("sleep 30")))
    assert isinstance(started, Started)
    await client.send(Jobs(request=client.number()))
    jobs = await client.receive()
    assert isinstance(jobs, JobsReport)
    assert [(job.number, job.command) for job in jobs.jobs] == [(started.number, "sleep 30")]
    await client.send(
        Control(
            request=client.number(),
            room=ROOM,
            sender=OPERATOR,
            number=started.number,
            signal=signal,
        )
    )
    answers = [await client.receive(), await client.receive()]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    assert any(isinstance(answer, Done) for answer in answers)
    assert finished.reason is reason
    assert finished.notes[0] == f"{signal} by {OPERATOR}"


async def test_only_operators_end_commands(executor: Executor, connect: Connect) -> None:
    """A stranger can't signal, and nobody can signal what doesn't run."""
    client = await connect(executor)
    for sender, number, code in (
        ("@stranger:example.org", 0, DenialCode.SENDER),
        (OPERATOR, 99, DenialCode.UNKNOWN),
    ):
        await client.send(
            Control(
                request=client.number(),
                room=ROOM,
                sender=sender,
                number=number,
                signal=Signal.KILL,
            )
        )
        denied = await client.receive()
        assert isinstance(denied, Denied)
        assert denied.code is code


async def test_a_pin_counts_from_its_next_request_on(executor: Executor, connect: Connect) -> None:
    """Who is pinned may command at once, who isn't any more may not; nothing is restarted (I5)."""
    other = "@other:example.org"
    client = await connect(executor)

    async def asked(sender: str) -> Finished | Denied:
        await client.send(client.request("true", sender=sender))
        while not isinstance(answer := await client.receive(), Finished | Denied):
            pass
        return answer

    denied = await asked(other)
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.SENDER
    assert f"tibet-nc-agent trust {other}" in denied.reason
    executor.pin(other)
    assert isinstance(await asked(other), Finished)
    assert isinstance(await asked(OPERATOR), Denied)
    executor.pins.unlink()
    assert isinstance(await asked(other), Denied)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o644)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give files away")
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: os.chown(path, FOREIGN_UID, 0), "belongs to uid"),
        (lambda path: path.chmod(0o664), "lets others"),
        (lambda path: path.write_text("[[operator]]\nuser = 5\n"), "operator"),
        (_link, "symbolic"),
        (_pipe, "not a file"),
    ],
)
async def test_pins_that_others_could_have_written_count_for_nothing(
    executor: Executor, connect: Connect, spoil: Callable[[Path], object], why: str
) -> None:
    """Pins that not root alone could have written count for nothing, and that is told (I5)."""
    client = await connect(executor)
    assert isinstance(await client.run("true"), Finished)
    spoil(executor.pins)
    denied = await client.run("true")
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.SENDER
    assert str(executor.pins) in denied.reason
    assert why in denied.reason


async def test_the_setting_narrows_the_pins(place: Path, connect: Connect) -> None:
    """Where policy.operators names anybody, a pin alone is not enough (I5)."""
    with Executor(place) as executor:
        executor.stop()
        config = place / "executor.toml"
        config.write_text(config.read_text().replace("[policy]", '[policy]\noperators = ["@a:b"]'))
        executor.start()
        client = await connect(executor)
        executor.pin(OPERATOR, "@a:b")
        assert isinstance(await client.run("true"), Denied)
        await client.send(client.request("true", sender="@a:b"))
        assert isinstance(await client.receive(), Started)


async def test_stop_ends_what_runs_and_what_waits(executor: Executor, connect: Connect) -> None:
    """The panic switch kills the running command, and the waiting ones never start."""
    client = await connect(executor)
    for _ in range(3):
        await client.send(client.request("echo x >>ran; sleep 30"))
    assert isinstance(await client.receive(), Started)
    await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
    answers = [await client.receive() for _ in range(4)]
    (done,) = [answer for answer in answers if isinstance(answer, Done)]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    denied = [answer for answer in answers if isinstance(answer, Denied)]
    assert done.count == 3
    assert finished.reason is Reason.KILLED
    assert [answer.code for answer in denied] == [DenialCode.CANCELLED] * 2
    assert len([record for record in records(executor) if isinstance(record, Intent)]) == 1


async def test_input_is_typed_and_the_newest_output_shown(
    executor: Executor, connect: Connect
) -> None:
    """A command that reads gets what an operator types, which is noted, and can be watched."""
    client = await connect(executor)
    await client.send(client.request("echo name?; read name; echo hello $name; cat"))
    started = await client.receive()
    assert isinstance(started, Started)
    shown = b""
    while shown != b"name?\n":
        await client.send(Tail(request=client.number(), number=started.number))
        report = await client.receive()
        assert isinstance(report, TailReport)
        shown = report.data
    await client.type(started.number, "Ann\nmore\n", end=True)
    answers = [await client.receive(), await client.receive()]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    assert finished.output == b"name?\nhello Ann\nmore\n"
    assert f"9 bytes of input by {OPERATOR}" in finished.notes


async def test_one_session_runs_in_order_and_others_meanwhile(
    executor: Executor, connect: Connect
) -> None:
    """Ten commands at once in one session run one after the other, as they came."""
    client = await connect(executor)
    for number in range(10):
        await client.send(client.request(f"list=${{list}}{number}; echo $list"))
    responses = [await client.receive() for _ in range(20)]
    outputs = [response.output for response in responses if isinstance(response, Finished)]
    assert outputs[-1] == b"0123456789\n"
    assert len(outputs) == 10


async def test_a_session_ends_when_its_operator_says_so(
    executor: Executor, connect: Connect
) -> None:
    """After the end of a session its variables are gone, and both are recorded."""
    client = await connect(executor)
    await client.run("kept=yes")
    close = CloseSession(request=client.number(), room=ROOM, sender=OPERATOR)
    await client.send(close)
    assert isinstance(await client.receive(), Recorded)
    finished = await client.run("echo [$kept]")
    assert isinstance(finished, Finished)
    assert finished.output == b"[]\n"
    states = [record.state for record in records(executor) if isinstance(record, Session)]
    assert states == ["opened", "closed", "opened"]


# --- reports --------------------------------------------------------------------------------------


def refusal(number: int, event: str) -> Refuse:
    """Return the report that the airlock has refused an event."""
    return Refuse(
        request=number,
        room=ROOM,
        event=event,
        sender=OPERATOR,
        device="DEVICE",
        command="reboot",
        stage=Stage.SAFETY,
        family="power",
        reason="would restart the host",
    )


async def test_a_refusal_is_recorded_once(executor: Executor, connect: Connect) -> None:
    """The airlock's refusal of one event is one record, however often it is reported."""
    client = await connect(executor)
    numbers = set()
    for _ in range(2):
        await client.send(refusal(client.number(), "$refused"))
        recorded = await client.receive()
        assert isinstance(recorded, Recorded)
        numbers.add(recorded.number)
    (record,) = records(executor)[1:]
    assert isinstance(record, Refusal)
    assert numbers == {record.seq}
    assert (record.stage, record.family) == (Stage.SAFETY, "power")


async def test_what_runs_or_ran_is_not_refused(executor: Executor, connect: Connect) -> None:
    """An agent that has lost its memory is told so, and no record calls it refused (I3)."""
    client = await connect(executor)
    await client.send(client.request("sleep 1", event="$running"))
    assert isinstance(await client.receive(), Started)
    await client.send(client.request("true", event="$waiting"))
    for event in ("$running", "$waiting"):
        await client.send(refusal(client.number(), event))
        denied = await client.receive()
        assert isinstance(denied, Denied)
        assert denied.code is DenialCode.RAN
    ended = 0
    while ended < 2:
        ended += isinstance(await client.receive(), Finished)
    await client.send(refusal(client.number(), "$waiting"))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    number = next(
        record.seq
        for record in records(executor)
        if isinstance(record, Intent) and record.event == "$waiting"
    )
    assert (denied.code, denied.number) == (DenialCode.RAN, number)
    assert not any(isinstance(record, Refusal) for record in records(executor))


async def test_status_and_chain_say_what_is(executor: Executor, connect: Connect) -> None:
    """The reports agree with the chain."""
    client = await connect(executor)
    await client.send(
        Alert(
            request=client.number(),
            what="identity",
            detail="changed",
            room=ROOM,
            event=None,
            sender=OPERATOR,
        )
    )
    assert isinstance(await client.receive(), Recorded)
    await client.run("true")
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    status = await client.receive()
    await client.send(ChainTail(request=client.number(), limit=3))
    report = await client.receive()
    assert isinstance(status, StatusReport)
    assert isinstance(report, ChainReport)
    chain = records(executor)
    assert (status.records, status.runs, status.running) == (len(chain), 1, 0)
    assert [entry.number for entry in report.entries] == [2, 3, 4]
    assert report.head == status.head == report.entries[-1].digest
    assert report.key == executor.key.hex
    assert (status.session_commands, status.denial) == (1, None)
    assert status.directory is not None
    assert status.directory.startswith(str(executor.directory / "home"))
    assert status.limits.recording_bytes == 3_000_000


async def test_a_status_says_why_a_command_would_be_denied(
    executor: Executor, connect: Connect
) -> None:
    """Whether a command of somebody would be admitted can be asked, and nothing is recorded."""
    client = await connect(executor)
    before = len(records(executor))
    stranger, elsewhere = "@eve:example.org", "!other:example.org"
    denials = []
    for room, sender in ((ROOM, stranger), (elsewhere, OPERATOR), (ROOM, OPERATOR)):
        await client.send(Status(request=client.number(), room=room, sender=sender))
        status = await client.receive()
        assert isinstance(status, StatusReport)
        denials.append(status.denial)
    assert denials == [
        f"{stranger} is not pinned on this host: tibet-nc-agent trust {stranger}",
        f"{elsewhere} is not a room of this host",
        None,
    ]
    assert len(records(executor)) == before


def test_the_challenge_is_signed_by_the_executor(executor: Executor) -> None:
    """Before it says anything, the agent knows that it speaks to the executor it pinned."""
    with raw_socket(executor) as plain:
        data = plain.recv(65536)
    opener = Opener(AGENT.public_key, Purpose.RESPONSE, REQUESTS)
    with pytest.raises(SignatureError):
        opener.open(data[4:])


# --- checkpoints ----------------------------------------------------------------------------------


async def test_checkpoints_follow_the_chain_across_restarts(place: Path, connect: Connect) -> None:
    """Every so many records, and at the stop, a checkpoint with the true root is recorded (I8)."""
    settings = "[audit]\ncheckpoint_records = 10\n"
    with Executor(place, settings=settings) as executor:
        for _ in range(2):
            client = await connect(executor)
            for _ in range(8):
                await client.run("true")
            await client.close()
            executor.stop()
            executor.start()
    chain = records(executor)  # which verifies each root and each note
    found = [record for record in chain if isinstance(record, Checkpoint)]
    assert len(found) >= 4
    assert isinstance(chain[-1], Checkpoint)
    key = Verifier(name=found[0].note.split("\n")[0], key=executor.key)
    for record in found:
        checkpoint = open_checkpoint(record.note, key)
        assert (checkpoint.size, checkpoint.root.hex()) == (record.seq, record.root)


async def test_the_agent_is_told_of_each_checkpoint(place: Path, connect: Connect) -> None:
    """A checkpoint is announced as it is recorded, so that the room can hold it (I8)."""
    with Executor(place, settings="[audit]\ncheckpoint_s = 1\n") as executor:
        client = await connect(executor)
        announcement = await client.receive()
        assert isinstance(announcement, Announcement)
        noted = [r.note for r in records(executor) if isinstance(r, Checkpoint)]
        assert announcement.note in noted


async def test_an_idle_executor_makes_checkpoints_too(place: Path) -> None:
    """A chain that nobody writes to still says from time to time how long it is (I8)."""
    with Executor(place, settings="[audit]\ncheckpoint_s = 1\n") as executor:
        await until(
            lambda: sum(isinstance(record, Checkpoint) for record in records(executor)) >= 2
        )


# --- erasing --------------------------------------------------------------------------------------


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be the administrator")
async def test_the_agent_can_erase_nothing(executor: Executor, connect: Connect) -> None:
    """A request of the administrator's ends the agent's connection (I2)."""
    client = await connect(executor)
    await client.send(Erase(request=1, number=1, recording=True, reason="x"))
    (failure,) = await client.ended()
    assert isinstance(failure, Failure)
    assert "not permitted to the agent" in failure.reason


# --- another key ----------------------------------------------------------------------------------


async def test_the_chain_goes_on_with_another_key(executor: Executor, connect: Connect) -> None:
    """The old key signs the new one into the chain, which verifies from the first key on."""
    client = await connect(executor)
    await client.run("true")
    await client.close()
    executor.stop()
    first = executor.key
    new = PublicKey.from_hex(executor.verb("identity", "--rotate").split()[-1])
    assert new != first
    executor.start()
    executor.key = new
    client = await connect(executor)
    await client.run("true")
    executor.key = first
    kinds = [type(record).__name__ for record in records(executor)]
    assert kinds.count("Key") == 1
    assert kinds[-2:] == ["Intent", "Outcome"]


async def test_a_change_of_key_needs_a_chain_and_cuts_what_is_torn(place: Path) -> None:
    """Without a chain nothing could attest another key; a torn line is cut off as at any start."""
    executor = Executor(place)
    key = (executor.state / "executor.key").read_bytes()
    with pytest.raises(AssertionError, match="there is no chain yet"):
        executor.verb("identity", "--rotate")
    assert (executor.state / "executor.key").read_bytes() == key
    assert not (executor.state / "executor.key.new").exists()
    executor.start()
    executor.kill()
    with (executor.state / "chain" / "000000000000.jsonl").open("ab") as file:
        file.write(b'{"torn')
    executor.verb("identity", "--rotate")
    assert (executor.state / "executor.key").read_bytes() != key
    executor.key = PublicKey.from_hex(executor.verb("identity").split()[-1])
    with executor:
        pass


async def test_an_interrupted_change_of_key_is_finished_by_doing_it_again(
    executor: Executor,
) -> None:
    """After a crash between the record and the file, the same new key is used, not a third."""
    executor.stop()
    old = (executor.state / "executor.key").read_bytes()
    executor.verb("identity", "--rotate")
    new = (executor.state / "executor.key").read_bytes()
    for name, data in (("executor.key", old), ("executor.key.new", new)):
        (executor.state / name).write_bytes(data)
        (executor.state / name).chmod(0o600)
        os.chown(executor.state / name, executor.uids.executor, executor.uids.executor)
    with pytest.raises(AssertionError, match="goes on with key"):
        executor.start()
    executor.verb("identity", "--rotate")
    assert (executor.state / "executor.key").read_bytes() == new
    assert not (executor.state / "executor.key.new").exists()
    executor.start()
    assert [type(r).__name__ for r in records(executor)].count("Key") == 1


# --- a full disk ----------------------------------------------------------------------------------


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """Make a directory whose ``state`` is a file system of 4 MiB."""
    state = place / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)], check=True)
    yield place
    subprocess.run(["umount", str(state)], check=True)


def fill(path: Path) -> None:
    """Write a file until the disk is full."""
    with path.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
            file.flush()


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
        assert [a.code for a in answers if isinstance(a, Denied)] == [DenialCode.UNRECORDED]
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
