# SPDX-License-Identifier: MIT
"""Who is at the other end of a Unix socket, as the kernel says (SO_PEERCRED, unix(7))."""

import socket
import struct
from typing import Final

_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


def peer_uid(endpoint: socket.socket) -> int:
    """Return the user whose process is at the other end, or made the socket that listens there."""
    data = endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(data)
    return int(uid)
