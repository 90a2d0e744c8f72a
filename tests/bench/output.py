# SPDX-License-Identifier: MIT
"""Big output: how fast it gets into the recording and into the room, and with how much memory."""

import base64
import os
import subprocess
import termios
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.bench import sshd
from tests.bench.debian import MissingError
from tests.bench.lone_executor import LoneExecutor
from tests.bench.process import peak_mb, resident_mb
from tests.bench.report import OURS, TIMES, Report
from tests.bench.settings import Settings
from tests.bench.world import UnexpectedError, World, command, world
from tests.executor.rig import Client
from tibet_nc_protocol.messages import Denied

GROUP: Final = "output"
RECORDED_MB: Final = 50
ATTACHED_MB: Final = 20
FLOOD_MB: Final = 1000
QUICK_FLOOD_MB: Final = 100
ROUNDS: Final = 5
QUICK_ROUNDS: Final = 2


async def run(report: Report, settings: Settings) -> None:
    """Measure output."""
    directory = settings.place("output")
    text = directory / "text"
    _write(text, RECORDED_MB)
    await _recording(report, settings, text)
    async with world(directory / "world") as place:
        await _attachment(report, settings, place, directory)
        await _flood(report, settings, place)


def _write(path: Path, megabytes: int) -> None:
    """Make a file of text with lines of 76 characters, of 10⁶ bytes each MB."""
    block = base64.encodebytes(os.urandom(750_000))
    with path.open("wb") as file:
        while file.tell() < megabytes * 1_000_000:
            file.write(block[: megabytes * 1_000_000 - file.tell()])
    path.chmod(0o644)


async def _recording(report: Report, settings: Settings, text: Path) -> None:
    ours: list[float] = []
    beside: list[float] = []
    terminal: list[float] = []
    bare: list[float] = []
    with ExitStack() as stack:
        executor = stack.enter_context(LoneExecutor(settings.place("output-executor")))
        server = None
        try:
            server = stack.enter_context(sshd.SshServer(settings.directory / "output-sshd"))
        except MissingError as error:
            report.lack(f"ssh: {error}")
        client = await Client.connect(executor)
        for _ in range(QUICK_ROUNDS if settings.quick else ROUNDS):
            begin = time.perf_counter()
            done = await client.run(f"cat {text}")
            ours.append(RECORDED_MB / (time.perf_counter() - begin))
            if isinstance(done, Denied):
                raise UnexpectedError(f"`cat` was denied: {done.reason}")
            if done.recorded_bytes != RECORDED_MB * 1_000_000:
                raise UnexpectedError(f"`cat` ended early ({done.reason}): {done.notes}")
            bare.append(RECORDED_MB / _bare_terminal(text))
            if server is not None:
                begin = time.perf_counter()
                sshd.run(server.master_argv, f"cat {text}")
                beside.append(RECORDED_MB / (time.perf_counter() - begin))
                begin = time.perf_counter()
                sshd.run([*server.master_argv[:-1], "-tt", server.master_argv[-1]], f"cat {text}")
                terminal.append(RECORDED_MB / (time.perf_counter() - begin))
        await client.close()
    what = f"{RECORDED_MB} MB of text, to the recording"
    note = "hashed, recorded, synced; read from a terminal"
    found = report.add(GROUP, what, OURS, ours, unit="MB/s", note=note)
    note = "read and thrown away: what a terminal can do here"
    report.add(GROUP, what, "bare terminal", bare, unit="MB/s", note=note)
    if beside:
        other = report.add(GROUP, what, "ssh cat", beside, unit="MB/s", note="from a pipe")
        report.add(GROUP, what, "ssh -tt cat", terminal, unit="MB/s", note="from a terminal too")
        report.at_least(GROUP, "output over `ssh cat`", found.p50 / other.p50, 0.5, TIMES)


def _bare_terminal(text: Path) -> float:
    """Return the seconds that it takes to read a file from a terminal that changes no byte."""
    master, slave = os.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[:4] = 0, 0, attributes[2], 0
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    left = RECORDED_MB * 1_000_000
    begin = time.perf_counter()
    with subprocess.Popen(["cat", text], stdin=slave, stdout=slave, stderr=slave):
        os.close(slave)
        while left:
            left -= len(os.read(master, 16384))
        seconds = time.perf_counter() - begin
    os.close(master)
    return seconds


async def _attachment(report: Report, settings: Settings, place: World, directory: Path) -> None:
    text = directory / "attached"
    _write(text, ATTACHED_MB)
    rates: list[float] = []
    for _ in range(QUICK_ROUNDS if settings.quick else ROUNDS):
        took = await command(place.operator, place.room, f"cat {text}")
        rates.append(ATTACHED_MB / (took / 1000))
    note = "from typed to answered; encrypted, uploaded to Synapse"
    report.add(
        GROUP, f"{ATTACHED_MB} MB of text, to the attachment", OURS, rates, unit="MB/s", note=note
    )  # fmt: skip


async def _flood(report: Report, settings: Settings, place: World) -> None:
    """Add what memory much more output takes than can be kept."""
    megabytes = QUICK_FLOOD_MB if settings.quick else FLOOD_MB
    daemons = {"executor": place.host.executor.pid, "agent": place.host.agent.pid}
    before = {name: resident_mb(pid) for name, pid in daemons.items()}
    took = await command(place.operator, place.room, f"head -c {megabytes}000000 /dev/zero")
    what = f"{megabytes} MB of zeros, from typed to answered"
    report.add(GROUP, what, OURS, took / 1000, unit="s", note="recorded to its limit, hashed whole")
    for name, pid in daemons.items():
        what = f"{name}: memory with {megabytes} MB of output"
        report.add(GROUP, what, "before", before[name], unit="MB")
        report.add(GROUP, what, "at most", peak_mb(pid), unit="MB")
