# SPDX-License-Identifier: MIT
"""The agent's command line, on settings and a state of its own."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness import Account
from tests.harness.terminal import typed

ROOT: Final = Path(__file__).resolve().parents[2]
WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """How a program ended."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """What it said when it ended with an error: one line."""
        (line,) = (each for each in self.err.splitlines() if each.startswith("tibet-nc-agent: "))
        return line

    def shown(self, name: str) -> str:
        """Return a value that ``login`` has printed, without the spaces between its groups."""
        (line,) = (line for line in self.out.splitlines() if line.startswith(name))
        return line.removeprefix(name).replace(" ", "")


class AgentProgram:
    """Settings in ``directory`` for one account, and its state beside them."""

    def __init__(
        self, directory: Path, account: Account, homeserver: str, room_id: str = "!none"
    ) -> None:
        self.directory: Final = directory
        self.state: Final = directory / "state"
        self.password: Final = directory / "password"
        self._account = account
        self._room_id = room_id
        self.password.write_text(account.password + "\n")
        self.password.chmod(0o600)
        self.use(homeserver)

    @property
    def store(self) -> Path:
        """Where its keys are."""
        return self.state / "matrix"

    def use(self, homeserver: str, *, by_password: bool = True) -> None:
        """Write the settings anew, for another address of the homeserver."""
        quoted = json.dumps
        self.homeserver = homeserver
        secret = f"password_file = {quoted(str(self.password))}" if by_password else ""
        (self.directory / "agent.toml").write_text(f"""\
[matrix]
homeserver = {quoted(homeserver)}
user_id = {quoted(self._account.user_id)}
rooms = [{quoted(self._room_id)}]
{secret}

[operators]
allowed = ["@op:example.org"]

[executor]
key_file = {quoted(str(self.directory / "executor.pub"))}

[walls]
# Without the unit's sandbox the self-test finds these missing.
accepted = ["files", "network", "privilege", "secrets", "shell"]

[state]
directory = {quoted(str(self.state))}
""")
        (self.directory / "executor.pub").write_text("0" * 63 + "2\n")

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of a verb."""
        python, settings = ROOT / ".venv/agent/bin/python", self.directory / "agent.toml"
        start = [str(python), "-I", "-m", "tibet_nc_agent", "--config", str(settings)]
        return [*start, *arguments]

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start the program."""
        return await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            env={"PATH": "/usr/bin:/bin"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def typed(self, *arguments: str, answers: Mapping[str, str]) -> tuple[int, str]:
        """Run the program on a terminal; ``answers`` has a line for each question's text.

        Returns its exit status and what was shown.
        """
        return await asyncio.to_thread(typed, self.command(*arguments), answers)

    async def run(self, *arguments: str) -> Finished:
        """Run the program to its end."""
        process = await self.begin(*arguments)
        async with asyncio.timeout(WAIT_SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Finished(status=process.returncode, out=out.decode(), err=err.decode())
