# SPDX-License-Identifier: MIT
"""Long commands in the room: told at once, kept up to date, ended by a word; on real parts."""

import asyncio
import itertools
import os

import pytest

from tests.harness import Account, Operator, Seen, Synapse
from tests.harness.host import Host
from tests.harness.proxy import Proxy

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

ANSWER_SECONDS = 60.0


async def started(operator: Operator, event: str) -> Seen:
    """Wait for the notice that a command has started."""
    return await operator.wait(
        lambda seen: seen.result.get("event_id") == event and seen.body.startswith("started"),
        ANSWER_SECONDS,
    )


async def first_word(operator: Operator, event: str) -> Seen:
    """Wait for whatever is said first about a message."""
    return await operator.wait(lambda seen: seen.result.get("event_id") == event, ANSWER_SECONDS)


async def asked(operator: Operator, room: str, body: str) -> Seen:
    """Send a message and return its final answer."""
    event = await operator.send_text(room, body)
    return await operator.answer_to(event, ANSWER_SECONDS)


def new_bodies(edits: list[Seen]) -> list[str]:
    """Return the texts that edits put in place of the first."""
    return [str(edit.content["m.new_content"]["body"]) for edit in edits]


async def test_progress_is_one_message_that_is_edited(
    host: Host, operator: Operator, room: str
) -> None:
    """A long command's start is told, then edited with its screen; the answer is a new message."""
    assert host.agent.running
    event = await operator.send_text(
        room, r"$ for n in 1 2 3 4 5 6 7 8 9; do printf 'step %s\r' $n; sleep 1; done; echo; pwd"
    )
    notice = await started(operator, event)
    answer = await operator.answer_to(event, ANSWER_SECONDS)
    edits = operator.edits_of(notice.event_id)
    *running, over = new_bodies(edits)
    number = notice.result["number"]
    assert running
    for text in running:
        shown, told = text.split("\n")
        assert shown.startswith("step ")
        assert len(shown) == len("step 1")  # one bar, however often it was drawn
        assert told.startswith(f"#{number} is running · sent ")
    assert over.startswith(f"#{number} is over · ")
    times = [notice.sent_ms, *(edit.sent_ms for edit in edits[:-1])]
    assert all(after - before >= 3000 for before, after in itertools.pairwise(times))
    assert {edit.result["final"] for edit in edits} == {False}
    assert all(edit.content["m.mentions"] == {} for edit in edits)
    assert answer.replaces is None
    assert answer.body.startswith("step 9\n/")
    assert len(operator.answers_to(event)) == 1


async def test_nothing_is_sent_when_nothing_changed(
    host: Host, operator: Operator, room: str
) -> None:
    """A silent command has its start told, and no edit."""
    assert host.agent.running
    event = await operator.send_text(room, "$ sleep 8")
    notice = await started(operator, event)
    await operator.answer_to(event, ANSWER_SECONDS)
    assert operator.edits_of(notice.event_id) == []


async def test_what_waits_behind_a_command_says_so(
    host: Host, operator: Operator, room: str
) -> None:
    """A command or ``exit`` behind a long command is told which one it waits for, then answered.

    A command whose wait is over is told to have started in the same message.
    """
    assert host.agent.running
    first = await operator.send_text(room, "$ sleep 1000")
    number = (await started(operator, first)).result["number"]
    behind = [await operator.send_text(room, text) for text in ("$ sleep 2; pwd", "$ pwd", "exit")]
    notices = [await first_word(operator, event) for event in behind]
    told = f"waits until #{number} has ended · !cancel {number} interrupts that"
    assert [notice.body for notice in notices] == [told] * 3
    assert "3 running or waiting" in (await asked(operator, room, "status")).body
    await asked(operator, room, f"!cancel {number}")
    answers = [await operator.answer_to(event, ANSWER_SECONDS) for event in (first, *behind)]
    assert [answer.result["verdict"] for answer in answers] == ["ran", "ran", "ran", "info"]
    assert new_bodies(operator.edits_of(notices[0].event_id))[0].startswith("started · #")
    assert [len(operator.answers_to(event)) for event in behind] == [1, 1, 1]


async def test_a_long_drawing_is_answered_as_a_terminal_shows_its_end(
    host: Host, operator: Operator, room: str
) -> None:
    """Of a progress bar that drew more than a message holds, only what was there last is shown."""
    assert host.agent.running
    answer = await asked(
        operator,
        room,
        r"$ for n in $(seq 3000 -1 1); do printf '\r\033[K%d of 3000 left' $n; done; echo; pwd",
    )
    told, digest, bar, directory, _ = answer.body.split("\n")
    assert told.startswith("below is the end of what a terminal would show; all of it is attached")
    assert digest.startswith("SHA-256 of the output: ")
    assert bar == "1 of 3000 left"
    assert directory.startswith("/")


async def test_a_rate_limit_costs_edits_and_no_answer(
    host: Host, operator: Operator, room: str, synapse: Synapse, bot: Account
) -> None:
    """Where the homeserver limits the rate, edits are given up, and every answer comes (I4)."""
    assert host.agent.running
    flood = await operator.send_text(room, "$ while :; do date; sleep 1; done")
    notice = await started(operator, flood)
    synapse.override_ratelimit(bot.user_id, messages_per_second=1, burst_count=1)
    number = notice.result["number"]
    events = [await operator.send_text(room, f"!tail {number}") for _ in range(6)]
    for event in events:
        assert "has printed" in (await operator.answer_to(event, ANSWER_SECONDS)).body
    await asked(operator, room, f"!kill {number}")
    assert (await operator.answer_to(flood, ANSWER_SECONDS)).result["reason"] == "killed"


@pytest.mark.parametrize(
    "stuck",
    [
        "trap '' INT TERM HUP QUIT; while :; do :; done",
        "cat",
        "yes",
    ],
)
async def test_stop_ends_a_stuck_shell_and_what_waits_behind_it(
    stuck: str, host: Host, operator: Operator, room: str
) -> None:
    """``!stop`` works when nothing else does; what waited is answered, and the next one runs."""
    assert host.agent.running
    first = await operator.send_text(room, f"$ {stuck}")
    behind = await operator.send_text(room, "$ echo behind")
    await started(operator, first)
    assert "2 commands" in (await asked(operator, room, "!stop")).body
    assert (await operator.answer_to(first, ANSWER_SECONDS)).result["reason"] in {
        "killed",
        "stopped",
    }
    assert (await operator.answer_to(behind, ANSWER_SECONDS)).result["verdict"] == "denied"
    assert (await asked(operator, room, "$ echo next")).body.startswith("next\n")
    assert [len(operator.answers_to(event)) for event in (first, behind)] == [1, 1]


async def test_no_stop_waits_for_a_notice(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """The agent ends when it is told to, though the homeserver doesn't take what it says."""
    proxy.refuse("/send/", status=502, times=1_000_000)
    seen = len(proxy.seen)
    await operator.send_text(room, "$ sleep 1000")
    async with asyncio.timeout(ANSWER_SECONDS):
        while not any("/send/" in path for _, path in proxy.seen[seen:]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(behind.agent.stop) == 0
    assert "Traceback" not in behind.agent.log.read_text()


async def test_what_ends_the_agent_does_so_over_a_notice_too(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """A token that has ended while a command runs ends the agent with one line, as ever (I4)."""
    ended = {"errcode": "M_UNKNOWN_TOKEN", "error": "no"}
    proxy.refuse("/send/", status=401, body=ended, times=1)
    event = await operator.send_text(room, "$ sleep 2; echo done")
    assert await asyncio.to_thread(behind.agent.wait, ANSWER_SECONDS) == 1
    *_, said = behind.agent.log.read_text().splitlines()
    assert said.startswith("tibet-nc-agent: ")
    assert "token" in said
    assert "Traceback" not in behind.agent.log.read_text()
    await asyncio.to_thread(behind.start_agent)
    assert (await operator.answer_to(event, ANSWER_SECONDS)).body.startswith("done\n")


async def test_a_restarted_agent_goes_on_telling_of_a_command(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """What has run on is told in the same message, also by one that takes a while to begin."""
    event = await operator.send_text(room, "$ while :; do date; sleep 1; done")
    notice = await started(operator, event)
    await asyncio.to_thread(behind.agent.kill)
    before = len(operator.edits_of(notice.event_id))
    proxy.refuse("/sync", status=502, times=2)
    await asyncio.to_thread(behind.start_agent)
    await operator.wait(lambda _: len(operator.edits_of(notice.event_id)) > before, ANSWER_SECONDS)
    assert "the agent is not in" not in behind.agent.log.read_text()
    await asked(operator, room, f"!kill {notice.result['number']}")
    assert (await operator.answer_to(event, ANSWER_SECONDS)).result["reason"] == "killed"
