# SPDX-License-Identifier: MIT
"""A fixed program of ours that runs as the shell uid, for what only that uid may do."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from tibet_nc_executor.children import Children


async def run_errand(
    arguments: Sequence[str],
    *,
    children: Children,
    limit_s: float,
    environment: dict[str, str] | None = None,
) -> int:
    """Run a program and return its exit status, negative for a signal; killed after `limit_s`.

    `arguments` begin with the command prefix that becomes the uid. Processes of the uid may stop or
    kill it at any time. Raises OSError if it cannot be started.
    """
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - waited for below; a fixed text
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment or {},
        cwd="/",
    )
    children.register(process.pid)
    try:
        await _ended(process.pid, limit_s)
    finally:
        process.kill()
        process.wait()
        children.forget(process.pid)
    return process.returncode


async def _ended(pid: int, limit_s: float) -> None:
    """Wait until a child has ended, at most `limit_s` seconds."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, over.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
