# SPDX-License-Identifier: MIT
"""The agent's own disk is full: nothing is lost, and nothing runs twice (I3, I4)."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.harness import Operator
from tests.harness.host import Host
from tests.harness.operator import Seen
from tests.integration.test_end_to_end import until
from tibet_nc_protocol.records import Intent

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a file system")

BLOCK_BYTES = 4096
SPARE_BLOCKS = 16
"""With so many left, every write of a command has room."""


@pytest.fixture
def small(directory: Path) -> Iterator[Path]:
    """Make a file system of 2 MiB where the agent of a host keeps its state."""
    state = directory / "host" / "agent"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", state], check=True)
    yield state
    subprocess.run(["umount", state], check=True)


@pytest.fixture
def host(small: Path, host: Host) -> Host:
    """Return the host whose agent has little room."""
    assert small == host.directory / "agent"
    return host


def fill(directory: Path, spare: int = 0) -> Path:
    """Take all the room there is but for some blocks; return the file that holds it."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(BLOCK_BYTES))
        file.truncate(max(0, file.tell() - spare * BLOCK_BYTES))
    return filler


def ran(host: Host) -> list[str]:
    """Return the events that ran, in their order."""
    return [record.event for record in host.records() if isinstance(record, Intent)]


def ended_or_answered(host: Host, operator: Operator, event: str) -> bool:
    """Say whether nothing more is to come of a message for now."""
    return not host.agent.running or operator.answers_to(event) != []


async def restart(host: Host) -> str:
    """Start an agent again that has ended; return its last line."""
    assert await asyncio.to_thread(host.agent.wait, 40) == 1
    *_, said = host.agent.log.read_text().splitlines()
    await asyncio.to_thread(host.start_agent)
    return said


async def answer(host: Host, operator: Operator, event: str, said: list[str]) -> Seen:
    """Return a message's answer; an agent that ends is started again, and its last line noted."""
    while not operator.answers_to(event):
        if not host.agent.running:
            said.append(await restart(host))
        await until(partial(ended_or_answered, host, operator, event), 40)
    return operator.answers_to(event)[0]


async def test_whichever_write_finds_no_room_each_message_has_its_one_answer(
    host: Host, small: Path, operator: Operator, room: str
) -> None:
    """The agent ends and says why; with room again it goes on, and nothing is lost or doubled."""
    await operator.answer_to(await operator.send_text(room, "$ true"))
    events: list[str] = []
    said: list[str] = []
    for spare in reversed(range(SPARE_BLOCKS)):
        filler = fill(small, spare)
        event = await operator.send_text(room, f"$ echo {spare}")
        await until(partial(ended_or_answered, host, operator, event), 40)
        filler.unlink()
        assert (await answer(host, operator, event, said)).body.startswith(f"{spare}\n")
        events.append(event)
    # After all the others; it may be now that the last answer can't be noted.
    await answer(host, operator, await operator.send_text(room, "$ true"), said)
    assert [len(operator.answers_to(event)) for event in events] == [1] * len(events)
    assert ran(host)[1:-1] == events
    assert said
    assert [line for line in said if "disk is full" not in line] == []


async def test_what_ran_while_the_disk_filled_up_is_answered_once(
    host: Host, small: Path, operator: Operator, room: str
) -> None:
    """A result that the agent can't note is given again by the executor, and told once."""
    event = await operator.send_text(room, "$ sleep 3; echo done")
    await until(lambda: event in ran(host))
    filler = fill(small)
    assert await asyncio.to_thread(host.agent.wait, 40) == 1
    filler.unlink()
    assert "disk is full" in await restart(host)
    assert (await operator.answer_to(event, 40)).body.startswith("done\n")
    await operator.answer_to(await operator.send_text(room, "$ true"))
    assert len(operator.answers_to(event)) == 1
    assert ran(host).count(event) == 1
