# SPDX-License-Identifier: MIT
"""The order of one operator's commands in one room: asked in order, answered in order.

The executor is asked for a command as soon as all before it were asked for, so that a command
doesn't grow stale while it waits for its turn there; its answer waits for the answers before it.
Different operators, and different rooms, don't wait for one another.
"""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A command that the one of the number ``behind`` keeps waiting."""

    sender: str
    command: str
    behind: int


class Turn:
    """The place of one message; :meth:`done` must be called, whatever became of it."""

    def __init__(self, lane: "list[Turn]") -> None:
        self._lane = lane
        self._before = tuple(lane)
        self._asked = asyncio.Event()
        self._done = asyncio.Event()
        self.running: int | None = None
        """The number of its command while that runs."""
        self.command: str | None = None
        """Its command until that has run."""
        self.held: Final = ExitStack()
        """What is held until it is done."""
        lane.append(self)

    @property
    def behind(self) -> int | None:
        """The number of the command before it that runs now."""
        return next((turn.running for turn in self._before if turn.running is not None), None)

    async def to_ask(self) -> None:
        """Wait until every command before was asked for, or needs no asking."""
        for turn in self._before:
            await turn._asked.wait()

    async def to_answer(self) -> None:
        """Wait until every command before has its answer."""
        for turn in self._before:
            await turn._done.wait()

    def asked(self) -> None:
        """Let the next command be asked for; call it right before asking, without a pause."""
        self._asked.set()

    def done(self) -> None:
        """Let the next command be answered; doing it again changes nothing."""
        self.held.close()
        if not self._done.is_set():
            self._asked.set()
            self._done.set()
            self._lane.remove(self)
            self._before = ()  # or each would hold all that ever were before it


class Lanes:
    """All places of all operators."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], list[Turn]] = {}

    def turn(self, room_id: str, sender: str) -> Turn:
        """Return the next place of an operator in a room; call it in the order of arrival."""
        for key in [key for key, lane in self._lanes.items() if not lane]:
            del self._lanes[key]
        return Turn(self._lanes.setdefault((room_id, sender), []))

    def waiting(self) -> list[Waiting]:
        """Return the commands that wait for one that runs, those of an operator in their order."""
        return [
            Waiting(sender=sender, command=turn.command, behind=turn.behind)
            for (_, sender), lane in self._lanes.items()
            for turn in lane
            if turn.command is not None and turn.running is None and turn.behind is not None
        ]
