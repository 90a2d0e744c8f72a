# SPDX-License-Identifier: MIT
"""What was seen of the operators' identities: who is paused, and which devices were told of.

An operator whose identity isn't the pinned one any more is paused until somebody pins it again,
even if the homeserver shows the pinned one again in between: a pause belongs to one pin, and a new
pin ends it. A pause is on disk before it is told. That something was told is on disk afterwards, so
that a crash in between has it told once more, and never not at all.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_agent.matrix_errors import StoreDamaged
from tibet_nc_agent.statefile import read_private, write_whole
from tibet_nc_protocol.pins import Pin

FILE_NAME: Final = "identities.json"

DEVICES: Final = 200
"""Most devices of one operator that are remembered as told; an account with more is told anew."""


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a pin doesn't count; it is that of ``master_key`` and ``pinned``."""

    master_key: str
    pinned: datetime
    reason: str
    told: bool = False

    def concerns(self, pin: Pin) -> bool:
        """Whether this pause is of that very pin."""
        return (self.master_key, self.pinned) == (pin.master_key, pin.pinned)


class _Seen(msgspec.Struct, kw_only=True):
    paused: dict[str, Pause] = {}
    unsigned: dict[str, list[str]] = {}


class Pauses:
    """One file of what was seen, in the agent's state directory.

    Every method that writes raises StoreDamaged if it can't, and then the agent must not go on.
    """

    def __init__(self, state: Path) -> None:
        """Read the file if there is one; raises StoreDamaged if it can't be read."""
        self._file = state / FILE_NAME
        data = read_private(self._file)
        try:
            self._seen = _Seen() if data is None else msgspec.json.decode(data, type=_Seen)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise StoreDamaged(
                f"{self._file} is damaged ({error}), and who is paused is not known: move it away,"
                " and pin the operators anew that were paused"
            ) from None

    def of(self, pin: Pin) -> Pause | None:
        """Return the pause of a pin, None if there is none."""
        pause = self._seen.paused.get(pin.user)
        return pause if pause is not None and pause.concerns(pin) else None

    def pause(self, pin: Pin, reason: str) -> None:
        """Make it durable that a pin doesn't count; the first reason stays."""
        if self.of(pin) is None:
            self._seen.paused[pin.user] = Pause(
                master_key=pin.master_key, pinned=pin.pinned, reason=reason
            )
            self._save()

    def told(self, pin: Pin) -> None:
        """Make it durable that a pause was recorded and told."""
        pause = self.of(pin)
        if pause is not None and not pause.told:
            self._seen.paused[pin.user] = msgspec.structs.replace(pause, told=True)
            self._save()

    def untold(self, user_id: str, devices: Iterable[str]) -> list[str]:
        """Return those of an operator's unsigned devices that nobody was told of, some at a time.

        Those that are gone are forgotten.
        """
        now = sorted(devices)[:DEVICES]
        told = self._seen.unsigned.get(user_id, [])
        self._know(user_id, [device for device in told if device in now])
        return [device for device in now if device not in told]

    def told_of(self, user_id: str, devices: Iterable[str]) -> None:
        """Make it durable that an operator's unsigned devices were recorded and told."""
        self._know(user_id, sorted({*self._seen.unsigned.get(user_id, []), *devices}))

    def _know(self, user_id: str, devices: list[str]) -> None:
        if devices != self._seen.unsigned.get(user_id, []):
            self._seen.unsigned[user_id] = devices
            self._save()

    def _save(self) -> None:
        try:
            write_whole(self._file, msgspec.json.encode(self._seen) + b"\n")
        except OSError as error:
            raise StoreDamaged(
                f"{self._file} can't be written ({error.strerror}), and who is paused would be"
                " forgotten"
            ) from error
