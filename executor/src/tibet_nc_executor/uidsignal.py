# SPDX-License-Identifier: MIT
"""One signal to every process of the shell uid, at once.

`kill(-1)` is atomic against fork: while the kernel walks the list of processes, none can be added.
It reaches whatever the caller may signal, so a fixed text becomes the shell uid first, makes sure
that no capability came along, and only then sends. An executor that is not root keeps its
capabilities through the change of uid unless they are dropped by name: without the check the signal
would reach every process of the machine.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

_SEND: Final = """
kept=0
while read -r key value _; do
    case $key in
    CapPrm: | CapEff: | CapAmb:)
        [[ $value =~ ^0+$ ]] || exit 97
        kept=$((kept + 1))
        ;;
    esac
done </proc/self/status
[[ $kept == 3 && $UID == "$2" && $EUID == "$2" && $2 != 0 ]] || exit 97
kill -s "$1" -- -1
"""
_SENT: Final = (0, 1)  # 1: there was nobody to send it to
_LIMIT_S: Final = 2.0  # a process of the uid may stop or kill the sender; then it is tried again


async def signal_uid(
    number: signal.Signals,
    *,
    uid: int,
    privilege_drop: Sequence[str],
    started: Callable[[int], None],
    ended: Callable[[int], None],
) -> bool:
    """Send a signal to all processes of `uid`, as that uid; return whether it was sent.

    It is not if a process of the uid was quick enough to stop or kill the sender. `privilege_drop`
    is the command prefix that becomes the uid. `started` and `ended` are told the process id of the
    sender. Raises OSError if the sender cannot be started.
    """
    sender = subprocess.Popen(  # noqa: ASYNC220, S603 - waited for below; a fixed text
        [
            *privilege_drop,
            "/bin/bash",
            "--norc",
            "--noprofile",
            "-c",
            _SEND,
            "tibet-nc",
            number.name.removeprefix("SIG"),
            str(uid),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    started(sender.pid)
    try:
        await _ended(sender.pid, _LIMIT_S)
    finally:
        sender.kill()
        sender.wait()
        ended(sender.pid)
    return sender.returncode in _SENT


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def _ended(pid: int, limit_s: float) -> None:
    """Wait until a child has ended, at most `limit_s` seconds."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, _settle, over)
    try:
        async with asyncio.timeout(limit_s):
            await over
    except TimeoutError:
        pass
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
