# SPDX-License-Identifier: MIT
"""One command from the operator's keyboard to the operator's screen, beside what else there is."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import floor_bot, sshd
from tests.bench.debian import MissingError
from tests.bench.release import NAME, Release
from tests.bench.report import OURS, TIMES, Report
from tests.bench.settings import Settings
from tests.bench.stats import milliseconds, summarize, turns
from tests.bench.world import ANSWER_SECONDS, World, command, world
from tests.harness.operator import Operator, Seen

GROUP: Final = "round trip"
FLOOR: Final = "Matrix floor"
MASTER: Final = "ssh, control master"
FRESH: Final = "ssh, new connection"
SHORT: Final = ("true", "df -h", "seq 1 2000")
SLOW: Final = "sleep 2; echo done"
APART_SECONDS: Final = 0.5
"""As seldom as leaves a homeserver some rest that needs 0.1 s of processor for each message."""
SESSIONS: Final = 10
"""Rooms of one operator, and so sessions: enough to start one every 0.5 s that takes 2 s."""
LIMITED_PER_SECOND: Final = 5
LOST_SECONDS: Final = 15.0
BURST: Final = 10
CROWD: Final = 50
QUICK_CROWD: Final = 10

_NOTES: Final = {
    FLOOR: "a bare nio bot answers a plain message",
    NAME: "unencrypted: it can't do more",
}

type Peer = Callable[[str], Coroutine[None, None, float]]
type Start = Callable[[int], Coroutine[None, None, float]]


@dataclass(frozen=True, kw_only=True)
class Peers:
    """Ways to have a command done, by name, ours first; and where ours run."""

    ways: dict[str, Peer]
    place: World
    server: sshd.SshServer | None
    floor_room: str
    old_room: str | None


async def run(report: Report, settings: Settings) -> None:
    """Measure round trips of all that can be had here."""
    directory = settings.place("round-trip")
    crowd = QUICK_CROWD if settings.quick else CROWD
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(world(directory, rooms=SESSIONS))
        peers = await _peers(report, directory, place, stack)
        for text in SHORT:
            await _series(report, settings, peers, text)
        await _slow(report, settings, peers)
        await _burst(report, settings, peers)
        await _long_burst(report, place)
    async with world(settings.place("crowd"), operators=crowd) as place:
        await _crowd(report, place)


async def _peers(report: Report, directory: Path, place: World, stack: AsyncExitStack) -> Peers:
    operator = place.operator
    ways: dict[str, Peer] = {OURS: lambda text: command(operator, place.room, text)}
    floor_room = await _floor(directory, place, stack)
    ways[FLOOR] = lambda text: command(operator, floor_room, text)
    old_room = None
    try:
        old_room = await _release(directory, place, stack)
        room = old_room
        ways[NAME] = lambda text: _old(operator, room, text)
    except MissingError as error:
        report.lack(f"{NAME}: {error}")
    server = None
    try:
        server = stack.enter_context(sshd.SshServer(directory / "sshd"))
        ways[MASTER] = _ssh(server.master_argv)
        ways[FRESH] = _ssh(server.argv)
    except MissingError as error:
        report.lack(f"ssh: {error}")
    return Peers(ways=ways, place=place, server=server, floor_room=floor_room, old_room=old_room)


async def _floor(directory: Path, place: World, stack: AsyncExitStack) -> str:
    bot = place.synapse.register("floor")
    store = directory / "floor"
    store.mkdir()
    stack.enter_context(floor_bot.running(place.synapse.url, bot, store))
    room = await place.operator.create_room(invite=[bot.user_id])
    await place.operator.wait_member(room, bot.user_id, ANSWER_SECONDS)
    await command(place.operator, room, "warm up")
    return room


async def _release(directory: Path, place: World, stack: AsyncExitStack) -> str:
    bot = place.synapse.register("old")
    operator = place.operator
    room = await operator.create_room(invite=[bot.user_id], encrypted=False)
    stack.enter_context(
        Release(
            directory / "release.log",
            homeserver=place.synapse.url,
            bot=bot,
            room=room,
            user=operator.user_id,
        )
    )
    await operator.wait_member(room, bot.user_id, ANSWER_SECONDS)
    await _old(operator, room, "true")
    return room


async def _old(operator: Operator, room: str, text: str) -> float:
    """Type a command for 0.1.2: its answers name no command, so the next one must be it."""
    seen = len(operator.events)
    begin = time.perf_counter()
    await operator.send_text(room, f"$ {text}")

    def answers(event: Seen) -> bool:
        return event in operator.events[seen:] and _is_old_answer(event, operator, room)

    await operator.wait(answers, ANSWER_SECONDS)
    return milliseconds(begin)


def _is_old_answer(event: Seen, operator: Operator, room: str) -> bool:
    return (
        event.room_id == room
        and event.type == "m.room.message"
        and event.sender != operator.user_id
    )


def _ssh(argv: list[str]) -> Peer:
    async def way(text: str) -> float:
        begin = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *argv, text, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        await process.communicate()
        if process.returncode != 0:
            raise ChildProcessError(f"ssh ended with {process.returncode}")
        return milliseconds(begin)

    return way


async def _series(report: Report, settings: Settings, peers: Peers, text: str) -> None:
    """Measure all, taking turns, so that whatever the machine does else falls on each."""
    series: dict[str, list[float]] = {name: [] for name in peers.ways}
    for _ in range(settings.n):
        peers.place.operator.events.clear()  # each answer is looked for among all before it
        for name in turns(peers.ways):
            series[name].append(await peers.ways[name](text))
    _add(report, f"`{text}`", series)
    if text == "true":
        floor = summarize(series[FLOOR]).p50
        added = summarize(series[OURS]).p50 - floor
        report.add(GROUP, "added over the floor, `true`", OURS, added)
        report.at_most(GROUP, "added over the Matrix floor, p50 of `true`", added, 10, "ms")
        if NAME in series:
            old = summarize(series[NAME]).p50 - floor
            report.add(GROUP, "added over the floor, `true`", NAME, old)
            report.at_most(GROUP, f"that, over what {NAME} adds", added / old, 1 / 20, TIMES)


async def _slow(report: Report, settings: Settings, peers: Peers) -> None:
    """Start one every half second: they wait, so those of one kind don't disturb one another.

    The kinds come one after the other: a new connection of ssh takes more than it gives to others.
    """
    place = peers.place
    for room in place.rooms:
        await command(place.operator, room, "true")

    def ours(turn: int) -> Coroutine[None, None, float]:
        return command(place.operator, place.rooms[turn % SESSIONS], SLOW)

    ways: dict[str, Start] = {OURS: ours}
    for name in (MASTER, FRESH):
        if name in peers.ways:
            ways[name] = _anywhere(peers.ways[name])
    series = {name: await _apart(settings.n, way) for name, way in ways.items()}
    if NAME in peers.ways:
        series[NAME] = [await peers.ways[NAME](SLOW) for _ in range(settings.n)]
    _add(report, f"`{SLOW}`", series, {NAME: "answers before it is done"})


def _anywhere(way: Peer) -> Start:
    return lambda _turn: way(SLOW)


async def _apart(n: int, way: Start) -> list[float]:
    tasks: list[asyncio.Task[float]] = []
    for turn in range(n):
        tasks.append(asyncio.create_task(way(turn)))
        await asyncio.sleep(APART_SECONDS)
    return list(await asyncio.gather(*tasks))


async def _burst(report: Report, settings: Settings, peers: Peers) -> None:
    """Send 10 commands without waiting for any answer; until the last one is there."""
    operator, room = peers.place.operator, peers.place.room
    series: dict[str, list[float]] = {OURS: [], FLOOR: []}
    for _ in range(settings.n):
        operator.events.clear()
        series[OURS].append(await _all(operator, room, BURST))
        series[FLOOR].append(await _all(operator, peers.floor_room, BURST))
    notes: dict[str, str] = {}
    if peers.old_room is not None:
        begin = time.perf_counter()
        answered = await _count_old(operator, peers.old_room, BURST)
        series[NAME] = [milliseconds(begin)]
        notes[NAME] = f"{answered} of {BURST} answered, {LOST_SECONDS:g} s waited"
    for name in (MASTER, FRESH):
        if name in peers.ways:
            way = peers.ways[name]
            for _ in range(settings.n):
                begin = time.perf_counter()
                await asyncio.gather(*(way("true") for _ in range(BURST)))
                series.setdefault(name, []).append(milliseconds(begin))
    _add(report, f"{BURST} `true` in a burst, all answered", series, notes)
    peers.place.synapse.override_ratelimit(
        peers.place.bot.user_id, messages_per_second=LIMITED_PER_SECOND, burst_count=1
    )
    limited = await _all(operator, room, BURST)
    report.add(
        GROUP, f"{BURST} `true` in a burst, all answered", "ours, rate-limited", limited,
        note=f"the homeserver takes {LIMITED_PER_SECOND} messages/s of the agent",
    )  # fmt: skip
    peers.place.synapse.override_ratelimit(
        peers.place.bot.user_id, messages_per_second=0, burst_count=0
    )


async def _all(operator: Operator, room: str, n: int) -> float:
    begin = time.perf_counter()
    events = [await operator.send_text(room, "$ true") for _ in range(n)]
    await asyncio.gather(*(operator.answer_to(event, ANSWER_SECONDS) for event in events))
    return milliseconds(begin)


async def _count_old(operator: Operator, room: str, n: int) -> int:
    seen = len(operator.events)
    for _ in range(n):
        await operator.send_text(room, "$ true")

    def answers() -> int:
        return sum(_is_old_answer(event, operator, room) for event in operator.events[seen:])

    with suppress(TimeoutError):
        await operator.wait(lambda _: answers() == n, LOST_SECONDS)
    return answers()


async def _crowd(report: Report, place: World) -> None:
    """All operators of a room command at once; each gets one answer, and its own."""
    people = place.operators
    series = await asyncio.gather(*(command(person, place.room, "true") for person in people))
    what = f"{len(people)} operators' `true` at once"
    report.add(
        GROUP,
        what,
        OURS,
        series,
        note="one room; all clients are one process, and most of the time is theirs",
    )


async def _long_burst(report: Report, place: World) -> None:
    """Send 50 commands without waiting: all are answered, each once, in order."""
    begin = time.perf_counter()
    events = [await place.operator.send_text(place.room, f"$ echo {n}") for n in range(CROWD)]
    answers = await asyncio.gather(
        *(place.operator.answer_to(event, ANSWER_SECONDS) for event in events)
    )
    seconds = time.perf_counter() - begin
    numbers = [answer.result["number"] for answer in answers]
    good = [
        event
        for turn, (event, answer) in enumerate(zip(events, answers, strict=True))
        if len(place.operator.answers_to(event)) == 1
        and answer.result["verdict"] == "ran"
        and f"{turn}\n" in answer.body
    ]
    order = "in order" if numbers == sorted(numbers) else "NOT in order"
    what = f"{CROWD} commands of one operator in a burst"
    note = f"{len(good)} answered once and rightly, {order}"
    report.add(GROUP, what, OURS, seconds * 1000, note=note)
    report.at_least(GROUP, f"{what}: answered once, rightly, {order}", len(good), CROWD, "")


def _add(
    report: Report, what: str, series: dict[str, list[float]], notes: dict[str, str] | None = None
) -> None:
    for name, values in series.items():
        note = (notes or {}).get(name, _NOTES.get(name, ""))
        report.add(GROUP, what, name, values, note=note)
