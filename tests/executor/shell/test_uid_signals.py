# SPDX-License-Identifier: MIT
"""A signal to all processes of the shell uid reaches nobody else, whatever went wrong before (I6).

Everything here happens in a process namespace of its own: broken, it would end this machine's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

UID: Final = 64296
OTHER: Final = 64297
ROOT: Final = Path(__file__).resolve().parents[3]

PROGRAM: Final = """
import asyncio, json, signal, subprocess, sys
from tibet_nc_executor.children import Children
from tibet_nc_executor.process import read_status
from tibet_nc_executor.uidsignal import signal_uid

uid, other, asked, drop = json.load(sys.stdin)
victims = [
    subprocess.Popen(["setpriv", f"--reuid={who}", "--clear-groups", "sleep", "4748"])
    for who in (uid, uid, other, 0)
]

async def main():
    children = Children()
    for victim in victims:
        children.register(victim.pid)
        while read_status(victim.pid).uid == 0 and victim is not victims[-1]:
            await asyncio.sleep(0.01)
    sent = await signal_uid(
        signal.SIGKILL, uid=asked, privilege_drop=drop, children=children
    )
    if sent:
        for victim in victims[:2]:
            victim.wait(20)
    alive = [victim.poll() is None for victim in victims]
    print(json.dumps([sent, alive]))

asyncio.run(main())
"""

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs namespaces, and uids")


def signalled(asked: int, *drop: str) -> tuple[bool, list[bool]]:
    """Kill a uid with some prefix that should become it; return whether that was said, who lives.

    There are two of the uid, one of another, and one of root's.
    """
    done = subprocess.run(
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            sys.executable,
            "-c",
            PROGRAM,
        ],
        input=json.dumps([UID, OTHER, asked, drop]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent, alive = json.loads(done.stdout)
    return sent, alive


def becoming(uid: int, *capabilities: str) -> list[str]:
    """Return a prefix that becomes a uid, and keeps capabilities if there are any."""
    kept = ",".join(("-all", *capabilities))
    ids = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return ["/usr/bin/setpriv", *ids, f"--inh-caps={kept}", f"--ambient-caps={kept}"]


def test_only_the_uid_is_reached() -> None:
    """All processes of the uid end at once, and nobody else's."""
    assert signalled(UID, *becoming(UID)) == (True, [False, False, True, True])


HIDE_PROC = ["/usr/bin/unshare", "--mount", "sh", "-c", 'mount -t tmpfs x /proc; exec "$@"', "sh"]

WRONG = {
    "root": (0, ["/usr/bin/setpriv", "--inh-caps=-all", "--bounding-set=-all"]),
    "root with all it can": (UID, ["/usr/bin/env"]),
    "another uid": (UID, becoming(OTHER)),
    "a capability that came along": (UID, becoming(UID, "+kill")),
    "one that can't be seen": (UID, [*HIDE_PROC, *becoming(UID, "+kill")]),
}


@pytest.mark.parametrize("name", WRONG)
def test_who_is_not_the_uid_alone_signals_nobody(name: str) -> None:
    """A sender that is another uid, or more than the uid, says so instead of sending."""
    asked, drop = WRONG[name]
    assert signalled(asked, *drop) == (False, [True] * 4)
