# SPDX-License-Identifier: MIT
"""What becomes of the executor's own faults: they are told, and nothing waits for ever."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.executor.chainkit import IDENTITY
from tests.executor.rig import OPERATOR, ROOM
from tests.executor.shell.driver import AS_ROOT, UIDS, commands_of, settings_for
from tibet_nc_executor import provenance
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.provenance import AppendStore
from tibet_nc_executor.run import DeniedError, Execution, Tools
from tibet_nc_executor.service import _until_told
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.messages import Run
from tibet_nc_protocol.terms import run_id

KIND = Containment.TAGGED if AS_ROOT else Containment.DESCENT


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a home of the shell uid."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-home-") as name:
        if AS_ROOT:
            os.chown(name, UIDS[KIND], UIDS[KIND])
        yield Path(name)


def executing(command: str, tools: Tools) -> Execution:
    """Return a command that was admitted."""
    request = Run(
        request=1,
        room=ROOM,
        event="$event",
        sender=OPERATOR,
        device="DEVICE",
        ciphertext="0" * 64,
        sent_ms=0,
        command=command,
    )
    return Execution(
        request,
        run=run_id(ROOM, "$event"),
        request_sha256="0" * 64,
        tools=tools,
        may_leave=lambda: True,
    )


async def test_a_command_that_the_executor_fails_over_is_denied() -> None:
    """Whoever waits for a command is answered, whatever goes wrong with it (I4)."""
    execution = executing("true", cast(Tools, None))  # any fault will do
    with pytest.raises(AttributeError):
        await execution.perform("0" * 16, SessionShell())
    for waiting in (execution.started, execution.done):
        with pytest.raises(DeniedError, match="failed over this command"):
            await waiting


async def test_a_fault_over_an_outcome_leaves_nothing_running(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command left running belongs to no session then, and so it ends (I6)."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(provenance, "resolved", fail)
    shell = Shell(settings_for(KIND, home))
    archive = Archive(
        tmp_path, IDENTITY, clock=time.time, segment_bytes=1 << 20, checkpoint_records=1000
    )
    await archive.begin(host="host", version="0", agent_key=IDENTITY.public_key)
    tools = Tools(
        archive=archive,
        tokens=AppendStore(tmp_path / "tokens"),
        recordings=tmp_path,
        shell=shell,
        host="host",
        keep_text=True,
        recording_bytes=1 << 20,
        columns=80,
        rows=24,
    )
    execution = executing("sleep 4740 & echo", tools)
    with pytest.raises(ZeroDivisionError):
        await execution.perform("0" * 16, SessionShell())
    assert execution.leftover is None
    assert not [line for line in commands_of(shell.cage.settings.uid) if "4740" in line]
    await archive.close()
    tools.tokens.close()


async def test_a_duty_that_fails_ends_the_executor() -> None:
    """Limits, checkpoints and retention are kept, or the service manager starts anew (I7)."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def end() -> None:
        pass

    async def last() -> None:
        await asyncio.sleep(3600)

    ended, lasting = asyncio.create_task(end()), asyncio.create_task(last())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_until_told([ended, lasting]), 0.2)
    failing = asyncio.create_task(fail())
    await asyncio.wait_for(_until_told([failing, ended, lasting]), 20)
    with pytest.raises(ZeroDivisionError):
        await failing
    lasting.cancel()
