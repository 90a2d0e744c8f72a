# SPDX-License-Identifier: MIT
"""The socket: made by systemd or by ourselves, open to the agent's uid, and root's."""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from systemd import daemon

from tibet_nc_executor.archive import Archive
from tibet_nc_executor.errors import ConfigError, ForeignPeerError, LedgerError
from tibet_nc_executor.monitor import Role
from tibet_nc_executor.passing import refuse_files
from tibet_nc_executor.peer import Peer, admit, peer_of
from tibet_nc_protocol.records import SecurityEvent

BACKLOG: Final = 16
SOCKET_MODE: Final = 0o660
CONNECTIONS: Final = 8
"""Connections of the agent's uid at once: it needs one. Each takes a descriptor, of which some must
be left to record what runs, and up to 16 MiB for answers that nobody reads."""

FOREIGN_RECORDS: Final = 100
"""Peers that were turned away and recorded one by one; the file mode keeps others out before, and
the agent comes once, so more is a flood."""

FAREWELL_S: Final = 2.0
"""How long a peer has to read what it was told last; one that hangs must not hold us up."""

type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Role], Awaitable[None]]


class Server:
    """Accepts connections and hands those of the agent on."""

    def __init__(self, *, agent_uid: int, archive: Archive, serve: Serve) -> None:
        self._agent_uid = agent_uid
        self._archive = archive
        self._serve = serve
        self._foreign = 0
        self._agents = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, listener: socket.socket) -> None:
        """Accept connections on a listening socket."""
        refuse_files(listener)
        # The file is systemd's, or is removed by whoever made it: asyncio must not unlink it.
        self._server = await asyncio.start_unix_server(
            self._accept, sock=listener, cleanup_socket=False
        )

    def refrain(self) -> None:
        """Accept no more connections."""
        if self._server is not None:
            self._server.close()

    def stop(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        self._writers.add(writer)
        try:
            role = admit(peer, self._agent_uid)
            with self._place(peer, role):
                await self._serve(reader, writer, role)
        except ForeignPeerError as error:
            self._foreign += 1
            if self._foreign <= FOREIGN_RECORDS:
                with suppress(LedgerError):  # nothing was asked, so nothing needs to be refused
                    await self._archive.security(SecurityEvent.PEER, str(error), uid=peer.uid)
        finally:
            self._writers.discard(writer)
            writer.close()
            try:
                async with asyncio.timeout(FAREWELL_S):
                    await writer.wait_closed()
            except OSError:  # of which a timeout is one
                writer.transport.abort()

    @contextmanager
    def _place(self, peer: Peer, role: Role) -> Generator[None]:
        """Count a connection of the agent's; raises ForeignPeerError if it has too many."""
        if role is not Role.AGENT:
            yield
            return
        if self._agents >= CONNECTIONS:
            raise ForeignPeerError(
                f"pid {peer.pid} connected as the agent, which has {CONNECTIONS} connections"
            )
        self._agents += 1
        try:
            yield
        finally:
            self._agents -= 1


def listener(path: Path, agent_gid: int) -> tuple[socket.socket, bool]:
    """Return the listening socket and whether we made it; systemd's if it passed one.

    Ours is made with no access for anybody and opened to the agent's group only when it is
    complete. Raises ConfigError.
    """
    passed = daemon.listen_fds()
    if len(passed) > 1:
        raise ConfigError(f"systemd passed {len(passed)} sockets; exactly one is expected")
    if passed:
        return socket.socket(fileno=passed[0]), False
    try:
        return _made(path, agent_gid), True
    except OSError as error:
        raise ConfigError(f"socket.path: {path}: {error.strerror or error}") from None


def _made(path: Path, agent_gid: int) -> socket.socket:
    with ExitStack() as failed:
        made = failed.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _remove_stale(path)
        old = os.umask(0o777)
        try:
            made.bind(str(path))
        finally:
            os.umask(old)
        if agent_gid != os.getegid():
            with suppress(PermissionError):  # then the mode alone decides, and SO_PEERCRED anyway
                os.chown(path, -1, agent_gid)
        path.chmod(SOCKET_MODE)
        made.listen(BACKLOG)
        failed.pop_all()
    return made


def remove(path: Path) -> None:
    """Remove the socket that we made."""
    path.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on; anything else in its place is an error."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"socket.path: {path}: there is something that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigError(f"socket.path: {path}: another process listens there")
