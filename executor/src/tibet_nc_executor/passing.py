# SPDX-License-Identifier: MIT
"""Sockets that take no open files from the other end.

Whoever writes to a Unix socket may send open files along (SCM_RIGHTS, unix(7)). Who reads and asks
for none has the kernel close them there and then. That may last: a TCP connection lingers as long
as its owner has said (SO_LINGER), and the whole executor would stand still meanwhile. From Linux
6.16 on a socket can refuse them, and the sender is told so.
"""

import socket
from contextlib import suppress
from typing import Final

_SO_PASSRIGHTS: Final = 83


def refuse_files(end: socket.socket) -> None:
    """Have no open files come in at this end of a socket, or of what connects to it from now on.

    On an older kernel they still do.
    """
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
