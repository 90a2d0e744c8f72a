# SPDX-License-Identifier: MIT
"""An executor's cage in a process of its own: what to run comes on standard input, as JSON."""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from tests.executor.shell.driver import settings_for
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.credentials import effective_capabilities
from tibet_nc_executor.selfcheck import verify
from tibet_nc_executor.shell import Shell


async def _run(shell: Shell, text: str) -> dict[str, object]:
    output = bytearray()
    ending = await (await shell.start(text, shell.new_session(), output.extend)).wait()
    return {
        "exit": ending.exit,
        "signal": ending.signal,
        "leftover": ending.leftover,
        "notes": ending.notes,
        "output": output.decode("latin-1"),
    }


async def _main() -> dict[str, object]:
    asked = json.load(sys.stdin)
    home = Path(asked["settings"].pop("home"))
    settings = settings_for(Containment.CGROUP, home, restricted=True)
    shell = Shell(replace(settings, **asked["settings"]))
    await shell.clear()
    await verify(shell)
    return {
        "uid": os.getuid(),
        "capabilities": effective_capabilities(),
        "containment": shell.cage.containment.value,
        "separated": shell.cage.separated,
        "results": await asyncio.gather(*(_run(shell, text) for text in asked["commands"])),
    }


if __name__ == "__main__":
    json.dump(asyncio.run(_main()), sys.stdout)
