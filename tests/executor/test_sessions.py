# SPDX-License-Identifier: MIT
"""Each operator has a session: kept while the executor lives, apart from those of others (I6)."""

import ctypes
import os
from pathlib import Path

import pytest

from tests.executor.exchange import jobs, run
from tests.executor.rig import (
    OPERATOR,
    OTHER_OPERATOR,
    ROOM,
    UNRESTRICTED,
    Client,
    Connect,
    Executor,
    records,
)
from tests.executor.shell.driver import until
from tibet_nc_protocol.messages import (
    CloseSession,
    Finished,
    Recorded,
    Started,
    Status,
    StatusReport,
)
from tibet_nc_protocol.records import Session, SessionState

pytestmark = pytest.mark.executor(shell=UNRESTRICTED)

SCOPES = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 6
"""Whether this kernel has Landlock's scopes: what landlock_create_ruleset(2) says of its version"""


async def test_a_session_survives_the_agent(executor: Executor, client: Client) -> None:
    """A session is the executor's: an agent that comes back finds state and jobs as they were."""
    left = await run(client, "a=kept; sleep 4756 & true")
    await client.close()
    back = await Client.connect(executor)
    assert (await run(back, "echo $a")).output == b"kept\n"
    assert [job.number for job in await jobs(back)] == [left.number]
    await back.close()


async def test_a_session_ends_though_who_asked_for_it_has_left(
    executor: Executor, client: Client
) -> None:
    """All of it goes, and that is recorded, if the agent leaves before it can be told."""
    home = Path((await run(client, "sleep 4760 & echo $PWD")).output.decode().strip())
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    await client.close()
    back = await Client.connect(executor)
    await run(back, "true")
    executor.stop()
    states = [record.state for record in records(executor) if isinstance(record, Session)]
    assert sorted(states) == [SessionState.CLOSED] * 2 + [SessionState.OPENED] * 2
    assert not home.exists()
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


async def test_an_end_that_was_asked_for_is_no_news(executor: Executor, client: Client) -> None:
    """Who ended the session isn't told of it again, by an executor that has started since."""
    await run(client, "a=1")
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Recorded)
    executor.stop()
    executor.start()
    back = await Client.connect(executor)
    assert (await run(back, "true")).notes == ()
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
    assert ("signalled" in words, "read" in words) == (not SCOPES, not SCOPES)
    assert ("sessions apart" in report.cage.walls) == SCOPES
    assert ("NO wall between sessions' processes" in report.cage.walls) != SCOPES
    assert words[-2:] == ["own", "self"]


class _OnAnOlderKernel(Executor):
    """An executor that the kernel refuses Landlock, as one before Linux 6.12 does its scopes."""

    def argv(self) -> list[str]:
        """Return the start of its command line, under a tracer that is not its parent."""
        refused = "inject=landlock_create_ruleset:error=ENOSYS"
        return ["strace", "-D", "-f", "-o", "/dev/null", "-e", refused, *super().argv()]


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
async def test_where_sessions_are_not_kept_apart_that_is_said(
    place: Path, connect: Connect
) -> None:
    """Without Landlock's scopes commands run all the same, and each status says what is missing."""
    with _OnAnOlderKernel(place) as executor:
        client = await connect(executor)
        assert (await run(client, "echo served")).output == b"served\n"
        await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
        report = await client.receive()
    assert isinstance(report, StatusReport)
    assert "NO wall between sessions' processes" in report.cage.walls
    assert "sessions apart" not in report.cage.walls


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
@pytest.mark.skipif(not SCOPES, reason="needs Landlock's scopes (Linux 6.12)")
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
