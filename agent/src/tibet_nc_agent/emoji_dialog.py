# SPDX-License-Identifier: MIT
"""Root's side of a verification by emoji: asks the running agent, shows, and asks root.

Nothing here reads the network, and nothing that came from it is printed as it came.
"""

import select
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tibet_nc_agent.console import (
    LINE_BYTES,
    Asked,
    ConsoleError,
    Decision,
    Failed,
    Proved,
    Shown,
    Told,
    Verify,
    line,
    require_peer,
    socket_of,
    told,
)
from tibet_nc_agent.sas import EMOJI
from tibet_nc_agent.visible import one_line

_YES = "yes"


def verified_master_key(state: Path, user: str, *, stdin: TextIO, out: TextIO) -> str | None:
    """Return the master key that a user has proved to have, None if it came to nothing.

    ``state`` is the directory of the agent, which must run. Whatever it tells, no key is returned
    before root has said yes to what was shown. Raises ConsoleError and OSError.
    """
    agreed = False
    with _connected(state) as endpoint:
        endpoint.sendall(line(Verify(user=user)))
        while True:
            match _next(endpoint):
                case Asked(room=room, by_user=True):
                    out.write(f"{user} has asked, in {one_line(room)}: have it started there.\n")
                case Asked(room=room):
                    out.write(f"{user} was asked, in {one_line(room)}: have it accepted there.\n")
                case Shown() as shown:
                    agreed = False
                    _show(shown, user, out)
                    if _has_news(endpoint, stdin):
                        continue
                    agreed = stdin.readline().strip() == _YES
                    endpoint.sendall(line(Decision(matches=agreed)))
                    out.write("Waiting for the other side…\n" if agreed else "")
                case Proved(master_key=master_key) if agreed:
                    return master_key
                case Proved():
                    raise ConsoleError("the agent has proved a key that nobody has agreed to")
                case Failed(reason=reason):
                    out.write(f"\n{one_line(reason)}\n")
                    return None
            out.flush()


@contextmanager
def _connected(state: Path) -> Generator[socket.socket]:
    """Connect to the agent, and see that it is the agent."""
    path = socket_of(state)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as endpoint:
        try:
            owner = state.stat().st_uid
            endpoint.connect(str(path))
        except OSError as error:
            raise ConsoleError(
                f"{path}: {error.strerror}: this needs the agent to run, and root to ask it"
            ) from None
        require_peer(endpoint, frozenset({owner}))
        yield endpoint


def _next(endpoint: socket.socket) -> Told:
    """Return the next thing that the agent tells."""
    data = b""
    while not data.endswith(b"\n") and len(data) <= LINE_BYTES:
        byte = endpoint.recv(1)  # so that nothing of the next line is lost; they are few and short
        if not byte:
            raise ConsoleError("the agent has ended")
        data += byte
    return told(data)


def _show(shown: Shown, user: str, out: TextIO) -> None:
    if shown.emoji:
        names = "   ".join(" ".join(EMOJI[number]) for number in shown.emoji)
        out.write(f"\n    {names}\n")
    out.write(f"    {'  '.join(map(str, shown.decimals))}\n\n")
    out.write(
        f"Does {user} see the same, in this order? Ask on the telephone or in person.\n"
        f"Type {_YES!r} if it is the same, anything else if not: "
    )
    out.flush()


def _has_news(endpoint: socket.socket, stdin: TextIO) -> bool:
    """Wait until root has typed something, or the agent has more to tell."""
    ready, _, _ = select.select([endpoint.fileno(), stdin.fileno()], [], [])
    return endpoint.fileno() in ready
