# SPDX-License-Identifier: MIT
"""The executor without Matrix: latency, rate, memory, start; beside ssh for the latency."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from tests.bench import sshd
from tests.bench.debian import MissingError
from tests.bench.lone_executor import LoneExecutor, ParallelClient, operators
from tests.bench.process import cpu_ms, resident_mb
from tests.bench.report import OURS, TIMES, Report
from tests.bench.settings import Settings
from tests.bench.stats import milliseconds, summarize, timed_async, turns
from tests.executor.rig import OPERATOR, ROOM, Client
from tibet_nc_protocol.messages import CloseSession, Recorded

GROUP = "executor"
MASTER = "ssh, control master"
FRESH = "ssh, new connection"
SESSIONS = (1, 8, 64)
IDLE_SECONDS = 3.0


async def run(report: Report, settings: Settings) -> None:
    """Measure an executor alone."""
    people = operators(max(SESSIONS))
    with LoneExecutor(settings.place("executor"), operators=people) as executor:
        ready = resident_mb(executor.pid)
        report.add(GROUP, "memory when ready", OURS, ready, unit="MB")
        report.at_most(GROUP, "executor: memory when ready", ready, 45, "MB")
        await _latency(report, settings, executor)
        for sessions in SESSIONS:
            await _rate(report, settings, executor, people[:sessions])
        await _soak(report, settings, executor)
        starts: list[float] = []
        for _ in range(5):
            executor.stop()
            begin = time.perf_counter()
            executor.start()
            starts.append(milliseconds(begin))
        start = report.add(GROUP, "start to ready", OURS, starts)
        report.at_most(GROUP, "executor: start to ready", start.p50 / 1000, 1, "s")


async def _latency(report: Report, settings: Settings, executor: LoneExecutor) -> None:
    """Measure `true` in a live session, taking turns with ssh."""
    client = await Client.connect(executor)

    async def ours() -> None:
        await client.run("true")

    ways: dict[str, Callable[[], Awaitable[None]]] = {OURS: ours}
    await ours()
    with ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.SshServer(settings.directory / "executor-sshd"))
            ways[MASTER] = _ssh(server.master_argv)
            ways[FRESH] = _ssh(server.argv)
        except MissingError as error:
            report.lack(f"ssh: {error}")
        series: dict[str, list[float]] = {name: [] for name in ways}
        fresh = ways.keys() & {FRESH}
        for _ in range(settings.n):
            for name in (*fresh, *turns(ways.keys() - fresh)):  # a shell gets ready meanwhile
                series[name] += await timed_async(1, ways[name])
    new = await _new_sessions(client, settings)
    await client.close()
    report.add(GROUP, "`true`, a new session each", OURS, new, note="its record is written first")
    found = report.add(GROUP, "`true`, one session", OURS, series[OURS], note="socket to socket")
    for name in (FRESH, MASTER):
        if name in series:
            other = report.add(GROUP, "`true`, one session", name, series[name])
            report.at_most(GROUP, f"executor alone over {name}", found.p50 / other.p50, 1, TIMES)


def _ssh(argv: list[str]) -> Callable[[], Awaitable[None]]:
    async def way() -> None:
        sshd.run(argv, "true")

    return way


async def _new_sessions(client: Client, settings: Settings) -> list[float]:
    """Return how long `true` takes as a session's first command, in milliseconds."""
    took: list[float] = []
    for _ in range(settings.n):
        await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
        while not isinstance(await client.receive(), Recorded):
            pass  # notices and checkpoints
        begin = time.perf_counter()
        await client.run("true")
        took.append(milliseconds(begin))
    return took


async def _rate(
    report: Report, settings: Settings, executor: LoneExecutor, people: list[str]
) -> None:
    """Each session asks for its next command when it has the result of the one before."""
    series: list[float] = []
    async with ParallelClient(await Client.connect(executor)) as client:

        async def session(sender: str) -> None:
            await client.run("true", sender=sender)
            while time.perf_counter() < end:
                begin = time.perf_counter()
                await client.run("true", sender=sender)
                series.append(milliseconds(begin))

        end = time.perf_counter() + settings.seconds + 0.02 * len(people)
        begin = time.perf_counter()
        await asyncio.gather(*(session(sender) for sender in people))
        seconds = time.perf_counter() - begin
    name = f"`true`, {len(people)} sessions at once"
    summary = summarize(series)
    report.add(GROUP, name, OURS, series, note=f"p99 {summary.p99:.1f} ms")
    report.add(GROUP, f"{name}: rate", OURS, len(series) / seconds, unit="/s")


async def _soak(report: Report, settings: Settings, executor: LoneExecutor) -> None:
    """Whether memory grows with commands, and what doing nothing costs."""
    people = operators(8)
    idle = resident_mb(executor.pid)
    left = settings.soak
    async with ParallelClient(await Client.connect(executor)) as client:

        async def session(sender: str) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await client.run("echo soak", sender=sender)

        await asyncio.gather(*(session(sender) for sender in people))
    after = resident_mb(executor.pid)
    report.add(GROUP, "memory before many commands", OURS, idle, unit="MB")
    report.add(GROUP, f"memory after {settings.soak:,} commands", OURS, after, unit="MB")
    report.at_most(GROUP, "executor: growth over these commands", after - idle, 2, "MB")
    begin = cpu_ms(executor.pid)
    await asyncio.sleep(IDLE_SECONDS)
    used = (cpu_ms(executor.pid) - begin) / IDLE_SECONDS
    report.add(GROUP, "processor when idle", OURS, used, unit="ms/s")
