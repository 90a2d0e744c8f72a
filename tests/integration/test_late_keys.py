# SPDX-License-Identifier: MIT
"""Messages without their key: told, asked for, run if it comes in time, and never otherwise."""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.element import ElementOperator
from tests.harness.host import Host
from tests.harness.proxy import Proxy

TIMEBOX_S: Final = 10
"""What is waited for in full, and in which a slow machine can run what comes after it."""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


@pytest.fixture
def make_host(
    proxy: Proxy, bot: Account, directory: Path
) -> Iterator[Callable[[str, str, str, int], Host]]:
    """Make a host behind the proxy: for an operator, with a master key, in a room, and timebox."""
    made: list[Host] = []

    def make(user: str, master_key: str, room: str, timebox_s: int) -> Host:
        host = Host(
            directory / "host",
            homeserver=proxy.url,
            bot=bot,
            operators={user: master_key},
            rooms=[room],
            timebox_s=timebox_s,
        )
        made.append(host)
        return host

    yield make
    for host in made:
        host.close()


class HeldKeys:
    """Keeps messages to the agent's device back until told to let them go."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.open = False

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        """Change the answer to a sync."""
        events = body.get("to_device", {}).get("events", [])
        if not self.open:
            self.kept += events
            events = []
        else:
            events, self.kept = [*self.kept, *events], []
        return {**body, "to_device": {"events": events}}


async def _without_keys(
    operator: Operator, bot: Account, proxy: Proxy, make_host: Callable[..., Host], timebox_s: int
) -> tuple[Host, str, HeldKeys]:
    """Start a host that gets no room keys; return it, its room, and what holds them back."""
    room = await operator.create_room(invite=[bot.user_id])
    host = make_host(operator.user_id, operator.master_key, room, timebox_s)
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    held = HeldKeys()
    proxy.rewrite("/sync", held)
    return host, room, held


async def test_a_key_that_comes_in_time_lets_the_command_run(
    operator: Operator, bot: Account, proxy: Proxy, make_host: Callable[..., Host]
) -> None:
    """A command without its key is told to wait, and runs once when the key comes in time (I4)."""
    _, room, held = await _without_keys(operator, bot, proxy, make_host, 30)
    sent = await operator.send_text(room, "$ echo late")
    notice = await operator.wait(lambda seen: "could not decrypt" in seen.body)
    assert operator.user_id in notice.body
    assert notice.result["final"] is False
    async with asyncio.timeout(20):  # it is told first, and asked for then
        while not any("m.room_key_request" in path for _, path in proxy.seen):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    held.open = True
    later = await operator.answer_to(await operator.send_text(room, "$ echo later"))
    assert later.body.startswith("later\n")
    answer = await operator.answer_to(sent)
    assert answer.body.startswith("late\n")
    assert len(operator.answers_to(sent)) == 1


async def test_what_still_runs_when_its_key_would_be_too_late_has_its_own_answer(
    operator: Operator, bot: Account, proxy: Proxy, make_host: Callable[..., Host]
) -> None:
    """Who waited for the key leaves the answer to the command that came with it (I4)."""
    _, room, held = await _without_keys(operator, bot, proxy, make_host, TIMEBOX_S)
    sent = await operator.send_text(room, "$ sleep 12; echo late")
    await operator.wait(lambda seen: "could not decrypt" in seen.body)
    held.open = True
    await operator.set_state(room, "m.room.topic", {"topic": "a sync comes"})
    assert (await operator.answer_to(sent)).body.startswith("late\n")
    await operator.answer_to(await operator.send_text(room, "$ true"))
    assert len(operator.answers_to(sent)) == 1


async def test_a_key_that_comes_too_late_runs_nothing(
    operator: Operator, bot: Account, proxy: Proxy, make_host: Callable[..., Host]
) -> None:
    """Without its key a command is refused when it would be stale, and the key changes nothing."""
    _, room, held = await _without_keys(operator, bot, proxy, make_host, TIMEBOX_S)
    sent = await operator.send_text(room, "$ echo never")
    answer = await operator.answer_to(sent)
    assert answer.result["family"] == "undecryptable"
    assert "please send it again" in answer.body
    held.open = True
    later = await operator.answer_to(await operator.send_text(room, "$ echo after"))
    assert later.body.startswith("after\n")
    assert [seen.event_id for seen in operator.answers_to(sent)] == [answer.event_id]
    assert not any(seen.body.startswith("never\n") for seen in operator.events)


async def test_a_key_that_can_not_be_asked_for_is_waited_for_all_the_same(
    operator: Operator, bot: Account, proxy: Proxy, make_host: Callable[..., Host]
) -> None:
    """A homeserver that passes no request on costs the message its key, and nobody an answer."""
    host, room, held = await _without_keys(operator, bot, proxy, make_host, TIMEBOX_S)
    proxy.refuse("m.room_key_request", status=403)
    sent = await operator.send_text(room, "$ echo never")
    answer = await operator.answer_to(sent)
    assert answer.result["family"] == "undecryptable"
    host.wait_log(f"the key of {sent} was not asked for: ")
    held.open = True
    later = await operator.answer_to(await operator.send_text(room, "$ echo after"))
    assert later.body.startswith("after\n")


async def test_of_what_came_before_the_first_login_only_the_new_is_answered(
    operator: Operator, bot: Account, proxy: Proxy, make_host: Callable[..., Host]
) -> None:
    """A command that was sent just before the agent had keys has its answer (I4), an old one none.

    Whoever logs in anew in a room with a long past doesn't answer all of it.
    """
    room = await operator.create_room(invite=[bot.user_id])
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {bot.access_token}"}
    ) as web:
        await web.post(f"{proxy.url}/_matrix/client/v3/join/{quote(room)}", raise_for_status=True)
    await operator.wait_member(room, bot.user_id)
    old = await operator.send_text(room, "$ echo old")
    new = await operator.send_text(room, "$ echo new")

    def aged(body: dict[str, Any]) -> dict[str, Any]:
        for joined in body.get("rooms", {}).get("join", {}).values():
            for event in joined["timeline"]["events"]:
                if event["event_id"] == old:
                    event["origin_server_ts"] -= 3_600_000
        return body

    proxy.rewrite("/sync", aged)
    host = make_host(operator.user_id, operator.master_key, room, 15)
    await asyncio.to_thread(host.start)
    assert (await operator.answer_to(new)).result["family"] == "undecryptable"
    host.wait_log(f"ignored: {old} is from before this login")
    later = await operator.answer_to(await operator.send_text(room, "$ echo later"))
    assert later.body.startswith("later\n")
    assert (len(operator.answers_to(new)), len(operator.answers_to(old))) == (1, 0)


async def test_element_gives_a_lost_key_out_again(
    synapse: Synapse, bot: Account, proxy: Proxy, make_host: Callable[..., Host]
) -> None:
    """A lost key is asked for, Element's stack gives it out again, and the command runs."""
    account = synapse.register(f"op-{secrets.token_hex(6)}")
    async with await ElementOperator.login(
        synapse.url, account.user_id, account.password
    ) as operator:
        master_key = await operator.cross_sign()
        room = await operator.create_room(invite=[bot.user_id])
        host = make_host(operator.user_id, master_key, room, 60)
        await asyncio.to_thread(host.start)
        await operator.wait_member(room, bot.user_id)
        await operator.answer_to(await operator.send_text(room, "$ true"))
        await operator.rotate_room_key(room)
        held = HeldKeys()
        proxy.rewrite("/sync", held)
        sent = await operator.send_text(room, "$ echo found")
        await operator.wait(lambda seen: "could not decrypt" in seen.body)
        held.kept.clear()  # lost for ever
        held.open = True
        answer = await operator.answer_to(sent, 60)
        assert answer.body.startswith("found\n")
