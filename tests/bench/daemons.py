# SPDX-License-Identifier: MIT
"""The agent as a process: start, memory, idling, and whether memory stays flat."""

import asyncio
import time
from typing import Final

from tests.bench.process import cpu_ms, resident_mb
from tests.bench.report import OURS, Report
from tests.bench.settings import Settings
from tests.bench.stats import milliseconds
from tests.bench.world import ANSWER_SECONDS, World, world

GROUP: Final = "agent"
IDLE_SECONDS: Final = 5.0
STARTS: Final = 5
BATCH: Final = 25
SHARE: Final = 10
"""A command takes the agent, with a homeserver, ten times as long as the executor alone."""


async def run(report: Report, settings: Settings) -> None:
    """Measure the agent beside its executor."""
    async with world(settings.place("agent")) as place:
        host = place.host
        starts: list[float] = []
        for _ in range(STARTS):
            host.agent.stop()
            begin = time.perf_counter()
            host.start_agent()
            starts.append(milliseconds(begin))
        start = report.add(GROUP, "start to ready", OURS, starts, note="logged in and synced")
        report.at_most(GROUP, "agent: start to ready", start.p50 / 1000, 1, "s")
        ready = resident_mb(host.agent.pid)
        report.add(GROUP, "memory when ready", OURS, ready, unit="MB")
        report.at_most(GROUP, "agent: memory when ready", ready, 90, "MB")
        begin = cpu_ms(host.agent.pid)
        await asyncio.sleep(IDLE_SECONDS)
        used = (cpu_ms(host.agent.pid) - begin) / IDLE_SECONDS
        report.add(GROUP, "processor when idle", OURS, used, unit="ms/s")
        await _soak(report, settings, place)


async def _soak(report: Report, settings: Settings, place: World) -> None:
    await _commands(place, 2 * BATCH)
    before = resident_mb(place.host.agent.pid)
    n = max(BATCH, settings.soak // SHARE)
    begin = time.perf_counter()
    await _commands(place, n)
    rate = n / (time.perf_counter() - begin)
    after = resident_mb(place.host.agent.pid)
    report.add(GROUP, "memory before many commands", OURS, before, unit="MB")
    report.add(GROUP, f"memory after {n:,} commands", OURS, after, unit="MB")
    report.add(GROUP, f"rate, {BATCH} at a time", OURS, rate, unit="/s")
    report.at_most(GROUP, f"agent: growth over {n:,} commands", after - before, 2, "MB")


async def _commands(place: World, n: int) -> None:
    operator, room = place.operator, place.room
    for _ in range(n // BATCH):
        events = [await operator.send_text(room, "$ true") for _ in range(BATCH)]
        await asyncio.gather(*(operator.answer_to(event, ANSWER_SECONDS) for event in events))
        operator.events.clear()  # or each answer is looked for among all before it
