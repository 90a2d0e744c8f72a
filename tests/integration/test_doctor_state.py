# SPDX-License-Identifier: MIT
"""The doctor gets to the end, whatever is in the place of a file of the agent's state."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.harness import Operator
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

FILES: Final = (
    "agent.key",
    "pickle.key",
    "cross-signing.json",
    "identities.json",
    "inbox.sqlite",
    "matrix/login.json",
    "matrix/olm.db",
)


def in_its_place(path: Path, make: Callable[[Path], None], host: Host) -> None:
    """Move a file away and make something else, of the agent's user, in its place."""
    if path.exists():
        path.rename(path.with_name(f"{path.name}.away"))
    make(path)
    os.chown(path, host.uids.agent, host.uids.agent)


def put_back(path: Path) -> None:
    """Undo that."""
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
    away = path.with_name(f"{path.name}.away")
    if away.exists():
        away.rename(path)


def damage(path: Path) -> None:
    """Write what is no such file."""
    path.write_bytes(b"\xff{")
    path.chmod(0o600)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, damage])
async def test_the_doctor_gets_to_the_end(
    host: Host, operator: Operator, room: str, make: Callable[[Path], None]
) -> None:
    """Something else in a file's place is told of, with a fix, and what follows is looked at."""
    sent = await operator.send_text(room, "$ true")
    await operator.answer_to(sent)
    host.agent.stop()
    for name in FILES:
        path = host.directory / "agent" / name
        in_its_place(path, make, host)
        done = await asyncio.to_thread(doctor, host)
        put_back(path)
        assert done.stdout, (name, done.stderr)
        checks = json.loads(done.stdout)
        wrong = [check for check in checks if not check["ok"]]
        assert checks[-1]["name"] == "executor", name
        assert any(str(path) in check["detail"] for check in wrong), name
        assert all(check["fix"] for check in wrong), name


def doctor(host: Host) -> subprocess.CompletedProcess[str]:
    """Run the doctor as the agent's user."""
    return host.admin("agent", "doctor", "--json")
