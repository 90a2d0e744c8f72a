# SPDX-License-Identifier: MIT
"""For root's own commands: what reads the network is done as the agent's user, never as root (I2).

Where root has to do something with it, a child process gives up root for good, does the work, and
hands one short text back. It belongs to the agent's side as much as the running agent does: whoever
reads the text trusts it no further. A verb that needs nothing of root's gives it up as a whole.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

ANSWER_BYTES: Final = 64 * 1024
"""Longest text that is taken from the child."""


class DescentError(Exception):
    """The work was not done; the child has said why on standard error, or the text says it."""


def become_owner(directory: Path) -> None:
    """Go on as the user whom a directory belongs to, for good, if this is root and it exists.

    What is written there afterwards is that user's, who has to read it. Raises OSError.
    """
    if os.geteuid() == 0 and directory.exists():
        status = directory.stat()
        _give_up_root(status.st_uid, status.st_gid)


def as_owner(directory: Path, work: Callable[[], bytes]) -> bytes:
    """Return what ``work`` returns, done as the user whom a directory belongs to if this is root.

    What ``work`` raises ends the child with its text on standard error. Raises DescentError. To
    be called before there are threads or an event loop.
    """
    if os.geteuid() != 0:
        return work()
    try:
        status = directory.stat()
    except OSError as error:
        raise DescentError(f"{directory}: {error.strerror}") from None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _end(writing, status.st_uid, status.st_gid, work)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read(ANSWER_BYTES + 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0 or len(answer) > ANSWER_BYTES:
        raise DescentError("nothing was changed")
    return answer


def _end(writing: int, uid: int, gid: int, work: Callable[[], bytes]) -> None:
    """Do the work without root's rights, write what it returns, and end this process."""
    code = 1
    try:
        _give_up_root(uid, gid)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(work())
        code = 0
    except Exception as error:  # it must not get back into the parent's code
        sys.stderr.write(f"tibet-nc-agent: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(code)


def _give_up_root(uid: int, gid: int) -> None:
    if uid != 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
