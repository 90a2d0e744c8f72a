# SPDX-License-Identifier: MIT
"""Sessions and what commands leave running, asked over the real socket and read in the chain."""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio

from tests.executor.rig import OPERATOR, OTHER_OPERATOR, ROOM, Client, Executor, records
from tests.mounts import mount_memory, private_mounts
from tibet_nc_executor.command import FULL
from tibet_nc_executor.domain import can_scope
from tibet_nc_executor.recording import read_output
from tibet_nc_protocol.layout import RECORDINGS
from tibet_nc_protocol.limits import BACKGROUND_RUNS
from tibet_nc_protocol.messages import (
    CloseSession,
    Control,
    Denied,
    Done,
    Finished,
    Job,
    Jobs,
    JobsReport,
    Recorded,
    SessionNotice,
    Started,
    Status,
    StatusReport,
    Stop,
    Tail,
    TailReport,
)
from tibet_nc_protocol.records import Intent, Outcome, Remainder, Session
from tibet_nc_protocol.terms import Reason, Signal

UNRESTRICTED = "restricted = false"


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
    with Executor(place, shell=UNRESTRICTED) as running:
        yield running


@pytest_asyncio.fixture
async def client(executor: Executor) -> AsyncIterator[Client]:
    """Connect to it."""
    connected = await Client.connect(executor)
    yield connected
    await connected.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def run(client: Client, command: str) -> Finished:
    """Run a command that is not denied."""
    finished = await client.run(command)
    assert isinstance(finished, Finished), finished
    return finished


async def jobs(client: Client) -> tuple[Job, ...]:
    """Ask what runs."""
    await client.send(Jobs(request=client.number()))
    report = await client.receive()
    assert isinstance(report, JobsReport)
    return report.jobs


async def control(client: Client, number: int, signal: Signal) -> None:
    """Signal a command."""
    await client.send(
        Control(request=client.number(), room=ROOM, sender=OPERATOR, number=number, signal=signal)
    )
    assert isinstance(await client.receive(), Done)


def remainders(executor: Executor) -> list[Remainder]:
    """Return the remainders on record."""
    return [record for record in records(executor) if isinstance(record, Remainder)]


# --- what commands leave running ------------------------------------------------------------------


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
    await run(client, "mkfifo gate")
    left = await run(client, "(read -r x <gate; printf late) & true")
    others = await run(client, "sleep 4761 & true")
    open_gate = "echo >gate"
    if when == "meanwhile":
        finished = await run(client, f"{open_gate}; sleep 2")
    else:
        assert (await run(client, f"({open_gate}) & disown; true")).notes == ()
        await until(lambda: len(remainders(executor)) >= 1)
        while left.number in [job.number for job in await jobs(client)]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
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


async def test_killed_with_the_executor_it_is_aborted(executor: Executor, client: Client) -> None:
    """After a crash nothing of it runs, the chain says so, and verifies."""
    await run(client, "setsid sleep 4754 & true")
    executor.kill()
    executor.start()
    assert executor.commands("sleep 4754") == []
    (remainder,) = remainders(executor)
    assert (remainder.reason, remainder.recording) == (Reason.ABORTED, "")


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


# --- sessions -------------------------------------------------------------------------------------


async def test_a_session_survives_the_agent(executor: Executor, client: Client) -> None:
    """A session is the executor's: an agent that comes back finds state and jobs as they were."""
    left = await run(client, "a=kept; sleep 4756 & true")
    await client.close()
    back = await Client.connect(executor)
    assert (await run(back, "echo $a")).output == b"kept\n"
    assert [job.number for job in await jobs(back)] == [left.number]
    await back.close()


async def test_operators_have_sessions_of_their_own(client: Client) -> None:
    """Another operator's session in the same room knows nothing of the first."""
    await run(client, "a=mine; cd /usr; touch ~/here")
    await client.send(client.request("echo [$a] $PWD; ls ~", sender=OTHER_OPERATOR))
    assert isinstance(await client.receive(), Started)
    finished = await client.receive()
    assert isinstance(finished, Finished)
    assert finished.output.startswith(b"[] ")
    assert b"/usr" not in finished.output


DEATHS = {
    "exit 3": "exit 3",
    "exec false": "exec, exit 1",
    "exec bash -c 'exit 3'": "exec, exit 3",
    "kill -9 $$": "signal 9",
    "set -e; false; echo no": "set -e, exit 1",
}


@pytest.mark.parametrize("text", DEATHS)
async def test_a_shell_that_ends_ends_its_session(
    executor: Executor, client: Client, text: str
) -> None:
    """Its status is told at once, all of its session is gone, and the next command has a new one.

    The records say so in this order: outcome, remainder of what was left, end, new session.
    """
    left = await run(client, "a=1; echo $PWD; sleep 4758 & true")
    home = Path(left.output.decode().strip())
    finished = await run(client, text)
    how = DEATHS[text]
    assert (
        f"exit {finished.exit}" if finished.signal is None else f"signal {finished.signal}"
    ) == how.split(", ")[-1]
    told = f"this ended your session ({how}): the next command begins a new one"
    assert finished.notes == (told,)
    fresh = await run(client, "echo [$a] $PWD; [[ $- != *e* ]] && echo plain")
    why = f"#{finished.number} ended its shell: {how}"
    assert fresh.notes == (f"this is a new session: the last one has ended ({why})",)
    shown, directory, plain = fresh.output.decode().split()
    assert (shown, plain) == ("[]", "plain")
    assert not home.exists()
    assert Path(directory).exists()
    assert executor.commands("sleep 4758") == []
    *_, outcome, remainder, closed, opened, intent, _ = records(executor)
    assert isinstance(outcome, Outcome)
    assert isinstance(remainder, Remainder)
    assert isinstance(closed, Session)
    assert isinstance(opened, Session)
    assert isinstance(intent, Intent)
    assert (outcome.intent, outcome.notes) == (finished.number, finished.notes)
    assert (remainder.intent, remainder.reason) == (left.number, Reason.KILLED)
    assert (closed.session, closed.state, closed.detail) == (outcome.session, "closed", why)
    assert (opened.session, opened.state) == (intent.session, "opened")
    assert opened.session != closed.session
    again = await run(client, "true")
    assert again.notes == ()


async def test_what_waits_behind_a_dead_shell_runs_in_the_next_one(
    executor: Executor, client: Client
) -> None:
    """None is lost, none runs twice, all in order, and each in the session that its record says."""
    commands = [
        "a=1; echo one >>~/ran; cat ~/ran",
        "echo [$a]; sleep 0.2; exit 3",
        "echo [$a]; echo two >>~/ran; cat ~/ran; b=2",
        "echo [$b]; kill -9 $$",
        "exec echo gone",
        "echo [$b]; cat ~/ran",
        "echo $b",
    ]
    requests = [client.request(command) for command in commands]
    for request in requests:
        await client.send(request)
    found: dict[int, Finished] = {}
    while len(found) < len(commands):
        response = await client.receive()
        assert isinstance(response, Started | Finished), response
        if isinstance(response, Finished):
            assert response.request not in found, response
            found[response.request] = response
    assert list(found) == [request.request for request in requests]
    ends = list(found.values())
    assert [end.output for end in ends[:5]] == [
        b"one\n", b"[1]\n", b"[]\ntwo\n", b"[2]\n", b"gone\n",
    ]  # fmt: skip
    assert ends[5].output.startswith(b"[]\ncat: ")
    dead = [1, 3, 4]
    for index, end in enumerate(ends):
        new = [note for note in end.notes if note.startswith("this is a new session")]
        assert bool(new) == (index - 1 in dead)
        if new:
            assert f"(#{ends[index - 1].number} ended its shell: " in new[0]
    chain = records(executor)
    intents = [record for record in chain if isinstance(record, Intent)]
    assert len(intents) == len(commands)
    sessions = [intent.session for intent in intents]
    assert sessions == [outcome.session for outcome in chain if isinstance(outcome, Outcome)]
    assert [here != there for here, there in pairwise(sessions)] == [
        index in dead for index in range(len(commands) - 1)
    ]
    opened = [record for record in chain if isinstance(record, Session)]
    assert [record.state for record in opened] == ["opened", "closed"] * 3 + ["opened"]


async def test_another_s_session_outlives_a_dead_shell(client: Client) -> None:
    """One operator's `exit` is nothing to another."""
    for text in ("a=theirs; sleep 4759 & true", "echo $a"):
        await client.send(client.request(text, sender=OTHER_OPERATOR))
        assert isinstance(await client.receive(), Started)
        theirs = await client.receive()
        assert isinstance(theirs, Finished)
        await run(client, "exit 1")
        printed = theirs.output
    assert printed == b"theirs\n"
    assert [job.sender for job in await jobs(client)] == [OTHER_OPERATOR]


async def test_what_an_operator_ends_is_the_command_and_not_the_session(
    executor: Executor, client: Client
) -> None:
    """`!cancel` and `!kill` leave the session where it was, but not one whose shell is replaced."""
    await run(client, "a=1")
    for text, signal, same in (
        ("sleep 4760", Signal.INTERRUPT, True),
        ("trap '' INT; sleep 4760", Signal.KILL, True),
        ("exec sleep 4760", Signal.INTERRUPT, False),
    ):
        await client.send(client.request(text))
        started = await client.receive()
        assert isinstance(started, Started)
        await until(lambda: bool(executor.commands("sleep 4760")))
        await control(client, started.number, signal)
        finished = await client.receive()
        assert isinstance(finished, Finished)
        assert any("ended your session" in note for note in finished.notes) != same
        assert (await run(client, "echo [$a]")).output == (b"[1]\n" if same else b"[]\n")


@pytest.mark.parametrize("ending", ["stop", "kill"])
async def test_why_the_last_session_ended_outlives_the_executor(
    executor: Executor, client: Client, ending: str
) -> None:
    """After a restart the first answer tells the true reason, and only the first."""
    dead = await run(client, "exit 3")
    await until(lambda: isinstance(records(executor)[-1], Session))
    if ending == "stop":
        executor.stop()
    else:
        executor.kill()
    executor.start()
    back = await Client.connect(executor)
    note = f"this is a new session: the last one has ended (#{dead.number} ended its shell: exit 3)"
    assert (await run(back, "true")).notes == (note,)
    assert (await run(back, "true")).notes == ()
    await back.close()


async def notice(client: Client) -> SessionNotice:
    """Return the next notice."""
    response = await client.receive()
    assert isinstance(response, SessionNotice), response
    return response


LIMITS = "session_warning_s = 1\n"


async def test_an_idle_session_is_warned_and_ends(place: Path) -> None:
    """The room can be told before; then the session ends with all of it, and the next is new."""
    with Executor(place, shell=f"{LIMITS}session_idle_s = 2") as executor:
        client = await Client.connect(executor)
        await run(client, "a=1; sleep 4757 & true")
        warning = await notice(client)
        assert (warning.room, warning.sender, warning.seconds) == (ROOM, OPERATOR, 1)
        assert warning.reason == "no command for 2 s"
        ended = await notice(client)
        assert (ended.session, ended.seconds) == (warning.session, 0)
        assert executor.commands("sleep 4757") == []
        *_, remainder, closed = records(executor)
        assert isinstance(remainder, Remainder)
        assert isinstance(closed, Session)
        assert (closed.state, closed.detail) == ("closed", "no command for 2 s")
        finished = await run(client, "echo [$a]")
        assert finished.output == b"[]\n"
        note = "this is a new session: the last one has ended (no command for 2 s)"
        assert finished.notes == (note,)
        assert (await run(client, "true")).notes == ()
        await client.close()


async def test_a_session_that_is_used_is_not_idle(place: Path) -> None:
    """A long command is no idle time, and each command begins the time anew."""
    with Executor(place, shell=f"{LIMITS}session_idle_s = 2") as executor:
        client = await Client.connect(executor)
        await run(client, "a=1; sleep 2.5")
        assert (await run(client, "echo $a")).output == b"1\n"
        assert (await notice(client)).seconds == 1
        await client.close()


async def test_the_hard_limit_ends_what_runs(place: Path) -> None:
    """No session lasts longer, a busy one neither: its command is killed, and that is said."""
    with Executor(place, shell=f"{LIMITS}session_total_s = 3") as executor:
        client = await Client.connect(executor)
        await client.send(client.request("a=1; sleep 100"))
        assert isinstance(await client.receive(), Started)
        assert (await notice(client)).reason == "a session lasts 3 s at most"
        finished = await client.receive()
        assert isinstance(finished, Finished)
        assert finished.reason is Reason.KILLED
        assert "the session has ended: a session lasts 3 s at most" in finished.notes
        assert (await notice(client)).seconds == 0
        await client.close()


async def test_a_restart_begins_a_new_session(executor: Executor, client: Client) -> None:
    """State does not survive the executor; the first answer after it says so, once."""
    await run(client, "a=1")
    for restart, why in (
        (executor.stop, "the executor stopped"),
        (executor.kill, "the executor ended"),
    ):
        restart()
        executor.start()
        back = await Client.connect(executor)
        finished = await run(back, "echo [$a]")
        assert finished.output == b"[]\n"
        assert finished.notes == (f"this is a new session: the last one has ended ({why})",)
        await back.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
async def test_sessions_do_not_reach_each_other_s_processes(
    executor: Executor, client: Client
) -> None:
    """Another session's process can't be signalled or looked into, the own ones can (I6).

    On a kernel without Landlock's scopes it can, and the status says so.
    """
    victim = int((await run(client, "sleep 4763 & echo $!")).output)
    reach = (
        f"kill -0 {victim} && echo signalled; cat /proc/{victim}/environ >/dev/null && echo read;"
        " sleep 4764 & kill $! && echo own; [[ -r /proc/$$/environ ]] && echo self"
    )
    await client.send(client.request(reach, sender=OTHER_OPERATOR))
    assert isinstance(await client.receive(), Started)
    other = await client.receive()
    assert isinstance(other, Finished)
    mine = await run(client, f"kill -0 {victim} && echo signalled; kill {victim} && echo killed")
    assert mine.output == b"signalled\nkilled\n"
    await until(lambda: executor.commands("sleep 4763") == [])
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    while not isinstance(report := await client.receive(), StatusReport):
        pass
    words = other.output.decode().splitlines()
    if "sessions apart" in report.cage.walls:
        assert ("signalled" in words, "read" in words) == (False, False)
    else:
        assert not can_scope()
        assert "NO wall between sessions' processes" in report.cage.walls
    assert words[-2:] == ["own", "self"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
@pytest.mark.skipif(not can_scope(), reason="needs Landlock's scopes (Linux 6.12)")
async def test_sessions_do_not_reach_each_other_s_abstract_sockets(client: Client) -> None:
    """An abstract socket of another session, which has no file mode, refuses; one's own doesn't."""
    await run(
        client,
        "python3 -c 'import socket, time; s = socket.socket(socket.AF_UNIX);"
        ' s.bind("\\0tibet-nc-test"); s.listen(); open("up", "w"); time.sleep(100)\' &'
        " while [ ! -e up ]; do sleep 0.01; done",
    )
    reach = (
        "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX);"
        ' s.connect("\\0tibet-nc-test"); print("connected")\''
    )
    await client.send(client.request(reach, sender=OTHER_OPERATOR))
    assert isinstance(await client.receive(), Started)
    other = await client.receive()
    assert isinstance(other, Finished)
    assert b"PermissionError" in other.output
    assert (await run(client, reach)).output == b"connected\n"


# --- homes ----------------------------------------------------------------------------------------


async def test_a_home_is_private_and_goes_with_its_session(
    executor: Executor, client: Client
) -> None:
    """Another session can't enter it, and nothing of it is left, whatever a command did to it."""
    first = await run(client, "echo $PWD; mkdir -p a/b; echo secret >a/f; chmod 0 a/b a; mkfifo .p")
    home = first.output.decode().strip()
    assert home.startswith(f"{executor.directory}/home/")
    attack = (
        f"ls {home}; cat {home}/a/f; touch {home}/x; chmod 777 {home}; mv {home} ~/mine;"
        f" rm -rf {home}; ln -s /etc {home}/etc; echo $PWD"
    )
    await client.send(client.request(attack, sender=OTHER_OPERATOR))
    assert isinstance(await client.receive(), Started)
    finished = await client.receive()
    assert isinstance(finished, Finished)
    *refused, own = finished.output.decode().splitlines()
    assert own != home
    assert own.startswith(f"{executor.directory}/home/")
    assert len(refused) >= 6
    assert all("denied" in line or "not permitted" in line for line in refused), refused
    assert (await run(client, "chmod 700 a; cat a/f")).output == b"secret\n"
    await run(client, "chmod 0 a")
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Recorded)
    assert not Path(home).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
async def test_removing_a_home_follows_no_link(executor: Executor, client: Client) -> None:
    """What links in a home lead to isn't touched, nor walked through, when its session ends."""
    outside = executor.directory / "outside"
    outside.mkdir()
    os.chown(outside, executor.uids.shell, executor.uids.shell)
    outside.chmod(0)
    home = Path((await run(client, f"ln -s {outside} link; echo $PWD")).output.decode().strip())
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Recorded)
    assert not home.exists()
    assert outside.stat().st_mode & 0o777 == 0


async def test_homes_of_a_dead_executor_are_removed(executor: Executor, client: Client) -> None:
    """What a crash leaves is emptied at the next start."""
    home = Path((await run(client, "mkdir -p d; chmod 0 d; echo $PWD")).output.decode().strip())
    assert home.exists()
    executor.kill()
    executor.start()
    assert not home.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
@pytest.mark.parametrize("own", [True, False])
async def test_what_the_homes_hold_is_told(place: Path, *, own: bool) -> None:
    """Homes with a file system of their own are limited by it; the report has its size, or 0."""
    homes = place / "home"
    homes.mkdir()
    with private_mounts():
        if own:
            mount_memory(homes, "size=1m")
        with Executor(place, shell=UNRESTRICTED) as executor:
            client = await Client.connect(executor)
            await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
            report = await client.receive()
            assert isinstance(report, StatusReport)
            assert report.limits.home_bytes == own << 20
            full = await run(client, "head -c 2000000 /dev/zero >big")
            assert (b"No space left on device" in full.output) == own
            await client.close()
