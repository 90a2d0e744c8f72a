# SPDX-License-Identifier: MIT
"""Sending: what must arrive is tried until it does, what only helps is tried once.

:meth:`Matrix.send` waits out an unreachable homeserver and its rate limit by itself. What it
raises is a state of the room that somebody must change (a stranger in it, no encryption, not
joined), so an answer waits for that, and says in the log why.
"""

import asyncio
import functools
import logging
import secrets
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import edit_of, outside_threads
from tibet_nc_agent.homeserver import waits
from tibet_nc_agent.matrix import Matrix
from tibet_nc_agent.matrix_errors import (
    RateLimited,
    Refused,
    SendError,
    TooLarge,
    Unreachable,
)

SETTLE_SECONDS: Final = 5.0
"""How long a stop waits for what is being sent; the unit waits 20 s for the stop itself."""

log: Final = logging.getLogger(__name__)


class Outbox:
    """The way out to the rooms."""

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        self._sending = 0
        self._owed = Counter[str]()
        self._stuck: set[str] = set()
        """Rooms in which what must arrive can't be sent now: nobody knows when it can."""
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def owing(self, room_id: str) -> Generator[None]:
        """Have a stop wait for an answer in a room whose turn to be sent has not come yet."""
        self._owed[room_id] += 1
        self._look()
        try:
            yield
        finally:
            self._owed[room_id] -= 1
            self._look()

    async def deliver(
        self, room_id: str, content: JsonObject, txn_id: str, *, shortest: bool = False
    ) -> None:
        """Send a message and return when the homeserver has taken it.

        Raises TooLarge, which waiting doesn't change, unless this is the ``shortest`` that there
        is to say; and TokenRevoked.
        """
        said = ""
        pauses = waits()
        while True:
            try:
                await self._send(room_id, content, txn_id)
            except (SendError, Refused, Unreachable) as error:
                if isinstance(error, TooLarge) and not shortest:
                    raise
                self._stuck.add(room_id)
                self._look()
                if str(error) != said:
                    said = str(error)
                    log.warning("an answer in %s waits: %s", room_id, said)
            else:
                self._stuck.discard(room_id)
                self._look()
                return
            await asyncio.sleep(next(pauses))

    async def mention(
        self, room_id: str, content: JsonObject, txn_id: str, *, also: str | None = None
    ) -> str | None:
        """Send a message that nobody depends on; return its event id, None after a failure.

        The failure is logged. ``also`` may read this one, pinned or not: then on devices signed by
        whichever identity is shown now. Raises TokenRevoked.
        """
        try:
            return await self._send(room_id, content, txn_id, also=also)
        except (SendError, Refused, Unreachable) as error:
            log.warning("a notice in %s was not sent: %s", room_id, error)
            return None

    async def edit(self, room_id: str, event_id: str, content: JsonObject) -> float | None:
        """Replace an earlier message of ours, if that can be done at once.

        Returns None when it was done, else how many seconds the homeserver asks us to wait, 0.0
        if it doesn't say. Raises TokenRevoked.
        """
        try:
            await self._send(
                room_id, edit_of(event_id, content), secrets.token_hex(16), patient=False
            )
        except RateLimited as error:
            return error.retry_after_s
        except (SendError, Refused, Unreachable) as error:
            log.info("an edit in %s was not sent: %s", room_id, error)
            return 0.0
        return None

    async def upload_limit(self) -> int | str | None:
        """Return how long a file may be, None if nobody says, or why there can be none.

        Raises TokenRevoked.
        """
        try:
            return await self._matrix.upload_limit()
        except SendError as error:
            log.warning("there will be no attachment: %s", error)
            return str(error)

    async def upload(self, path: Path, *, name: str, offset: int, size: int) -> JsonObject | str:
        """Upload a piece of a file, encrypted; return the message that holds it, or why not.

        Raises TokenRevoked.
        """
        try:
            return await self._matrix.upload(path, name, offset=offset, size=size)
        except (SendError, Refused, Unreachable) as error:
            log.warning("an attachment was not uploaded: %s", error)
            return str(error)

    async def settle(self) -> None:
        """Wait, not for long, until nothing is being sent, nor owed that can be sent."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            log.warning("stopped while something was being sent; it is sent at the next start")

    async def _send(
        self,
        room_id: str,
        content: JsonObject,
        txn_id: str,
        *,
        also: str | None = None,
        patient: bool = True,
    ) -> str:
        """Send; outside of a thread if it is not taken inside, as by a thread of another room."""
        self._sending += 1
        self._look()
        send = functools.partial(
            self._matrix.send, room_id, txn_id=txn_id, also=also, patient=patient
        )
        try:
            return await send(content)
        except Refused as error:
            unthreaded = outside_threads(content)
            if unthreaded is None:
                raise
            log.info("an answer in %s is not in its message's thread: %s", room_id, error)
            return await send(unthreaded)
        finally:
            self._sending -= 1
            self._look()

    def _look(self) -> None:
        owed = {room_id for room_id, count in self._owed.items() if count}
        if self._sending or owed - self._stuck:
            self._idle.clear()
        else:
            self._idle.set()
