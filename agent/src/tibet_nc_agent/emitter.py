# SPDX-License-Identifier: MIT
"""Telling a service of the host's owner of TIBET tokens, in the background.

Nothing here is ever waited for by a command: a result is noted in memory, a task of its own puts
it on disk by a thread of its own, and another goes on posting for as long as it takes. A service
that is away, slow or wrong costs a queue that is bounded, and a line in ``status``.
"""

import asyncio
import logging
from collections import deque
from pathlib import Path
from typing import Final

import aiohttp

from tibet_nc_agent.disk import Disk
from tibet_nc_agent.emission import (
    QUEUE_ROWS,
    Emission,
    EmissionError,
    EmissionQueue,
    emission,
)
from tibet_nc_agent.homeserver import waits
from tibet_nc_protocol.messages import Finished

PATH: Final = "/api/protocol/send"
POST_SECONDS: Final = 10.0
"""How long one post may take."""

_POISON: Final = frozenset({400, 413, 415, 422})
"""Answers that say that this one will never be taken, so that the next must not wait for it."""

_TAKEN: Final = range(200, 300)

log: Final = logging.getLogger(__name__)


class Emitter:
    """Tells one service; :meth:`run` is its life, the rest is said in between."""

    def __init__(
        self,
        base: str,
        state: Path,
        *,
        host: str,
        proxy: str | None = None,
        limit: int = QUEUE_ROWS,
    ) -> None:
        self._url = f"{base}{PATH}"
        self._base = base
        self._host = host
        self._proxy = proxy
        self._disk = Disk()
        self._noted: deque[Emission] = deque(maxlen=QUEUE_ROWS)
        self._news = asyncio.Event()
        self._stored = asyncio.Event()
        self._failure = ""
        self._storing = 0
        self._waiting = 0
        self._lost = 0
        self._unstored = 0
        self._queue: EmissionQueue | None = None
        try:
            self._queue = EmissionQueue(state, limit=limit)
            self._waiting, self._lost = self._queue.counts()
        except EmissionError as error:  # no reason to serve no commands
            self._failed(str(error))

    def note(self, result: Finished, *, sender: str) -> None:
        """Take a result that has a token; never waits and never fails."""
        if len(self._noted) == self._noted.maxlen:
            self._unstored += 1
        self._noted.append(emission(result, sender=sender, host=self._host))
        self._news.set()

    @property
    def state(self) -> str:
        """One line for people: how many wait, how many were lost, and what is wrong."""
        waiting = self._waiting + self._storing + len(self._noted)
        lost = self._lost + self._unstored
        wrong = f" · {self._failure}" if self._failure else ""
        return f"{waiting} wait, {lost} lost{wrong}"

    async def run(self) -> None:
        """Store and post until cancelled."""
        timeout = aiohttp.ClientTimeout(total=POST_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, proxy=self._proxy) as session,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._store(), name="emission store")
            group.create_task(self._post(session), name="emission post")

    async def close(self) -> None:
        """Put what was noted on disk, and close the queue."""
        await self._put()
        if self._queue is not None:
            await self._disk(self._queue.close)
        self._disk.close()

    async def _store(self) -> None:
        self._stored.set()  # what an earlier run left
        while True:
            await self._news.wait()
            self._news.clear()
            await self._put()
            self._stored.set()

    async def _put(self) -> None:
        noted = list(self._noted)
        self._noted.clear()
        if self._queue is None:
            self._unstored += len(noted)
            return
        self._storing = len(noted)
        try:
            self._waiting, self._lost = await self._disk(self._queue.add, noted)
        except EmissionError as error:
            self._unstored += len(noted)
            self._failed(str(error))
        finally:
            self._storing = 0

    async def _post(self, session: aiohttp.ClientSession) -> None:
        pauses = waits()
        while True:
            await self._stored.wait()
            self._stored.clear()
            if self._queue is None:
                return
            try:
                while (waiting := await self._disk(self._queue.oldest)) is not None:
                    status = await self._posted(session, waiting.body)
                    if status not in _TAKEN and status not in _POISON:
                        await asyncio.sleep(next(pauses))
                        continue
                    pauses = waits()
                    poison = status in _POISON
                    done = await self._disk(self._queue.done, waiting.number, lost=poison)
                    self._waiting, self._lost = done
            except EmissionError as error:  # the next that is stored tries again
                self._failed(str(error))

    async def _posted(self, session: aiohttp.ClientSession, body: bytes) -> int | None:
        """Post one; return the status of the answer, None if there was none."""
        headers = {"Content-Type": "application/json"}
        try:
            # A redirect could lead to another host, or to one without TLS.
            async with session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._failed(f"{self._base}: {type(error).__name__}")
            return None
        if status in _TAKEN:
            self._failure = ""
        else:
            self._failed(f"{self._base} answers {status}")
        return status

    def _failed(self, failure: str) -> None:
        if failure != self._failure:
            log.warning("tokens are not told: %s", failure)
        self._failure = failure
