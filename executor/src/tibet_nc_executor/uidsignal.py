# SPDX-License-Identifier: MIT
"""One signal to every process of the shell uid, at once.

`kill(-1)` is atomic against fork: while the kernel walks the list of processes, none can be added.
It reaches whatever the caller may signal, so a fixed text becomes the shell uid first, makes sure
that no capability came along, and only then sends. An executor that is not root keeps its
capabilities through the change of uid unless they are dropped by name: without the check the signal
would reach every process of the machine.
"""

import signal
from collections.abc import Sequence
from typing import Final

from tibet_nc_executor.children import Children
from tibet_nc_executor.errand import run_errand

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
    children: Children,
) -> bool:
    """Send a signal to all processes of `uid`, as that uid; return whether it was sent.

    It is not if a process of the uid was quick enough to stop or kill the sender. `privilege_drop`
    is the command prefix that becomes the uid. Raises OSError if the sender cannot be started.
    """
    status = await run_errand(
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
        children=children,
        limit_s=_LIMIT_S,
    )
    return status in _SENT
