# SPDX-License-Identifier: MIT
"""Where root comes to have a user verified, and where the events of verifications go.

One verification at a time, of the one user that root has named. A request of anybody else gets no
answer; it is kept for a while, for root to name that user.
"""

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from tibet_nc_agent.console import (
    LINE_BYTES,
    ConsoleError,
    Failed,
    Verify,
    line,
    require_peer,
    said,
    socket_of,
)
from tibet_nc_agent.event import VerificationEvent
from tibet_nc_agent.sas import CANCEL_TYPE
from tibet_nc_agent.verification import Scene, Verification, is_request

ROOT: Final = 0

REQUESTS: Final = 16
"""Most users whose requests wait for root; the longest waiting one goes first."""

log: Final = logging.getLogger(__name__)


class Verifier:
    """The console's socket in the state directory, and the verification that is under way."""

    def __init__(self, scene: Scene, state: Path) -> None:
        self._scene = scene
        self._path = socket_of(state)
        self._current: Verification | None = None
        self._requests: dict[str, VerificationEvent] = {}

    async def serve(self) -> None:
        """Wait for root, for ever; without a socket, commands are answered all the same."""
        try:
            server = await asyncio.start_unix_server(self._serve, self._path, limit=LINE_BYTES)
            self._path.chmod(0o600)
        except OSError as error:
            log.error("trust --emoji can't be used: %s: %s", self._path, error)  # noqa: TRY400
            return
        try:
            await asyncio.Event().wait()
        finally:  # not serve_forever, which would wait for root to leave before the agent may end
            server.close()
            server.close_clients()

    def moved(self) -> None:
        """Note that the rooms may have changed."""
        if self._current is not None:
            self._current.moved()

    def take(self, event: VerificationEvent) -> None:
        """Take an event of a configured room."""
        if self._current is not None and event.sender == self._current.user:
            self._current.take(event)
        elif is_request(event, self._scene.rules.user_id):
            log.info("%s asks to be verified, and waits for root to say so", event.sender)
            self._requests.pop(event.sender, None)
            self._requests[event.sender] = event
            if len(self._requests) > REQUESTS:
                del self._requests[next(iter(self._requests))]
        elif event.event_type == CANCEL_TYPE:
            self._requests.pop(event.sender, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            require_peer(writer.get_extra_info("socket"), frozenset({ROOT, os.geteuid()}))
            await self._verify(reader, writer)
        except (ConsoleError, ValueError) as error:  # a line that is too long is a ValueError
            log.warning("the console is not listened to: %s", error)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _verify(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        word = said(await reader.readline())
        if not isinstance(word, Verify):
            raise ConsoleError("nobody was named")
        if self._current is not None:
            writer.write(line(Failed(reason=f"{self._current.user} is being verified just now")))
            return
        request = self._requests.pop(word.user, None)
        if request is not None and not is_request(request, self._scene.rules.user_id):
            request = None  # it has become too old
        self._current = Verification(self._scene, word.user, request, writer)
        try:
            with self._scene.matrix.admitting(word.user):
                await self._current.run(reader)
        finally:
            self._current = None
