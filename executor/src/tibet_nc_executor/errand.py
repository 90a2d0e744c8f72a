# SPDX-License-Identifier: MIT
"""A fixed program of ours that runs as the shell uid, for what only that uid may do."""

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from tibet_nc_executor.children import Children
from tibet_nc_executor.watch import ended, reaped

_KILLED_S: Final = 2.0  # what the kernel takes on a busy machine; a tracer may hold it up for ever


async def run_errand(
    arguments: Sequence[str],
    *,
    children: Children,
    limit_s: float,
    environment: dict[str, str] | None = None,
) -> int:
    """Run a program and return its exit status, negative for a signal; killed after `limit_s`.

    `arguments` begin with the command prefix that becomes the uid. Processes of the uid may stop,
    kill or trace it at any time. Raises OSError if it cannot be started.
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
        await _end(process, limit_s)
    finally:
        process.kill()
        reaped(process)
        children.forget(process.pid)
    return process.returncode


async def _end(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait until a child has ended, kill it after `limit_s` seconds; raises OSError."""
    descriptor = os.pidfd_open(process.pid)
    try:
        if not await ended(descriptor, limit_s):
            process.kill()
            await ended(descriptor, _KILLED_S)
    finally:
        os.close(descriptor)
