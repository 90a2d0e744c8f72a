# SPDX-License-Identifier: MIT
"""An event runs one command, however and whenever it is asked for again (I3)."""

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from tests.executor.injection import injected
from tests.executor.rig import OPERATOR, ROOM, Client, Connect, Executor, records, security
from tests.executor.shell.driver import until
from tibet_nc_protocol.limits import INLINE_BYTES
from tibet_nc_protocol.messages import Denied, Finished, Started, Status, StatusReport
from tibet_nc_protocol.records import Intent, SecurityEvent
from tibet_nc_protocol.terms import DenialCode


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


async def test_an_event_that_is_asked_again_much_later_has_its_result(client: Client) -> None:
    """An agent that was away for long asks with what it has: neither age nor ciphertext is new."""
    first = client.request("echo once", "$once")
    await client.send(first)
    assert isinstance(await client.receive(), Started)
    finished = await client.receive()
    assert isinstance(finished, Finished)
    later = replace(first, request=client.number(), sent_ms=first.sent_ms - 3_600_000)
    await client.send(later)
    again = await client.receive()
    assert isinstance(again, Finished)
    assert (again.repeated, again.head, again.output) == (True, finished.head, b"once\n")


async def test_an_event_that_is_asked_again_has_the_beginning_of_its_output(
    client: Client,
) -> None:
    """As much of it as the first time, and no more: all of it would pass no limit (I12)."""
    command = f"head -c {2 * INLINE_BYTES + 1} /dev/zero | tr '\\0' x"
    first, again = [await client.run(command, "$big") for _ in range(2)]
    assert isinstance(first, Finished)
    assert isinstance(again, Finished)
    assert first.output == b"x" * INLINE_BYTES
    assert (again.repeated, again.output) == (True, first.output)


async def test_an_agent_that_leaves_in_the_middle_joins_again(
    executor: Executor, connect: Connect
) -> None:
    """What runs and what waits goes on without whoever has asked, and is told to who asks again."""
    gate = executor.directory / "gate"
    wait = f"until [ -e {gate} ]; do sleep 0.1; done"
    leaving = await connect(executor)
    await leaving.send(leaving.request(f"{wait}; echo ran", "$runs"))
    assert isinstance(await leaving.receive(), Started)
    await leaving.send(leaving.request("echo waited", "$waits"))
    await leaving.send(Status(request=leaving.number(), room=ROOM, sender=OPERATOR))
    report = await leaving.receive()
    assert isinstance(report, StatusReport)
    assert report.running == 2
    await leaving.close()
    for event, output in (("$runs", b"ran\n"), ("$waits", b"waited\n")):
        back = await connect(executor)
        await back.send(back.request("echo again", event))
        gate.touch()
        while not isinstance(told := await back.receive(), Finished):
            assert isinstance(told, Started), told
        assert told.output == output
    assert len([record for record in records(executor) if isinstance(record, Intent)]) == 2


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


async def test_what_ran_is_known_while_the_index_can_not_be_written(
    executor: Executor, connect: Connect
) -> None:
    """Asked again on a full disk it gives the recorded result, and isn't said not to have run.

    What was denied then isn't run later.
    """
    client = await connect(executor)
    for _ in range(2):  # the index has all when the second is answered
        assert isinstance(await client.run("true", "$before"), Finished)
    written = [executor.state / "index.sqlite-wal"]
    with injected(executor, "pwrite64:error=ENOSPC", written):
        first = await client.run("echo once", "$event")
        assert isinstance(first, Finished)
        again = await client.run("echo once", "$event")
        unknown = await client.run("echo other", "$other")
    assert isinstance(again, Finished), again
    assert (again.repeated, again.number, again.output) == (True, first.number, b"once\n")
    assert isinstance(unknown, Denied)
    assert unknown.code is DenialCode.UNRECORDED
    assert isinstance(await client.run("true"), Finished)
    later = await client.run("echo other", "$other")
    assert isinstance(later, Denied)
    assert (later.code, later.reason) == (unknown.code, unknown.reason)
