# SPDX-License-Identifier: MIT
"""Nothing is lost and nothing comes twice: crashes, gaps, replays, late keys, a busy homeserver."""

import asyncio
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.harness import Operator, Synapse
from tests.harness.proxy import Proxy
from tests.integration import forge
from tests.integration.agent import REFUSALS, WAIT_SECONDS, Agent
from tibet_nc_agent import matrix, sync
from tibet_nc_agent.event import KeysChanged, Missed, Replayed, TextMessage, Undecryptable
from tibet_nc_agent.homeserver import quoted
from tibet_nc_agent.matrix_errors import Refused

ALWAYS = sys.maxsize


def _has_id(event_id: str, event: Replayed) -> bool:
    return event.event_id == event_id


async def test_batch_comes_again_after_a_crash(operator: Operator, agent: Agent) -> None:
    """A batch that was received and not stored comes again, and decrypts again (I4)."""
    await agent.stop()
    command = await operator.send_text(agent.room_id, "$ uptime")
    first = await agent.crash_after_a_batch()
    second = await agent.crash_after_a_batch()
    for batch in (first, second):
        texts = [event for event in batch.events if isinstance(event, TextMessage)]
        assert [(text.event_id, text.body) for text in texts] == [(command, "$ uptime")]
        assert not batch.initial


async def test_first_batch_of_a_login_is_marked(operator: Operator, agent: Agent) -> None:
    """A batch without a token before it may hold old messages, and says so."""
    await agent.stop()
    await operator.send_text(agent.room_id, "$ uptime")
    agent.token = None
    assert (await agent.crash_after_a_batch()).initial


async def test_replay_is_refused(operator: Operator, agent: Agent) -> None:
    """A ciphertext under another event id is known as a replay, before and after a restart (I3)."""
    command = await operator.send_text(agent.room_id, "$ uptime")
    await agent.text(command)
    ciphertext = (await forge.event(operator, agent.room_id, command))["content"]
    for _ in ("same process", "after a restart"):
        again = await operator.send_unencrypted(
            agent.room_id, ciphertext, event_type="m.room.encrypted"
        )
        replay = await agent.received(Replayed, partial(_has_id, again))
        assert replay.first_event_id == command
        await agent.stop()
        await agent.listen()
    bodies = [event.event_id for event in agent.events if isinstance(event, TextMessage)]
    assert bodies == [command]


@pytest.mark.parametrize("page", [4, 500])
async def test_gap_is_filled_in_order(
    operator: Operator, agent: Agent, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Messages that a sync leaves out are fetched, page by page, and come in order and once."""
    monkeypatch.setattr(sync, "PAGE_EVENTS", page)
    await agent.stop()
    agent.settings = replace(agent.settings, timeline_events=3)
    sent = [await operator.send_text(agent.room_id, f"$ {number}") for number in range(12)]
    await agent.listen()
    await agent.text(sent[-1])
    received = [event.event_id for event in agent.events if isinstance(event, TextMessage)]
    assert received == sent


async def test_gap_that_stays_is_told(operator: Operator, agent: Agent) -> None:
    """When the homeserver won't give out what it left out, the agent says that it missed it."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.refuse("/messages", status=403)
        agent.settings = replace(agent.settings, homeserver=proxy.url, timeline_events=3)
        sent = [await operator.send_text(agent.room_id, f"$ {number}") for number in range(12)]
        await agent.listen()
        await agent.text(sent[-1])
        await agent.stop()
    told = [type(event) for event in agent.events if not isinstance(event, KeysChanged)]
    assert told == [Missed, *[TextMessage] * 3]


async def test_a_gap_that_only_fails_ends(
    operator: Operator, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room whose history the homeserver fails over is missed, and keeps nothing else waiting."""
    monkeypatch.setattr(sync, "GAP_SECONDS", 0.1)
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        proxy.refuse("/messages", status=500, body={}, times=ALWAYS)
        agent.settings = replace(agent.settings, homeserver=proxy.url, timeline_events=3)
        sent = [await operator.send_text(agent.room_id, f"$ {number}") for number in range(12)]
        await agent.listen()
        await agent.text(sent[-1])
        await agent.stop()
    told = [type(event) for event in agent.events if not isinstance(event, KeysChanged)]
    assert told == [Missed, *[TextMessage] * 3]


async def test_late_key_brings_the_message(operator: Operator, agent: Agent) -> None:
    """A message whose key comes later is first undecryptable, and then comes decrypted."""
    await operator.send_text(agent.room_id, "$ first")
    device = await forge.device_of(operator, agent.account.user_id, agent.matrix.device_id)
    client = operator.client
    client.olm.create_outbound_group_session(agent.room_id)
    session = client.olm.outbound_group_sessions[agent.room_id]
    session_id, session_key, session.shared = session.id, session.session_key, True
    command = await operator.send_text(agent.room_id, "$ uptime")
    waiting = await agent.received(Undecryptable)
    assert (waiting.event_id, waiting.session_id) == (command, session_id)
    await forge.share_room_key(operator, device, agent.room_id, session_id, session_key)
    assert (await agent.text(command)).body == "$ uptime"


async def test_homeserver_restart_is_survived(
    operator: Operator, agent: Agent, synapse: Synapse
) -> None:
    """The agent goes on by itself, in both directions, after the homeserver was restarted."""
    await asyncio.to_thread(synapse.stop)
    sending = asyncio.create_task(
        agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "meanwhile"}, "t1")
    )
    await asyncio.to_thread(synapse.start)
    sent = await sending
    await operator.wait(lambda seen: seen.event_id == sent)
    assert (await agent.text(await operator.send_text(agent.room_id, "$ date"))).body == "$ date"


async def test_rate_limit_is_honoured(operator: Operator, agent: Agent, synapse: Synapse) -> None:
    """Under a rate limit every message still arrives, once and in order."""
    synapse.override_ratelimit(agent.account.user_id, messages_per_second=2, burst_count=1)
    sent = await asyncio.gather(
        *(
            agent.matrix.send(
                agent.room_id, {"msgtype": "m.notice", "body": str(number)}, str(number)
            )
            for number in range(4)
        )
    )
    await operator.wait(lambda seen: seen.event_id == sent[-1])
    bodies = [seen.body for seen in operator.events if seen.event_id in sent]
    assert bodies == ["0", "1", "2", "3"]


@pytest.mark.parametrize(("status", "body"), REFUSALS)
async def test_failed_key_share_blocks_nothing(
    operator: Operator, agent: Agent, status: int, body: dict[str, object]
) -> None:
    """A message whose key can't be shared is refused; the next one goes out and can be read."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        proxy.refuse("/sendToDevice/", status=status, body=body)
        content = {"msgtype": "m.notice", "body": "hello"}
        with pytest.raises(Refused):
            await agent.matrix.send(agent.room_id, dict(content), "t1")
        sent = await agent.matrix.send(agent.room_id, dict(content), "t2")
        assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted
        await agent.stop()


async def test_failing_homeserver_is_waited_out(operator: Operator, agent: Agent) -> None:
    """Server errors and answers that aren't JSON objects are tried again, with the same result."""
    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        await agent.listen()
        await agent.until(lambda: agent.matrix.members(agent.room_id))
        proxy.refuse("/sendToDevice/", status=500, body={})
        proxy.refuse("/send/m.room.encrypted/", status=502, body={})
        sent = await agent.matrix.send(agent.room_id, {"msgtype": "m.notice", "body": "x"}, "t1")
        assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted
        paths = [path for _, path in proxy.seen if "/send/m.room.encrypted/" in path]
        assert len(paths) == 2
        assert len(set(paths)) == 1
        await agent.stop()


async def test_a_room_that_takes_nothing_holds_up_no_other(
    operator: Operator, agent: Agent
) -> None:
    """While the homeserver fails over one room, what is sent to another room arrives."""
    await agent.stop()
    other = await operator.create_room(invite=[agent.account.user_id])
    async with Proxy(agent.settings.homeserver) as proxy:
        rooms = (agent.room_id, other)
        agent.settings = replace(agent.settings, homeserver=proxy.url, rooms=rooms)
        await (await agent.open()).join(other)
        await agent.listen()
        await agent.until(lambda: all(map(agent.matrix.members, rooms)))
        proxy.refuse(f"/rooms/{quoted(agent.room_id)}/send/", status=500, body={}, times=ALWAYS)
        content = {"msgtype": "m.notice", "body": "x"}
        waiting = asyncio.create_task(agent.matrix.send(agent.room_id, dict(content), "t1"))
        async with asyncio.timeout(WAIT_SECONDS):
            await proxy.reached("/send/m.room.encrypted/")
            sent = await agent.matrix.send(other, dict(content), "t2")
        assert (await operator.wait(lambda seen: seen.event_id == sent)).decrypted
        assert not waiting.done()
        proxy.pass_all()
        await waiting
        await agent.stop()


async def test_a_sync_that_stands_still_is_not_hurried(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes at once and moves nothing on is waited after, ever longer."""
    pauses: list[int] = []

    def counted() -> Iterator[float]:
        for number in itertools.count():
            pauses.append(number)
            yield 0.01

    await agent.stop()
    async with Proxy(agent.settings.homeserver) as proxy:
        agent.settings = replace(agent.settings, homeserver=proxy.url)
        monkeypatch.setattr(matrix, "waits", counted)
        proxy.refuse("/sync", status=200, body={"next_batch": agent.token}, times=ALWAYS)
        await agent.listen()
        async with asyncio.timeout(WAIT_SECONDS):
            await proxy.reached("/sync", times=20)
        await agent.stop()
    assert pauses[:18] == list(range(18))


async def test_killed_process_loses_no_message(
    operator: Operator, agent: Agent, tmp_path: Path
) -> None:
    """Killed again and again while keys and messages come in, it reads every message in the end.

    Each message has a room key of its own, so that every key counts (I4).
    """
    await agent.stop()
    configuration = tmp_path / "listener.json"
    configuration.write_text(
        json.dumps(
            {
                "homeserver": agent.settings.homeserver,
                "user_id": agent.account.user_id,
                "room": agent.room_id,
                "operator": operator.user_id,
                "store": str(agent.settings.store),
                "pickle_key": agent.pickle_key.hex(),
            }
        )
    )
    assert agent.token is not None
    configuration.with_suffix(".token").write_text(agent.token)
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    sent: set[str] = set()
    enough_said = asyncio.Event()

    async def speak() -> None:
        while not enough_said.is_set():
            operator.client.invalidate_outbound_session(agent.room_id)
            sent.add(await operator.send_text(agent.room_id, "$ uptime"))

    def note(line: bytes) -> None:
        if line.endswith(b"\n"):
            kind, event_id = line.decode().split()
            kinds[event_id].add(kind)

    async def hear(enough: Callable[[], bool]) -> None:
        """Start a listener, and kill it in the middle of what it does once that is ``enough``."""
        command = (sys.executable, "-m", "tests.integration.listener", str(configuration))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                while not enough() and (line := await process.stdout.readline()):
                    note(line)
        finally:
            process.kill()
            printed, _ = await process.communicate()  # whose token may be saved already
            for line in printed.splitlines(keepends=True):
                note(line)

    speaking = asyncio.create_task(speak())
    for _ in range(4):
        known = len(kinds)
        await hear(lambda known=known: len(kinds) > known + 2)  # type: ignore[misc] # no types
    enough_said.set()
    await speaking
    await hear(lambda: all("TextMessage" in kinds.get(event_id, ()) for event_id in sent))
    assert {event_id for event_id in kinds if "TextMessage" in kinds[event_id]} == sent
    assert not any("Replayed" in seen for seen in kinds.values())
