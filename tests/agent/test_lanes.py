# SPDX-License-Identifier: MIT
"""The order of answers: one operator's commands in order, others without waiting."""

import asyncio
import gc
import weakref

import hypothesis.strategies as st
from hypothesis import given, settings

from tibet_nc_agent.lanes import Lanes, Turn, Waiting

SECONDS = 20.0


@given(st.permutations(range(6)), st.permutations(range(6)), st.sets(st.integers(0, 5)))
@settings(deadline=None)
def test_order_whatever_is_first(pass_: list[int], finish: list[int], bypass: set[int]) -> None:
    """Asked in order and answered in order, in whatever order things pass, end or step aside."""
    asyncio.run(check_order(pass_, finish, bypass))


async def check_order(pass_: list[int], finish: list[int], bypass: set[int]) -> None:
    """Let messages pass and end in the given orders; those that bypass use no turn but have one."""
    lanes = Lanes()
    asked: list[int] = []
    answered: list[int] = []
    passed = [asyncio.Event() for _ in pass_]
    ended = [asyncio.Event() for _ in finish]

    async def message(number: int, turn: Turn) -> None:
        try:
            await passed[number].wait()
            if number in bypass:
                return
            await turn.to_ask()
            asked.append(number)
            turn.asked()
            await ended[number].wait()
            await turn.to_answer()
            answered.append(number)
        finally:
            turn.done()

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for number in range(len(finish)):
            group.create_task(message(number, lanes.turn("!room", "@op")))
        for number in pass_:
            await asyncio.sleep(0)
            passed[number].set()
        for number in finish:
            await asyncio.sleep(0)
            ended[number].set()
    expected = [number for number in range(len(finish)) if number not in bypass]
    assert asked == expected
    assert answered == expected


async def test_others_do_not_wait() -> None:
    """Another operator, and another room, are not held up."""
    lanes = Lanes()
    slow = lanes.turn("!room", "@op")
    async with asyncio.timeout(SECONDS):
        for room, sender in (("!room", "@other"), ("!other", "@op")):
            turn = lanes.turn(room, sender)
            await turn.to_ask()
            await turn.to_answer()
            turn.done()
    slow.done()


async def test_asking_does_not_wait_for_answers() -> None:
    """The next command is asked for while the one before runs."""
    lanes = Lanes()
    first, second = lanes.turn("!room", "@op"), lanes.turn("!room", "@op")
    await first.to_ask()
    first.asked()
    async with asyncio.timeout(SECONDS):
        await second.to_ask()
    waiting = asyncio.create_task(second.to_answer())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.done()
    first.done()  # as when it was done early, to let the next one by
    async with asyncio.timeout(SECONDS):
        await waiting
    second.done()


async def test_what_waits_is_known() -> None:
    """Of each operator the commands behind one that runs are told, and nothing else."""
    lanes = Lanes()
    running, asks, waits, other = (
        lanes.turn("!room", sender) for sender in ("@op", "@op", "@op", "@other")
    )
    running.command, waits.command, other.command = "make", "make install", "uptime"
    assert lanes.waiting() == []
    running.running = 42
    assert lanes.waiting() == [Waiting(sender="@op", command="make install", behind=42)]
    running.command = running.running = None
    assert lanes.waiting() == []
    for turn in (running, asks, waits, other):
        turn.done()


async def test_what_runs_is_found_behind_what_does_not() -> None:
    """A message names the command that it waits for, although one before that runs nothing."""
    lanes = Lanes()
    asks, running, waits = (lanes.turn("!room", "@op") for _ in range(3))
    running.running = 42
    assert waits.behind == 42
    for turn in (asks, running, waits):
        turn.done()


async def test_what_is_held_is_given_back_once() -> None:
    """What a message holds until it is done, as the right to have a stop wait, ends with it."""
    turn = Lanes().turn("!room", "@op")
    given_back: list[str] = []
    turn.held.callback(given_back.append, "held")
    turn.done()
    turn.done()
    assert given_back == ["held"]


def test_what_is_over_is_forgotten() -> None:
    """However long one message follows another without a gap, those that are over are freed."""
    lanes = Lanes()
    turn = lanes.turn("!room", "@op")
    first = weakref.ref(turn)
    for _ in range(3):
        following = lanes.turn("!room", "@op")
        turn.done()
        turn = following
    gc.collect()
    assert first() is None
    turn.done()
