# SPDX-License-Identifier: MIT
"""The order in which a real executor asks the kernel to sync, to run and to tell (I1)."""

import asyncio
import os
import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.executor.injection import await_written
from tests.executor.rig import Client, Executor
from tests.executor.shell.driver import until
from tibet_nc_executor.process import children_of
from tibet_nc_protocol.messages import Finished

CALLS = "execve,fdatasync,sendto"
FORGED = r"printf '\0expr order\0' >&63; trap - EXIT"
"""Has a session bring back a state that runs a program."""
COMMAND = "expr order"
SLOWLY = "inject=fdatasync:delay_enter=300000"
"""Has a sync take so long, in microseconds, that a command which doesn't wait for it has begun."""


@contextmanager
def traced(executor: Executor, trace: Path) -> Generator[None]:
    """Have strace write down what the executor and what descends from it ask for."""
    pids = [executor.pid, *children_of(executor.pid)]
    words = [word for pid in pids for word in ("-p", str(pid))]
    expressions = ("-e", f"trace={CALLS}", "-e", SLOWLY)
    argv = ["strace", "-f", "-y", "-s", "256", *expressions, "-o", str(trace), *words]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = ""
        while told.count(" attached") < len(pids):
            line = process.stderr.readline()
            assert line, told
            told += line
        yield
        await_written(executor.pid)
        process.terminate()
        process.stderr.read()


def steps(trace: str, own: int) -> list[str]:
    """Return what happened, in order: chain synced, command begun, agent told by ``own``."""
    found: list[str] = []
    unfinished: dict[str, str] = {}  # strace cuts a call in two when another process makes one
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if call.endswith(" <unfinished ...>"):
            unfinished[pid] = call.removesuffix(" <unfinished ...>")
        elif "<... fdatasync resumed>" in call:
            call = unfinished[pid] + call.partition("resumed>")[2]
        if re.search(r"fdatasync\(\d+</.*/chain/[0-9]{12}\.jsonl>\) += 0", call):
            found.append("synced")
        elif "execve(" in call and '"order"' in call:
            found.append("begun")
        elif int(pid) == own and "sendto(" in call:
            found.append("told")
    return found


def indices(steps: list[str], step: str) -> list[int]:
    """Return where a step stands."""
    return [at for at, found in enumerate(steps) if found == step]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace the executor")
async def test_nothing_begins_or_is_told_before_its_record_is_on_disk(place: Path) -> None:
    """Intent synced, then the session's state, the command and the agent; outcome, agent (I1)."""
    with Executor(place) as executor:
        client = await Client.connect(executor)
        assert isinstance(await client.run(FORGED), Finished)  # the session is on record now
        await until(lambda: bool(executor.commands("/bin/bash")))  # what waits for the next one
        await asyncio.sleep(0.3)  # what is written after an answer
        trace = place / "trace"
        with traced(executor, trace):
            assert isinstance(await client.run(COMMAND), Finished)
        await client.close()
        happened = steps(trace.read_text(), executor.pid)
    # A journald that comes or goes meanwhile has a record of its own, so there may be more syncs.
    begun, told = indices(happened, "begun"), indices(happened, "told")
    synced = indices(happened, "synced")
    assert len(begun) == 2, happened  # the state's and the command's own
    assert synced[0] < min(begun[0], told[0])
    assert [at for at in synced if max(begun[-1], told[0]) < at < told[-1]]
