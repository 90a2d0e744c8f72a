# SPDX-License-Identifier: MIT
"""The executor without Matrix: latency, rate, memory, start; beside ssh for the latency."""

import asyncio
import time

from tests.bench import sshd
from tests.bench.debian import MissingError
from tests.bench.lone_executor import LoneExecutor, ParallelClient, operators
from tests.bench.process import cpu_ms, resident_mb
from tests.bench.report import OURS, TIMES, Report
from tests.bench.settings import Settings
from tests.bench.stats import milliseconds, summarize, timed
from tests.executor.rig import OPERATOR, ROOM, Client
from tibet_nc_protocol.messages import CloseSession, Recorded

GROUP = "executor"
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
    """Measure `true` in a live session, alternating with ssh."""
    client = await Client.connect(executor)
    await client.run("true")
    ours: list[float] = []
    master: list[float] = []
    fresh: list[float] = []
    try:
        with sshd.SshServer(settings.directory / "executor-sshd") as server:
            for _ in range(settings.n):
                begin = time.perf_counter()
                await client.run("true")
                ours.append(milliseconds(begin))
                master += timed(1, lambda: sshd.run(server.master_argv, "true"))
                fresh += timed(1, lambda: sshd.run(server.argv, "true"))
    except MissingError as error:
        report.lack(f"ssh: {error}")
        for _ in range(settings.n):
            begin = time.perf_counter()
            await client.run("true")
            ours.append(milliseconds(begin))
    new = await _new_sessions(client, settings)
    await client.close()
    report.add(GROUP, "`true`, a new session each", OURS, new, note="its record is written first")
    found = report.add(GROUP, "`true`, one session", OURS, ours, note="socket to socket")
    if master:
        with_master = report.add(GROUP, "`true`, one session", "ssh, control master", master)
        without = report.add(GROUP, "`true`, one session", "ssh, new connection", fresh)
        report.at_most(
            GROUP, "executor alone over ssh, new connection", found.p50 / without.p50, 1, TIMES
        )
        report.at_most(
            GROUP, "executor alone over ssh, control master", found.p50 / with_master.p50, 1, TIMES
        )


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
