# SPDX-License-Identifier: MIT
"""A shell that ends ends its session, which is told and on record; nothing else is lost (I6)."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.executor.exchange import control, jobs, run
from tests.executor.rig import OTHER_OPERATOR, UNRESTRICTED, Client, Executor, records
from tests.executor.shell.driver import until
from tibet_nc_protocol.messages import Finished, Started
from tibet_nc_protocol.records import Intent, Outcome, Remainder, Session
from tibet_nc_protocol.terms import Reason, Signal

pytestmark = pytest.mark.executor(shell=UNRESTRICTED)

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
