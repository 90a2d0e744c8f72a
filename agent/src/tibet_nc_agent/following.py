# SPDX-License-Identifier: MIT
"""The message that says that a command runs, kept up to date while it does.

The executor is asked for the newest output when an edit is due, not before: a command that prints
a lot costs the agent no more than one that prints little.
"""

import asyncio
import time
from typing import Final

from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.event import TextMessage
from tibet_nc_agent.link_error import LinkError
from tibet_nc_agent.progress import Progress
from tibet_nc_protocol.messages import Denied, Tail, TailReport


class Following:
    """One message of ours, about one running command."""

    def __init__(self, desk: Desk, message: TextMessage, *, number: int, notice: str) -> None:
        """``message`` is the command's, ``notice`` the event to edit, ``number`` the intent's."""
        self._desk: Final = desk
        self._message: Final = message
        self._number: Final = number
        self._notice: Final = notice
        self._clock: Final = asyncio.get_running_loop().time
        self._progress: Final = Progress(self._clock())

    async def until(self, ended: asyncio.Event) -> None:
        """Edit the message now and then until the command has ended, and then a last time.

        A message that was never edited only says that the command started, and stays as it is.
        Raises TokenRevoked.
        """
        while (due := self._progress.due) is not None and not await self._within(ended, due):
            await self._look(ended)
        await ended.wait()
        if self._progress.edits:
            content = self._desk.answerer.over(self._message.event_id, self._number, self._age_ms())
            await self._edit(content)

    async def _look(self, ended: asyncio.Event) -> None:
        report = await self._newest()
        if report is None or not self._progress.news(report.output_bytes):
            self._progress.looked(self._clock())
            return
        at = self._desk.pace.reserve(self._clock())
        if at > self._clock():  # others come first, and by then there may be more
            if await self._within(ended, at):
                return
            report = await self._newest() or report
        content = self._desk.answerer.progress(
            self._message.event_id, report, self._desk.link.screen, age_ms=self._age_ms()
        )
        if await self._edit(content):
            self._progress.edited(self._clock(), report.output_bytes)
        else:
            self._progress.looked(self._clock())

    async def _newest(self) -> TailReport | None:
        """Return the newest output, None if it can't be had now."""
        try:
            report = await self._desk.link.ask(
                lambda request: Tail(request=request, number=self._number), TailReport
            )
        except LinkError:  # the command is asked about again, and so is this
            return None
        return None if isinstance(report, Denied) else report

    async def _edit(self, content: JsonObject) -> bool:
        """Edit the message; return whether the homeserver took it."""
        wait = await self._desk.outbox.edit(self._message.room_id, self._notice, content)
        if wait:
            self._desk.pace.limited(self._clock(), wait)
        return wait is None

    def _age_ms(self) -> int:
        """How long ago the command was sent, by the homeserver's clock."""
        now_ms = int(time.time() * 1000) + (self._desk.matrix.skew_ms or 0)
        return max(0, now_ms - self._message.sent_ms)

    @staticmethod
    async def _within(ended: asyncio.Event, at: float) -> bool:
        """Wait until a time; return whether the command ended before."""
        try:
            async with asyncio.timeout_at(at):
                await ended.wait()
        except TimeoutError:
            return False
        return True
