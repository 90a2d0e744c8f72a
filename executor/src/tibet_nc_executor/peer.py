# SPDX-License-Identifier: MIT
"""Who is at the other end of the socket, as the kernel says (SO_PEERCRED, unix(7))."""

import os
import socket
import struct
from dataclasses import dataclass

from tibet_nc_executor.errors import ForeignPeerError
from tibet_nc_executor.monitor import Role

_CREDENTIALS = struct.Struct("3i")


@dataclass(frozen=True, kw_only=True)
class Peer:
    """The process that connected, with its ids at that moment."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the process that made the connection."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    return Peer(pid=pid, uid=uid, gid=gid)


def admit(peer: Peer, agent_uid: int) -> Role:
    """Return what the peer may be: the agent by its uid, or who administers this host.

    That is root, or the executor's own uid where the agent has another. Raises ForeignPeerError.
    """
    if peer.uid == agent_uid:
        return Role.AGENT
    if peer.uid in {0, os.geteuid()}:
        return Role.ADMINISTRATOR
    raise ForeignPeerError(
        f"pid {peer.pid} connected as uid {peer.uid}; the agent is uid {agent_uid}"
    )
