# SPDX-License-Identifier: MIT
"""Whose room keys are taken in: those of whoever may speak, or is just being verified.

Anybody else's would fill the disk, and a member who knows an operator's key could pass it off as
his own before it comes from the operator.
"""

from collections.abc import Collection, Generator
from contextlib import contextmanager

from tibet_nc_agent.operators import Operators


class Admission:
    """The answer for ``rooms``, the configured ones."""

    def __init__(self, rooms: Collection[str], operators: Operators) -> None:
        self._rooms = rooms
        self._operators = operators
        self._guests: set[str] = set()

    def hears(self, user_id: str) -> bool:
        """Whether anything that somebody sends to this device is of use."""
        return user_id in self._guests or user_id in self._operators.members()

    def admits(self, room_id: str, sender: str) -> bool:
        """Whether somebody's key for a room is of use."""
        return room_id in self._rooms and self.hears(sender)

    @contextmanager
    def guest(self, user_id: str) -> Generator[None]:
        """Take a user's keys for the length of a block."""
        self._guests.add(user_id)
        try:
            yield
        finally:
            self._guests.discard(user_id)
