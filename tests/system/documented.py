# SPDX-License-Identifier: MIT
"""The pages' commands, as a sysadmin types them: nothing is left out or added.

The pages' examples are replaced by what is really there, and a checkout is there already instead of
being cloned. Each block is typed at a terminal, since one asks for a password and one for a yes.
"""

import re
import subprocess
from collections.abc import Mapping
from typing import Final

from tests.harness.synapse import Account, Synapse
from tests.system.machine import Machine, MachineError
from tests.system.pages import blocks

STEP_SECONDS: Final = 400.0
_STEP: Final = "/run/step.sh"
_CLONED: Final = "git clone https://example.org/tibet-nc.git && cd tibet-nc"


def examples(homeserver: Synapse, bot: Account, person: Account, room: str) -> dict[str, str]:
    """Return what really stands for each example of the pages."""
    return {
        _CLONED: "cd /srv/tibet-nc",
        "https://matrix.example.org": homeserver.url,
        "https://matrix2.example.org": homeserver.url.replace("127.0.0.1", "localhost"),
        "@web1:example.org": bot.user_id,
        "!room:example.org": room,
        "@you:example.org": person.user_id,
    }


def _replaced(block: str, real: Mapping[str, str]) -> str:
    written = re.split("|".join(map(re.escape, real)), block) if real else [block]
    assert "example.org" not in "".join(written)  # an example that stands for nothing here
    for example, value in real.items():
        block = block.replace(example, value)
    return block


def type_in(machine: Machine, block: str, real: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Type a block at a terminal and return its process, whose pipes are what is said there."""
    step = _replaced(block, real)
    machine.write(_STEP, f"set -euo pipefail\ncd /root\n{step}")
    return machine.start("script", "--quiet", "--return", "--command", f"bash {_STEP}", "/dev/null")


def enter(machine: Machine, block: str, real: Mapping[str, str], typed: str = "") -> None:
    """Type a block, and what it asks for; raises MachineError when a command fails."""
    with type_in(machine, block, real) as process:
        try:
            said, _ = process.communicate(typed.encode(), STEP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    if process.returncode != 0:
        raise MachineError(f"{block}: exit {process.returncode}: {said.decode()[-3000:]}")


def log_the_agent_in(machine: Machine, bot: Account) -> None:
    """Give the agent's password, as the page says."""
    (block,) = [text for text in blocks("docs/install.md", "Ten minutes") if "ask-password" in text]
    enter(machine, block, {"@web1:example.org": bot.user_id}, f"{bot.password}\n")
