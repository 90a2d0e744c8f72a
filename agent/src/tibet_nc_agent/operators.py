# SPDX-License-Identifier: MIT
"""Who is an operator at this moment: the pins of root's file, and the settings' own list.

A pin is looked up when it is needed, so that ``trust`` and ``untrust`` hold at once. If the file
can't be used, nobody is pinned, and the reason is logged when it changes.
"""

import logging
from enum import Enum
from pathlib import Path
from typing import Final

from tibet_nc_agent.pauses import Pauses
from tibet_nc_agent.pinfile import PinFile
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.pins import Pin, Pins

log: Final = logging.getLogger(__name__)


class Standing(Enum):
    """What somebody is to this host."""

    STRANGER = "stranger"
    """Neither pinned nor named in the settings."""
    UNPINNED = "unpinned"
    """Named in the settings, and not pinned."""
    READER = "reader"
    """Pinned, and not among those that the settings name."""
    PAUSED = "paused"
    """Pinned, and the identity was seen to be another one since."""
    OPERATOR = "operator"
    """May command, from a device that the pinned identity has signed."""


class Operators:
    """The operators of a host. ``allowed`` is the settings' list, empty if there is none."""

    def __init__(self, file: Path, allowed: frozenset[str], pauses: Pauses) -> None:
        self._file = PinFile(file)
        self._allowed = allowed
        self.pauses: Final = pauses
        self.problem = ""
        """Why nobody is pinned, "" if the file could be used when it was last looked at."""

    def standing(self, user_id: str) -> Standing:
        """Return what somebody is now."""
        pin = self.pins().get(user_id)
        if pin is not None and self.pauses.of(pin) is not None:
            return Standing.PAUSED
        if pin is not None:
            named = not self._allowed or user_id in self._allowed
            return Standing.OPERATOR if named else Standing.READER
        return Standing.UNPINNED if user_id in self._allowed else Standing.STRANGER

    def master_key(self, user_id: str) -> str | None:
        """Return the pinned master key of a user, None if there is no pin, or it is paused."""
        pin = self.pins().get(user_id)
        return None if pin is None or self.pauses.of(pin) is not None else pin.master_key

    def pause_reason(self, user_id: str) -> str:
        """Return why a user is paused, "" for one who isn't."""
        pin = self.pins().get(user_id)
        pause = None if pin is None else self.pauses.of(pin)
        return "" if pause is None else pause.reason

    def members(self) -> frozenset[str]:
        """Return who may be in a room that the agent speaks in: pinned, or named."""
        return self._allowed | self.pins().keys()

    def pins(self) -> Pins:
        """Return the pins as they are now, none if the file can't be used."""
        try:
            pins, problem = self._file.pins(), ""
        except PinsError as error:
            pins, problem = dict[str, Pin](), str(error)
        if problem != self.problem:
            self.problem = problem
            if problem:
                log.error("nobody may command: %s", problem)
            else:
                log.info("%s can be used again", self._file.path)
        return pins
