# SPDX-License-Identifier: MIT
"""Where the time of one command goes: stages that add up to the whole, from the outside.

Each stage ends with something that the kernel sees: bytes from the homeserver, a disk that has
synced, a message on the socket, a program that begins or ends. So no clock is in the product, and
nothing falls between two stages.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.debian import MissingError
from tests.bench.process import cpu_ms
from tests.bench.report import OURS, Report
from tests.bench.settings import Settings
from tests.bench.stats import summarize
from tests.bench.strace import Call, calls, traced
from tests.bench.world import ANSWER_SECONDS, World, command, world

GROUP: Final = "inside"
QUIET_SECONDS: Final = 0.15
TCP: Final = "TCP:"
UNIX: Final = "UNIX"
WIDTH: Final = 60
TRACES: Final = 40


class TraceError(Exception):
    """A command left another trace than expected; the text says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a command's time: when it began and ended, in epoch seconds.

    ``disk`` is how much of it was spent waiting for disks, in seconds, by ``syncs`` calls.
    """

    name: str
    begin: float
    end: float
    disk: float = 0.0
    syncs: int = 0

    @property
    def ms(self) -> float:
        """How long it took."""
        return (self.end - self.begin) * 1000


class Traced:
    """A world whose daemons run under strace, and the trace of one command after the other."""

    def __init__(self, place: World, directory: Path) -> None:
        self._place = place
        self._files = {name: directory / f"{name}.strace" for name in ("agent", "executor")}

    async def start(self) -> None:
        """Start the daemons anew, traced; raises MissingError."""
        host = self._place.host
        agent = traced(host.agent, self._files["agent"])
        executor = traced(host.executor, self._files["executor"])
        host.agent.stop()
        host.executor.stop()
        host.agent, host.executor = agent, executor
        host.start()
        await command(self._place.operator, self._place.room, "true")

    async def trace(self, text: str) -> list[Stage]:
        """Have a command done and return its stages; raises TraceError."""
        operator = self._place.operator
        await asyncio.sleep(QUIET_SECONDS)
        begin = time.time()
        event = await operator.send_text(self._place.room, f"$ {text}")
        await operator.answer_to(event, ANSWER_SECONDS)
        end = time.time()
        await asyncio.sleep(QUIET_SECONDS)
        agent, executor = (
            [call for call in calls(file) if call.begin >= begin or call.end >= begin]
            for file in (self._files["agent"], self._files["executor"])
        )
        return stages(begin, end, agent, executor)


def stages(begin: float, end: float, agent: list[Call], executor: list[Call]) -> list[Stage]:
    """Cut the time of one command into stages; raises TraceError."""
    asked = _first("a request to the executor", agent, lambda c: c.is_io("send", UNIX))
    woken = _first("an answer of the homeserver", agent, lambda c: c.is_io("recv", TCP))
    taken = _first(
        "a request from the agent", executor, lambda c: c.is_io("recv", UNIX) and c.end > asked.end
    )
    after = [call for call in executor if call.begin >= taken.end]
    bashes = [call for call in after if call.name == "execve" and "bash" in call.text]
    first = _first("a shell", bashes, lambda _: True)  # later ones wait for the next command
    shell = _last("a shell", bashes, lambda c: c.pid == first.pid)
    ended = _first(
        "the end of the shell", after, lambda c: c.name == "exit_group" and c.pid == shell.pid
    )
    syncs = [call for call in after if call.is_sync]
    started = _first("that it starts", after, lambda c: c.is_io("send", UNIX))
    intent = [call for call in syncs if call.end <= started.begin]
    outcome = [call for call in syncs if call.begin >= ended.begin]
    if not intent or not outcome:
        raise TraceError("a record was not synced")
    told = _first("a result", after, lambda c: c.is_io("send", UNIX) and c.begin >= outcome[-1].end)
    heard = _first("a result", agent, lambda c: c.is_io("recv", UNIX) and c.end >= told.begin)
    sent = _first(
        "an answer to the room", agent, lambda c: c.is_io("send", TCP) and c.begin >= heard.end
    )
    cuts = [
        ("operator → homeserver → agent", woken.end, ()),
        ("agent: decrypt, store, check, judge, sign", asked.begin, agent),
        ("socket", taken.end, ()),
        ("executor: verify, decide, sign intent", intent[0].begin, ()),
        ("intent on disk; meanwhile a shell", intent[-1].end, executor),
        ("bash and the command", ended.begin, ()),
        ("executor: nothing left, fence, token", outcome[0].begin, ()),
        ("outcome on disk", outcome[-1].end, executor),
        ("executor: sign result; socket", heard.end, ()),
        ("agent: render, encrypt", sent.begin, agent),
        ("agent → homeserver → operator", end, ()),
    ]
    found: list[Stage] = []
    at = begin
    for name, until, disks in cuts:
        syncing = [call for call in disks if call.is_sync and at <= call.begin < until]
        found.append(
            Stage(
                name=name,
                begin=at,
                end=until,
                disk=_covered(syncing, until),
                syncs=len(syncing),
            )
        )
        at = until
    return found


async def run(report: Report, settings: Settings) -> None:
    """Measure the stages of `true`, and what processor time each process spends on it."""
    directory = settings.place("inside")
    async with world(directory) as place:
        await _processor(report, settings, place)
        plain = [await command(place.operator, place.room, "true") for _ in range(settings.n)]
        tracing = Traced(place, directory)
        try:
            await tracing.start()
        except MissingError as error:
            report.lack(f"the stages of a command: {error}")
            return
        traces: list[list[Stage]] = []
        odd = 0
        for _ in range(min(TRACES, settings.n)):
            try:
                traces.append(await tracing.trace("true"))
            except TraceError:
                odd += 1
        _add(report, plain, traces, odd)


def _add(report: Report, plain: list[float], traces: list[list[Stage]], odd: int) -> None:
    totals = [sum(stage.ms for stage in trace) for trace in traces]
    mean = sum(totals) / len(totals)
    for parts in zip(*traces, strict=True):
        share = sum(stage.ms for stage in parts) / len(parts) / mean
        note = f"{share:.0%} of the mean"
        if any(stage.syncs for stage in parts):
            disk = summarize([stage.disk * 1000 for stage in parts]).p50
            syncs = summarize([float(stage.syncs) for stage in parts]).p50
            note += f"; {syncs:.0f} syncs, {disk:.2f} ms of it"
        report.add(GROUP, parts[0].name, OURS, [stage.ms for stage in parts], note=note)
    note = f"{odd} left out: another trace than expected" if odd else ""
    what = "`true`, all stages"
    report.add(GROUP, what, "under strace", totals, note=note)
    report.add(GROUP, what, "without", plain)


async def _processor(report: Report, settings: Settings, place: World) -> None:
    """Add processor time a command, which other programs on the machine change little."""
    pids = {
        "agent": place.host.agent.pid,
        "executor, without the shells": place.host.executor.pid,
        "Synapse": place.synapse.pid,
    }
    before = {name: cpu_ms(pid) for name, pid in pids.items()}
    for _ in range(settings.n):
        await command(place.operator, place.room, "true")
    for name, pid in pids.items():
        used = (cpu_ms(pid) - before[name]) / settings.n
        report.add(GROUP, "processor time of one `true`", name, used)


def waterfall(text: str, found: Sequence[Stage]) -> str:
    """Return the stages of one command as a picture for a terminal."""
    begin, total = found[0].begin, found[-1].end - found[0].begin
    lines = [f"$ {text}   {total * 1000:.1f} ms under strace", ""]
    for stage in found:
        left = round((stage.begin - begin) / total * WIDTH)
        length = max(1, round((stage.end - stage.begin) / total * WIDTH))
        disk = f"  {stage.syncs} syncs, {stage.disk * 1000:.2f} ms" if stage.syncs else ""
        bar = (" " * left + "█" * length)[: WIDTH + 1]
        lines.append(f"{stage.name:<44}{stage.ms:>8.2f} ms  {bar:<{WIDTH + 1}}{disk}".rstrip())
    return "\n".join(lines)


async def trace(settings: Settings, text: str) -> str:
    """Return the waterfall of a command, run once before so that everything is warm."""
    directory = settings.place("trace")
    async with world(directory) as place:
        tracing = Traced(place, directory)
        await tracing.start()
        await tracing.trace(text)
        return waterfall(text, await tracing.trace(text))


def _first(what: str, found: Iterable[Call], wanted: Callable[[Call], bool]) -> Call:
    for call in found:
        if wanted(call):
            return call
    raise TraceError(f"{what} is missing")


def _last(what: str, found: Sequence[Call], wanted: Callable[[Call], bool]) -> Call:
    return _first(what, reversed(found), wanted)


def _covered(syncing: Iterable[Call], until: float) -> float:
    """Return how long at least one of these calls was under way."""
    total, reached = 0.0, 0.0
    for call in sorted(syncing, key=lambda call: call.begin):
        end = min(call.end, until)
        total += max(0.0, end - max(call.begin, reached))
        reached = max(reached, end)
    return total
