# SPDX-License-Identifier: MIT
"""An executor that is killed or stopped, or an agent that leaves, in the middle (I1, I3, I4)."""

import os

import pytest

from tests.executor.rig import OPERATOR, ROOM, Connect, Executor, records
from tests.executor.shell.driver import commands_of, until
from tibet_nc_protocol.messages import Denied, Finished, Started, Status, StatusReport
from tibet_nc_protocol.records import Aborted, Intent, Outcome, Session
from tibet_nc_protocol.terms import Reason


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
    await until(lambda: bool(executor.commands("sleep 4758")))
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


async def test_who_asked_is_told_before_a_stop_ends_the_connection(
    executor: Executor, connect: Connect
) -> None:
    """A stop answers what runs and what waits for that: no other executor may ever come (I4)."""
    client = await connect(executor)
    running = client.request("sleep 30")
    await client.send(running)
    assert isinstance(await client.receive(), Started)
    waiting = [client.request("true") for _ in range(2)]
    for request in waiting:
        await client.send(request)
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), StatusReport)  # all of it has arrived
    assert executor.stop() == 0
    answers = await client.ended()
    finished = answers.pop(0)
    assert isinstance(finished, Finished)
    assert (finished.request, finished.reason) == (running.request, Reason.KILLED)
    assert "the executor was stopped" in finished.notes
    assert [
        (answer.request, answer.reason) for answer in answers if isinstance(answer, Denied)
    ] == [(request.request, "nothing was run: the executor was stopped") for request in waiting]
    (intent,) = [record for record in records(executor) if isinstance(record, Intent)]
    assert intent.run == finished.run


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
@pytest.mark.parametrize("ending", ["stopped", "killed"])
async def test_what_waits_for_a_command_ends_with_the_executor(
    executor: Executor, connect: Connect, ending: str
) -> None:
    """The process made ready for the next command doesn't outlive the executor, nor runs it."""
    client = await connect(executor)
    await client.run("true")
    await until(lambda: len(commands_of(executor.uids.shell)) == 1)
    if ending == "killed":
        executor.kill()
    else:
        assert executor.stop() == 0
    await until(lambda: not commands_of(executor.uids.shell))


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


async def test_a_command_that_waits_is_run_though_who_asked_has_left(
    executor: Executor, connect: Connect
) -> None:
    """Before its turn has come, too, it is the executor's alone, and told when asked (I4)."""
    client = await connect(executor)
    gate = executor.directory / "gate"
    await client.send(client.request(f"until [ -e {gate} ]; do sleep 0.1; done"))
    assert isinstance(await client.receive(), Started)
    await client.send(client.request("echo done", "$waits"))
    await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
    report = await client.receive()
    assert isinstance(report, StatusReport)
    assert report.running == 2
    await client.close()
    client = await connect(executor)
    await client.send(client.request("echo done", "$waits"))
    gate.touch()
    assert isinstance(await client.receive(), Started)
    finished = await client.receive()
    assert isinstance(finished, Finished)
    assert (finished.output, finished.repeated) == (b"done\n", True)
    assert "Traceback" not in executor.log.read_text()


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
