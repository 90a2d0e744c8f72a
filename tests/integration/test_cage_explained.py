# SPDX-License-Identifier: MIT
"""Real commands that fail at a wall of the cage, and the one line that says so in the room."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

LIMITS: Final = """\
idle_s = 3
total_s = 20
processes = 40
address_space_bytes = 300000000
file_bytes = 65536
open_files = 64
"""
RECORDING_BYTES: Final = 65536

RESTRICTED: Final = "wall, as its last lines say: the restricted shell refuses "
COMMANDS: Final = [
    ("cd /tmp", RESTRICTED),
    ("ls > listing", RESTRICTED),
    ("ls 2>/dev/null; echo goes on", RESTRICTED),
    ("/bin/ls", RESTRICTED),
    ("sleep 60", "limit: 3.0 s without output; "),
    ("while :; do date; sleep 1; done", "limit: 20.0 s in all; "),
    ("head -c 200000 /dev/zero | tee big", "limit: files of at most 64 KiB; "),
    ("seq 100000", "limit: 64 KiB of output are kept; "),
    (
        """perl -e '$text = "x" x 900000000 or die "$!"'""",
        "wall, as its last lines say: at most 2 GiB of memory for a command and ",
    ),
    (
        """perl -e 'for (1..99) { open($f[$_], "/dev/null") or die "$!" }'""",
        "wall, as its last lines say: at most 64 open files ",
    ),
    (
        "python3 -c 'from threading import Timer; [Timer(1, print).start() for n in range(99)]'",
        "wall, as its last lines say: at most 40 processes and threads; ",
    ),
]
"""Commands, and how the line begins that explains their failure."""

PASSING: Final = [
    "echo 'curl: (6) Could not resolve host: x'; false",  # the network's wall is not up here
    "touch /usr/x",  # refused for its owner's sake, not by a read-only mount
    "ls /nonexistent",
    "false",
]
"""Commands that fail for other reasons."""


@pytest.fixture
async def host(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> AsyncIterator[Host]:
    """Start a host with small limits, whose bot is in the room."""
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
        executor_settings=f"[audit]\nrecording_bytes = {RECORDING_BYTES}\n",
    ) as made:
        settings = made.etc / "executor.toml"
        settings.write_text(settings.read_text().replace("[shell]\n", f"[shell]\n{LIMITS}"))
        await asyncio.to_thread(made.start)
        await operator.wait_member(room, bot.user_id)
        yield made


async def explanations(operator: Operator, room: str, command: str) -> list[str]:
    """Run a command and return the lines of its answer that name a wall or a limit."""
    answer = await operator.answer_to(await operator.send_text(room, f"$ {command}"), 60)
    assert answer.result["verdict"] == "ran", answer.body
    return [line for line in answer.body.splitlines() if line.startswith(("wall", "limit"))]


async def test_a_failure_at_a_wall_is_explained_in_one_line(
    host: Host, operator: Operator, room: str
) -> None:
    """Each wall that real commands run into is named once, with its figure and its key."""
    assert host.agent.running
    for command, start in COMMANDS:
        (line,) = await explanations(operator, room, command)
        assert line.startswith(start), (command, line)
        assert "the administrator can " in line


async def test_other_failures_are_left_alone(host: Host, operator: Operator, room: str) -> None:
    """No wall is blamed for what it didn't do, nor one that isn't up."""
    assert host.agent.running
    for command in PASSING:
        assert await explanations(operator, room, command) == []


async def test_sudo_is_explained(host: Host, operator: Operator, room: str) -> None:
    """A command that wants rights learns that nobody gets any here."""
    assert host.agent.running
    (line,) = await explanations(operator, room, "sudo -n id")
    assert "no_new_privs" in line
