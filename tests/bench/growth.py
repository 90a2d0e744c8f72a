# SPDX-License-Identifier: MIT
"""The same figures with ten and a hundred times as much of something."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Final

from tests.bench import long_chain
from tests.bench.accounts import new_uids
from tests.bench.lone_executor import LoneExecutor
from tests.bench.process import cpu_ms, resident_mb
from tests.bench.report import Report
from tests.bench.settings import Settings
from tests.bench.stats import milliseconds, timed_async
from tests.bench.world import ANSWER_SECONDS, World, command, world
from tests.executor.rig import Client
from tests.harness.host import Host
from tests.harness.operator import Operator, Seen
from tests.harness.synapse import Synapse
from tibet_nc_executor.config import read_key
from tibet_nc_protocol.signing import Identity

GROUP: Final = "growth"
CHAIN: Final[tuple[int, ...]] = (1_000, 10_000, 100_000)
OUTPUT_BYTES: Final[tuple[int, ...]] = (100_000, 1_000_000, 10_000_000)
ROOMS: Final[tuple[int, ...]] = (10, 100)
OPERATORS: Final[tuple[int, ...]] = (10, 100)
AGENTS: Final[tuple[int, ...]] = (1, 3, 10)
OUTPUT_ROUNDS: Final = 5
IDLE_SECONDS: Final = 31.0
"""A little more than the homeserver holds a request when there is nothing new."""


async def run(report: Report, settings: Settings) -> None:
    """Measure with one, ten and a hundred times as much; less when quick."""
    steps = 2 if settings.quick else 3
    for records in CHAIN[:steps]:
        await _chain(report, settings, records)
    async with world(settings.place("growth-one")) as place:
        for size in OUTPUT_BYTES[:steps]:
            await _output(report, place, size)
        await _busy(report, settings, place, "rooms", 1)
        await _busy(report, settings, place, "operators", 1)
    for rooms in ROOMS[: steps - 1]:
        async with world(settings.place(f"rooms-{rooms}"), rooms=rooms) as place:
            await _busy(report, settings, place, "rooms", rooms)
    for operators in OPERATORS[: steps - 1]:
        directory = settings.place(f"operators-{operators}")
        async with world(directory, operators=operators, away=True) as place:
            await _busy(report, settings, place, "operators", operators)
    for agents in AGENTS[:steps]:
        await _agents(report, settings, agents)


async def _chain(report: Report, settings: Settings, records: int) -> None:
    with LoneExecutor(settings.place(f"growth-chain-{records}")) as executor:
        executor.stop()
        long_chain.extend(
            executor.state, Identity(read_key(executor.state / "executor.key")), records
        )
        long_chain.index(executor.state)
        executor.start()
        client = await Client.connect(executor)
        await client.run("true")
        series = await timed_async(settings.n, lambda: client.run("true"))
        await client.close()
        report.add(GROUP, "executor alone, `true`", f"{records:,} records", series)


async def _output(report: Report, place: World, size: int) -> None:
    series = [
        await command(place.operator, place.room, f"head -c {size} /dev/zero")
        for _ in range(OUTPUT_ROUNDS)
    ]
    report.add(GROUP, "round trip with output", f"{size / 1e6:g} MB", series)


async def _busy(report: Report, settings: Settings, place: World, of: str, n: int) -> None:
    """Measure `true` of one operator in one room while there are others."""
    series = [
        await command(place.operator, place.rooms[-1], "true")
        for _ in range(max(20, settings.n // 3))
    ]
    report.add(GROUP, f"round trip of `true`, by {of}", f"{n} {of}", series)
    memory = resident_mb(place.host.agent.pid)
    report.add(GROUP, f"agent: memory, by {of}", f"{n} {of}", memory, unit="MB")


async def _agents(report: Report, settings: Settings, n: int) -> None:
    """Measure a command that all agents of a room run and answer."""
    directory = settings.place(f"agents-{n}")
    async with AsyncExitStack() as stack:
        synapse = stack.enter_context(Synapse(directory / "synapse"))
        person = synapse.register("operator")
        operator = await stack.enter_async_context(
            await Operator.login(synapse.url, person.user_id, person.password)
        )
        bots = [synapse.register(f"bot{number}") for number in range(n)]
        users = [bot.user_id for bot in bots]
        room = await operator.create_room(invite=users)
        hosts: list[Host] = []
        for number, bot in enumerate(bots):
            host = stack.enter_context(
                Host(
                    directory / f"host{number}",
                    homeserver=synapse.url,
                    bot=bot,
                    # A room with strangers is not spoken in: agents must know one another.
                    operators={operator.user_id: operator.master_key},
                    allowed=[person.user_id, *(user for user in users if user != bot.user_id)],
                    rooms=[room],
                    name=f"host{number}",
                    uids=new_uids(),
                )
            )
            host.start()
            hosts.append(host)
        for user in users:
            await operator.wait_member(room, user, ANSWER_SECONDS)
        await _all_answer(operator, room, users)
        await _all_answer(operator, room, users)
        await _measure(report, settings, synapse, operator, room, users, hosts)


async def _measure(
    report: Report,
    settings: Settings,
    synapse: Synapse,
    operator: Operator,
    room: str,
    users: list[str],
    hosts: list[Host],
) -> None:
    rounds = settings.n // 5
    agents = [host.agent.pid for host in hosts]
    before = [cpu_ms(pid) for pid in agents], cpu_ms(synapse.pid)
    first: list[float] = []
    last: list[float] = []
    for _ in range(rounds):
        times = await _all_answer(operator, room, users)
        first.append(times[0])
        last.append(times[-1])
    await asyncio.sleep(1)  # what answers cost their other readers belongs to it
    used = sum(cpu_ms(pid) for pid in agents) - sum(before[0])
    who = f"{len(users)} agents"
    report.add(GROUP, "one command to a room: first answer", who, first)
    report.add(GROUP, "one command to a room: last answer", who, last)
    what = "one command to a room: CPU of each agent"
    report.add(GROUP, what, who, used / len(users) / rounds)
    what = "one command to a room: CPU of Synapse"
    report.add(GROUP, what, who, (cpu_ms(synapse.pid) - before[1]) / rounds)
    if len(agents) == max(AGENTS):
        before_idle = cpu_ms(synapse.pid)
        await asyncio.sleep(IDLE_SECONDS)
        idle = (cpu_ms(synapse.pid) - before_idle) / len(agents) * 60 / IDLE_SECONDS
        what = "nothing to do: CPU of Synapse for each agent"
        report.add(GROUP, what, who, idle, unit="ms/min", note="the operator's client too")
    memory = sum(resident_mb(pid) for pid in agents) / len(agents)
    report.add(GROUP, "memory of each agent, by agents in a room", who, memory, unit="MB")


async def _all_answer(operator: Operator, room: str, users: list[str]) -> list[float]:
    """Have a command done by all agents; return when each answer came, in order."""
    begin = time.perf_counter()
    event = await operator.send_text(room, "$ true")

    async def answer(user: str) -> float:
        def wanted(seen: Seen) -> bool:
            return seen.sender == user and seen.result.get("event_id") == event

        await operator.wait(wanted, ANSWER_SECONDS)
        return milliseconds(begin)

    return sorted(await asyncio.gather(*(answer(user) for user in users)))
