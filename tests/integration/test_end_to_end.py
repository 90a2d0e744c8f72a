# SPDX-License-Identifier: MIT
"""Homeserver, agent, executor and operator together, and what happens when one of them fails."""

import asyncio
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import Intent, Refusal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


@pytest.fixture
def make_host(
    synapse: Synapse, bot: Account, operator: Operator, directory: Path
) -> Iterator[Callable[..., Host]]:
    """Make hosts, which are closed afterwards."""
    hosts: list[Host] = []

    def make(room: str, **settings: Any) -> Host:  # noqa: ANN401 - passed on as they are
        host = Host(
            directory / f"host{len(hosts)}",
            homeserver=synapse.url,
            bot=bot,
            operators={operator.user_id: operator.master_key},
            rooms=[room],
            **settings,
        )
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
async def host(make_host: Callable[..., Host], room: str, operator: Operator, bot: Account) -> Host:
    """Start a host whose bot is in the room."""
    host = make_host(room)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    return host


def intents(host: Host) -> list[Intent]:
    """Return what was run."""
    return [record for record in host.records() if isinstance(record, Intent)]


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def settle(operator: Operator, event: str) -> int:
    """Return how many final answers an event has when no more can be under way.

    A later command is answered after them, since a session answers in order.
    """
    answer = next(seen for seen in operator.events if seen.event_id == event)
    later = await operator.send_text(answer.room_id, "$ true")
    await operator.answer_to(later, 40)
    return len(operator.answers_to(event))


# --- the way there and back -----------------------------------------------------------------------


async def test_a_burst_is_answered_once_each_and_in_order(
    host: Host, operator: Operator, room: str
) -> None:
    """Thirty commands at once: every one answered, none twice, in the order they were sent (I4)."""
    assert host.agent.running
    events = [await operator.send_text(room, f"$ n=$((n+1)); echo $n {i}") for i in range(30)]
    answers = [await operator.answer_to(event, 60) for event in events]
    assert [answer.body.split("\n")[0] for answer in answers] == [f"{i + 1} {i}" for i in range(30)]
    await settle(operator, events[-1])
    assert [len(operator.answers_to(event)) for event in events] == [1] * 30
    assert len({intent.event for intent in intents(host)}) == len(intents(host)) == 31


async def test_a_burst_with_dead_shells_is_answered_once_each_and_in_order(
    host: Host, operator: Operator, room: str
) -> None:
    """What ends a shell ends its session; what waits behind runs once, in a new one (I3, I4)."""
    assert host.agent.running
    ending = {3: "exit 3", 7: "kill -9 $$", 8: "exit"}
    events = [
        await operator.send_text(room, f"$ n=$((n+1)); echo $n {i}; {ending.get(i, 'true')}")
        for i in range(12)
    ]
    answers = [await operator.answer_to(event, 60) for event in events]
    counted = [1, 2, 3, 4, 1, 2, 3, 4, 1, 1, 2, 3]
    assert [answer.body.split("\n")[0] for answer in answers] == [
        f"{count} {i}" for i, count in enumerate(counted)
    ]
    status = {3: "exit 3", 7: "signal 9", 8: "exit 0"}
    for index, answer in enumerate(answers):
        assert ("ended your session" in answer.body) == (index in ending)
        new = f"(#{answers[index - 1].result['number']} ended its shell: "
        assert (f"this is a new session: the last one has ended {new}" in answer.body) == (
            index - 1 in ending
        )
        if index in status:
            assert f"({status[index]}): the next command begins a new one" in answer.body
    await settle(operator, events[-1])
    assert [len(operator.answers_to(event)) for event in events] == [1] * 12
    assert len({intent.event for intent in intents(host)}) == len(intents(host)) == 13
    assert len({intent.session for intent in intents(host)}) == 4


async def test_big_output_is_attached_whole(host: Host, operator: Operator, room: str) -> None:
    """What the room doesn't show is attached, encrypted, to the last byte (I12)."""
    assert host.agent.running
    event = await operator.send_text(room, "$ seq 1 50000")
    answer = await operator.answer_to(event, 60)
    attached = await operator.wait(lambda seen: seen.content.get("msgtype") == "m.file")
    assert await operator.download(attached) == b"".join(b"%d\n" % n for n in range(1, 50001))
    assert "not shown" in answer.body
    assert answer.result["output_bytes"] == 288894
    assert answer.result["output_sha256"] in answer.body


async def test_output_is_text_and_nothing_else(host: Host, operator: Operator, room: str) -> None:
    """Markup, mentions and control characters in output arrive as what they look like (I9)."""
    assert host.agent.running
    event = await operator.send_text(
        room, r"""$ printf '<b>x</b> @room \033[31mred\033[0m \342\200\256evil\n'"""
    )
    answer = await operator.answer_to(event)
    shown = answer.content["formatted_body"]
    assert "&lt;b&gt;x&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "\033" not in answer.body + shown
    assert "\u202e" not in answer.body + shown
    assert answer.content["m.mentions"] == {}


async def test_an_edit_is_not_run(host: Host, operator: Operator, room: str) -> None:
    """An edited message is refused with a note, never run (I5)."""
    event = await operator.send_text(room, "$ echo first")
    await operator.answer_to(event)
    edit = await operator.edit(room, event, "$ echo second")
    answer = await operator.answer_to(edit)
    assert answer.result["verdict"] == "refused"
    assert len(intents(host)) == 1


async def test_a_strangers_command_is_refused_and_recorded(
    host: Host, operator: Operator, room: str, new_operator: Callable[..., Awaitable[Operator]]
) -> None:
    """Who is not an operator gets nothing run, whatever room they are in (I5)."""
    stranger = await new_operator()
    await operator.invite(room, stranger.user_id)
    await stranger.join(room)
    await stranger.send_text(room, "$ id")
    await until(
        lambda: any(
            isinstance(record, Refusal) and record.sender == stranger.user_id
            for record in host.records()
        )
    )
    assert intents(host) == []


# --- something dies -------------------------------------------------------------------------------


async def test_the_agent_killed_in_the_middle_answers_once(
    host: Host, operator: Operator, room: str
) -> None:
    """A kill -9 of the agent in mid-command: one run, one final answer (I3, I4)."""
    event = await operator.send_text(room, "$ sleep 2; echo done")
    await until(lambda: len(intents(host)) == 1)
    host.agent.kill()
    await asyncio.to_thread(host.start_agent)
    answer = await operator.answer_to(event, 40)
    assert answer.body.startswith("done\n")
    assert answer.result["exit"] == 0
    assert await settle(operator, event) == 1
    assert [intent.event for intent in intents(host)].count(event) == 1


async def test_the_executor_killed_in_the_middle_answers_once(
    host: Host, operator: Operator, room: str
) -> None:
    """A kill -9 of the executor in mid-command: it says aborted, once, and never runs again."""
    event = await operator.send_text(room, "$ sleep 1000; echo done")
    await until(lambda: len(intents(host)) == 1)
    host.executor.kill()
    await asyncio.to_thread(host.start_executor)
    answer = await operator.answer_to(event, 40)
    assert answer.result["verdict"] == "aborted"
    assert await settle(operator, event) == 1
    assert [intent.event for intent in intents(host)].count(event) == 1
    assert host.audit("verify", "--key", host.executor_key).returncode == 0


async def test_both_killed_in_the_middle_answer_once(
    host: Host, operator: Operator, room: str
) -> None:
    """A kill -9 of both at once: one final answer, no second run (I3, I4)."""
    event = await operator.send_text(room, "$ sleep 1000; echo done")
    await until(lambda: len(intents(host)) == 1)
    host.agent.kill()
    host.executor.kill()
    await asyncio.to_thread(host.start)
    answer = await operator.answer_to(event, 40)
    assert answer.result["verdict"] == "aborted"
    assert await settle(operator, event) == 1
    assert [intent.event for intent in intents(host)].count(event) == 1


async def test_what_ran_is_never_called_refused_by_an_agent_that_has_forgotten_it(
    make_host: Callable[..., Host], operator: Operator, room: str, bot: Account
) -> None:
    """A crash that takes the agent's disk back: it asks the executor, and gives the result (I3)."""
    host = make_host(room, timebox_s=10)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    host.agent.stop()
    inbox = host.directory / "agent" / "inbox.sqlite"
    subprocess.run(["cp", "-a", inbox, host.directory / "before"], check=True)
    await asyncio.to_thread(host.start_agent)
    event = await operator.send_text(room, "$ sleep 4; echo done")
    await until(lambda: len(intents(host)) == 2)
    host.agent.kill()
    for path in inbox.parent.glob("inbox.sqlite*"):
        path.unlink()
    subprocess.run(["cp", "-a", host.directory / "before", inbox], check=True)
    await asyncio.sleep(10.5)  # the timebox itself
    await asyncio.to_thread(host.start_agent)
    answer = await operator.answer_to(event, 40)
    assert answer.result["verdict"] == "ran"
    assert answer.body.startswith("done\n")
    assert await settle(operator, event) == 1
    assert [intent.event for intent in intents(host)].count(event) == 1
    assert not any(isinstance(record, Refusal) for record in host.records())


async def test_a_command_sent_while_the_agent_is_down_is_not_forgotten(
    host: Host, operator: Operator, room: str
) -> None:
    """What arrived within the timebox runs after the restart, once (I4)."""
    host.agent.stop()
    event = await operator.send_text(room, "$ echo late")
    await asyncio.to_thread(host.start_agent)
    answer = await operator.answer_to(event, 40)
    assert answer.body.startswith("late\n")
    assert await settle(operator, event) == 1


async def test_an_old_command_is_refused_as_stale_and_never_dropped(
    make_host: Callable[..., Host], operator: Operator, room: str, bot: Account
) -> None:
    """What waited longer than the timebox is refused with its age, and not run (I4)."""
    host = make_host(room)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    host.agent.stop()
    host.limit_age(1)  # only now: on a slow machine a message may be seconds old when it comes
    event = await operator.send_text(room, "$ echo too late")
    await asyncio.sleep(1.5)  # the timebox itself
    await asyncio.to_thread(host.start_agent)
    answer = await operator.answer_to(event, 40)
    assert answer.result["verdict"] == "refused"
    assert answer.result["stage"] == "freshness"
    assert len(intents(host)) == 1


async def test_without_an_executor_the_room_is_told(
    make_host: Callable[..., Host], operator: Operator, room: str, bot: Account
) -> None:
    """A command waits for an executor that is away, is told so, and answered when it is back."""
    host = make_host(room)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    host.executor.stop()
    event = await operator.send_text(room, "$ echo back")
    notice = await operator.wait(
        lambda seen: "executor" in seen.body and not seen.result.get("final")
    )
    assert notice.sender == bot.user_id
    await asyncio.to_thread(host.start_executor)
    answer = await operator.answer_to(event, 40)
    assert answer.body.startswith("back\n")
    assert await settle(operator, event) == 1


# --- something is wrong ---------------------------------------------------------------------------


async def test_in_an_unencrypted_room_nothing_runs(
    make_host: Callable[..., Host], operator: Operator, bot: Account
) -> None:
    """A room without encryption gets no command run, and no output sent into it (I5)."""
    room = await operator.create_room(invite=[bot.user_id], encrypted=False)
    host = make_host(room)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    event = await operator.send_text(room, "$ echo plain")
    await asyncio.to_thread(host.wait_log, f"an answer in {room} waits")
    assert [record.event for record in host.records() if isinstance(record, Refusal)] == [event]
    assert intents(host) == []
    assert operator.answers_to(event) == []
    assert not [
        seen for seen in operator.events if "plain" in seen.body and seen.sender != operator.user_id
    ]


async def test_a_full_disk_is_said_in_the_room(
    make_host: Callable[..., Host], operator: Operator, room: str, bot: Account, directory: Path
) -> None:
    """When nothing can be recorded nothing runs, and the room is told so (I7)."""
    state = directory / "host0" / "executor"
    state.mkdir(parents=True)
    await asyncio.to_thread(
        subprocess.run, ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(state)], check=True
    )
    try:
        host = make_host(room)
        await asyncio.to_thread(host.start)
        await operator.wait_member(room, bot.user_id)
        await operator.answer_to(await operator.send_text(room, "$ true"))
        with suppress(OSError):  # more than there is: the index may take some of it meanwhile
            (state / "filler").write_bytes(bytes(4 << 20))
        answer = None
        for _ in range(20):  # what is left in the last pages
            event = await operator.send_text(room, "$ true")
            answer = await operator.answer_to(event)
            if answer.result["verdict"] == "denied":
                break
        assert answer is not None
        assert "nothing was run" in answer.body
        (state / "filler").unlink()
        event = await operator.send_text(room, "$ echo room again")
        assert (await operator.answer_to(event)).body.startswith("room again\n")
        host.records()
        host.close()
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(state)], check=True)


@pytest.mark.parametrize(
    ("section", "old", "new", "told"),
    [
        ("agent", "homeserver = ", "homesrever = ", "homesrever"),
        ("agent", "timebox_s = 30", 'timebox_s = "soon"', "airlock.timebox_s"),
        ("executor", "[shell]", "[shel]", "shel"),
        ("executor", "timebox_s = 30", "timebox_s = -1", "policy.timebox_s"),
    ],
)
async def test_a_wrong_setting_is_one_clear_line(
    make_host: Callable[..., Host], room: str, section: str, old: str, new: str, told: str
) -> None:
    """A daemon that can't be started says which file and key, in one line, and exits with 2."""
    host = make_host(room)
    path = host.etc / f"{section}.toml"
    path.write_text(path.read_text().replace(old, new, 1))
    done = await asyncio.to_thread(host.admin, section, "run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert told in done.stderr


async def test_a_revoked_token_ends_the_agent_with_a_clear_line(
    host: Host, synapse: Synapse, bot: Account
) -> None:
    """A token that the homeserver no longer takes ends the agent at once, and says so."""
    synapse.delete_device(bot.user_id, bot.device_id)
    assert await asyncio.to_thread(host.agent.wait, 40) == 1
    assert "token" in host.agent.tail()


async def test_an_unreachable_homeserver_is_waited_for(
    make_host: Callable[..., Host], room: str, synapse: Synapse, operator: Operator, bot: Account
) -> None:
    """A homeserver that restarts costs nothing: what is sent after it is answered once."""
    host = make_host(room)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    await asyncio.to_thread(synapse.restart)
    event = await operator.send_text(room, "$ echo again")
    assert (await operator.answer_to(event, 60)).body.startswith("again\n")
    assert await settle(operator, event) == 1


async def test_a_socket_of_another_uid_is_not_spoken_to(
    make_host: Callable[..., Host], room: str
) -> None:
    """The agent sends nothing to a listener that isn't the executor's uid (I2)."""
    host = make_host(room)
    await asyncio.to_thread(host.start_executor)
    path = host.etc / "agent.toml"
    path.write_text(path.read_text().replace(f"user = {host.uids.executor}", "user = 1"))
    await asyncio.to_thread(host.agent.start, f"uid {host.uids.executor}")
    assert "ready: " not in host.agent.log.read_text()
    await asyncio.to_thread(host.agent.kill)


def environments(uid: int) -> bytes:
    """Return what every process of a uid was given as its environment."""
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = b""
    for path in processes:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if path.stat().st_uid == uid:
                found += (path / "environ").read_bytes()
    return found


async def test_no_secret_is_in_any_log(
    host: Host, operator: Operator, room: str, bot: Account
) -> None:
    """Tokens, keys and command texts are in no log, record, argument list or environment (I10).

    Nor is a part of a command that was refused: its text can be erased, the record can't.
    """
    await operator.answer_to(await operator.send_text(room, "$ echo s3cret-text; env"))
    refused = await operator.answer_to(
        await operator.send_text(room, "$ mysql -ps3cret-text -e 'drop database shop'")
    )
    assert (refused.result["verdict"], refused.result["stage"]) == ("refused", "safety")
    assert "s3cret-text" in refused.body  # the room is where it came from
    event = await operator.send_text(room, "$ env")
    answer = await operator.answer_to(event)
    logs = host.agent.log.read_text() + host.executor.log.read_text()
    logs += "".join(path.read_text() for path in (host.state / CHAIN).iterdir())
    assert event in logs
    given = environments(host.uids.shell)  # of the shell that waits for the next command
    assert "PATH=/" in answer.body
    assert b"PATH=/" in given
    key = (host.state / "executor.key").read_text().strip()
    for secret in (bot.access_token, key, "s3cret-text"):
        assert secret not in logs
        assert secret not in answer.body
        assert secret.encode() not in given
        for pid in (host.agent.pid, host.executor.pid):
            assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_a_service_that_is_away_delays_no_answer(
    make_host: Callable[..., Host], room: str, operator: Operator, bot: Account
) -> None:
    """With nobody at BRAIN_API_BASE commands are answered; once somebody is, the tokens come."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    host = make_host(room)
    with (host.etc / "agent.toml").open("a") as file:
        file.write(f'[emission]\nbase_url = "http://127.0.0.1:{address[1]}"\n')
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    answer = await operator.answer_to(await operator.send_text(room, "$ echo hunter2"), 40)
    assert answer.result["exit"] == 0
    status = await operator.answer_to(await operator.send_text(room, "status"), 40)
    assert "tokens told: 1 wait, 0 lost" in status.body
    told: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # http.server's
            """Say nothing."""

    with HTTPServer(address, Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            await until(lambda: bool(told), 90)
        finally:
            server.shutdown()
            thread.join()
    assert json.loads(told[0])["metadata"]["token_id"] == answer.result["token"]
    assert b"hunter2" not in told[0]
