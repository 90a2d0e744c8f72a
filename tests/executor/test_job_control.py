# SPDX-License-Identifier: MIT
"""What operators do with what runs and what waits: interrupt, kill, stop, type, watch, close."""

import asyncio
import os
import time

import pytest

from tests.executor import exchange
from tests.executor.injection import injected
from tests.executor.rig import (
    OPERATOR,
    OTHER_OPERATOR,
    ROOM,
    Client,
    Connect,
    Executor,
    records,
)
from tests.executor.shell.driver import until
from tibet_nc_protocol.layout import CHAIN, RECORDINGS, recording_name
from tibet_nc_protocol.limits import NOTES, OPEN_RUNS
from tibet_nc_protocol.messages import (
    CloseSession,
    Control,
    Denied,
    Done,
    Finished,
    Input,
    Jobs,
    JobsReport,
    Recorded,
    Response,
    Started,
    Status,
    StatusReport,
    Stop,
    Tail,
    TailReport,
)
from tibet_nc_protocol.records import Aborted, Intent, Outcome, Refusal, Session
from tibet_nc_protocol.terms import DenialCode, Reason, Signal, Stage


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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_what_comes_too_late_for_a_command_is_denied(
    executor: Executor, connect: Connect
) -> None:
    """While an outcome is on its way to the disk nothing is typed or signalled, nor said to be."""
    client = await connect(executor)
    await client.send(client.request("read -r line; seq 1 100000"))
    started = await client.receive()
    assert isinstance(started, Started)
    recording = executor.state / RECORDINGS / recording_name(started.number)
    with injected(executor, "fdatasync:delay_enter=2000000", [recording]):
        await client.type(started.number, "\n")
        while isinstance(late := await client.receive(), Done):
            await client.type(started.number, "late\n")
        assert isinstance(late, Denied)
        assert late.reason == f"#{started.number} is just beginning or ending"
        await client.send(
            Control(
                request=client.number(),
                room=ROOM,
                sender=OPERATOR,
                number=started.number,
                signal=Signal.KILL,
            )
        )
        assert isinstance(await client.receive(), Denied)
        finished = await client.receive()
    assert isinstance(finished, Finished)
    assert not any(note.startswith("kill") for note in finished.notes)


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


@pytest.mark.parametrize("whole", [False, True], ids=["operator", "executor"])
async def test_what_was_stopped_while_it_waited_is_not_run_later(
    executor: Executor, connect: Connect, *, whole: bool
) -> None:
    """An agent that has not told the answer and asks again is denied, with the record (I3).

    So it is after the panic switch and after the end of the executor, and after a restart.
    """
    client = await connect(executor)
    await client.send(client.request("sleep 30"))
    assert isinstance(await client.receive(), Started)
    await client.send(client.request("true", event="$waiting"))
    running = 0
    while running < 2:
        await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
        report = await client.receive()
        assert isinstance(report, StatusReport)
        running = report.running
    if whole:
        executor.stop()
        executor.start()
    else:
        await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
        while not isinstance(denied := await client.receive(), Denied):
            pass
        assert denied.code is DenialCode.CANCELLED
    for _ in range(2):
        client = await connect(executor)
        again = await client.run("true", "$waiting")
        assert isinstance(again, Denied)
        (refusal,) = [record for record in records(executor) if isinstance(record, Refusal)]
        assert (again.code, again.number) == (DenialCode.REFUSED, refusal.seq)
        assert (refusal.event, refusal.stage) == ("$waiting", Stage.CHAIN)
        assert again.reason == refusal.detail
        assert refusal.detail.startswith("nothing was run: ")
        executor.stop()
        executor.start()
    assert len([record for record in records(executor) if isinstance(record, Intent)]) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
async def test_what_is_stopped_while_its_intent_is_on_its_way_does_not_start(
    executor: Executor, client: Client
) -> None:
    """However late the disk takes the intent, it gets its end, and nothing was run (I1)."""
    assert isinstance(await client.run("true"), Finished)
    (chain,) = (executor.state / CHAIN).iterdir()
    with injected(executor, "fdatasync:delay_enter=1000000", [chain]):
        assert isinstance(
            await client.run("true"), Finished
        )  # from now on the disk isn't waited for
        before = chain.stat().st_size
        await client.send(client.request("echo ran"))
        await until(lambda: b'"kind":"intent"' in chain.read_bytes()[before:])
        await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
        answers = [await client.receive() for _ in range(3)]
    (denied,) = [answer for answer in answers if isinstance(answer, Denied)]
    assert denied.code is DenialCode.CANCELLED
    *_, intent, aborted = records(executor)
    assert isinstance(intent, Intent)
    assert isinstance(aborted, Aborted)
    assert (denied.number, aborted.intent) == (intent.seq, intent.seq)
    assert aborted.detail == f"it had not started: stopped by {OPERATOR}"


async def test_a_command_runs_since_its_turn_has_come(client: Client) -> None:
    """How long a command runs is counted without the time for which it has waited for another."""
    await client.send(client.request("read -r line"))
    first = await client.receive()
    assert isinstance(first, Started)
    await client.send(client.request("sleep 4761"))
    await asyncio.sleep(1.2)
    begin = time.monotonic()
    await client.type(first.number, "\n")
    while not isinstance(second := await client.receive(), Started):
        pass
    (job,) = await exchange.jobs(client)
    assert job.number == second.number
    assert job.seconds <= time.monotonic() - begin


async def test_no_more_than_so_many_run_or_wait(executor: Executor, connect: Connect) -> None:
    """What comes when as many run and wait as may is refused, on record, and never run (I3, I6)."""
    client = await connect(executor)
    for _ in range(OPEN_RUNS):
        await client.send(client.request("sleep 30"))
    assert isinstance(await client.receive(), Started)
    last = client.request("echo too much")
    await client.send(last)
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.BUSY
    await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
    answers = [await client.receive() for _ in range(OPEN_RUNS + 1)]
    assert sum(isinstance(answer, Denied) for answer in answers) == OPEN_RUNS - 1
    again = await client.run(last.command, last.event)
    assert isinstance(again, Denied)
    assert (again.code, again.number) == (DenialCode.REFUSED, denied.number)
    assert isinstance(await client.run("true"), Finished)
    refusals = [record for record in records(executor) if isinstance(record, Refusal)]
    assert len(refusals) == OPEN_RUNS  # with those that waited and were stopped
    (refusal,) = [record for record in refusals if record.event == last.event]
    assert (refusal.seq, refusal.stage) == (denied.number, Stage.CHAIN)


async def _shown(client: Client, number: int, output: bytes) -> None:
    """Wait until a command has printed just that."""
    shown = b""
    while shown != output:
        await client.send(Tail(request=client.number(), number=number))
        report = await client.receive()
        assert isinstance(report, TailReport)
        shown = report.data


async def test_input_is_typed_and_the_newest_output_shown(
    executor: Executor, connect: Connect
) -> None:
    """A command that reads gets what an operator types, which is noted, and can be watched."""
    client = await connect(executor)
    await client.send(client.request("echo name?; read name; echo hello $name; cat"))
    started = await client.receive()
    assert isinstance(started, Started)
    await _shown(client, started.number, b"name?\n")
    await client.type(started.number, "Ann\nmore\n", end=True)
    answers = [await client.receive(), await client.receive()]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    assert finished.output == b"name?\nhello Ann\nmore\n"
    assert f"9 bytes of input by {OPERATOR}" in finished.notes


async def test_what_is_typed_is_kept_nowhere(executor: Executor, connect: Connect) -> None:
    """Who has typed how much is on record, of each operator; what it was is in no file (I10)."""
    client = await connect(executor)
    await client.send(client.request("read -r one; read -r other; echo ${#one} ${#other}"))
    started = await client.receive()
    assert isinstance(started, Started)
    for sender, text in ((OPERATOR, "s3cret"), (OTHER_OPERATOR, "s3cret too")):
        await client.send(
            Input(
                request=client.number(),
                room=ROOM,
                sender=sender,
                number=started.number,
                text=f"{text}\n",
                end=False,
            )
        )
    answers = [await client.receive() for _ in range(3)]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    assert finished.output == b"6 10\n"
    notes = (f"7 bytes of input by {OPERATOR}", f"11 bytes of input by {OTHER_OPERATOR}")
    assert finished.notes == notes
    (outcome,) = [record for record in records(executor) if isinstance(record, Outcome)]
    assert outcome.notes == notes
    executor.stop()
    for path in (*executor.state.rglob("*"), executor.log):
        assert path.is_dir() or b"s3cret" not in path.read_bytes(), path


async def test_only_what_was_taken_is_on_record_as_typed(client: Client) -> None:
    """All that an operator typed counts, and a line that the terminal would cut doesn't."""
    await client.send(client.request("read -r one; read -r other; echo ${#one} ${#other}"))
    started = await client.receive()
    assert isinstance(started, Started)
    answers: list[Response] = []
    for text in ("1234\n", "é" * 2048, "123456\n"):
        await client.type(started.number, text)
    while not isinstance(answer := await client.receive(), Finished):
        answers.append(answer)
    denied = [each.code for each in answers if isinstance(each, Denied)]
    assert denied == [DenialCode.BUSY]
    assert answer.output == b"4 6\n"
    assert answer.notes == (f"12 bytes of input by {OPERATOR}",)


async def test_who_typed_is_on_record_however_often_was_interrupted(
    executor: Executor, connect: Connect
) -> None:
    """Nothing that an operator can do to a command takes the room of who typed how much into it."""
    client = await connect(executor)
    await client.send(client.request("trap '' INT; echo ready; read -r line"))
    started = await client.receive()
    assert isinstance(started, Started)
    await _shown(client, started.number, b"ready\n")
    for _ in range(NOTES + 1):
        await client.send(
            Control(
                request=client.number(),
                room=ROOM,
                sender=OPERATOR,
                number=started.number,
                signal=Signal.INTERRUPT,
            )
        )
        assert isinstance(await client.receive(), Done)
    await client.type(started.number, "s3cret\n")
    answers = [await client.receive() for _ in range(2)]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    assert finished.notes == (f"7 bytes of input by {OPERATOR}", f"interrupt by {OPERATOR}")


async def test_however_many_have_typed_there_is_an_outcome(
    executor: Executor, client: Client
) -> None:
    """A record has room for so many notes; with more of them it is written all the same (I7)."""
    typing = [f"@op{number}:example.org" for number in range(NOTES + 1)]
    executor.pin(OPERATOR, *typing)
    await client.send(client.request(f"for i in {{0..{NOTES}}}; do read -r line; done"))
    started = await client.receive()
    assert isinstance(started, Started)
    for sender in typing:
        await client.send(
            Input(
                request=client.number(),
                room=ROOM,
                sender=sender,
                number=started.number,
                text="\n",
                end=False,
            )
        )
    while not isinstance(answer := await client.receive(), Finished):
        assert isinstance(answer, Done)
    assert answer.notes == tuple(f"1 byte of input by {sender}" for sender in typing[:NOTES])


async def test_strangers_neither_type_nor_stop(executor: Executor, connect: Connect) -> None:
    """Who may not command here can't type into what runs, nor end it, whatever the agent asks."""
    client = await connect(executor)
    await client.send(client.request("read -r line; echo got $line"))
    started = await client.receive()
    assert isinstance(started, Started)
    for room, sender, code in (
        (ROOM, "@stranger:example.org", DenialCode.SENDER),
        ("!elsewhere:example.org", OPERATOR, DenialCode.ROOM),
    ):
        typing = Input(
            request=client.number(),
            room=room,
            sender=sender,
            number=started.number,
            text="theirs\n",
            end=False,
        )
        kill = Control(
            request=client.number(),
            room=room,
            sender=sender,
            number=started.number,
            signal=Signal.KILL,
        )
        stop = Stop(request=client.number(), room=room, sender=sender)
        close = CloseSession(request=client.number(), room=room, sender=sender)
        for request in (typing, kill, stop, close):
            await client.send(request)
            denied = await client.receive()
            assert isinstance(denied, Denied)
            assert denied.code is code
    await client.type(started.number, "mine\n")
    answers = [await client.receive() for _ in range(2)]
    (finished,) = [answer for answer in answers if isinstance(answer, Finished)]
    assert finished.output == b"got mine\n"


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


async def test_a_session_in_which_a_command_runs_is_not_ended(client: Client) -> None:
    """Who wants to leave is told so, and the command goes on."""
    await client.send(client.request("read -r line; echo on"))
    started = await client.receive()
    assert isinstance(started, Started)
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.BUSY
    await client.type(started.number, "\n")
    while not isinstance(answer := await client.receive(), Finished):
        assert isinstance(answer, Done)
    assert (answer.reason, answer.output) == (Reason.EXITED, b"on\n")


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
