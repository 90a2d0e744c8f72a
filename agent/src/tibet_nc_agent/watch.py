# SPDX-License-Identifier: MIT
"""The watch over the operators' identities (I5).

An identity is looked at when the agent starts, when an operator is pinned, when the homeserver
says that a user's keys have changed, and with every command. A pause is on disk first. A finding is
put into the executor's chain, then told in the rooms where the operator is, and then it is on disk
that it was: a crash in between may have it twice in the chain, and loses none.
"""

import asyncio
import logging
from collections import defaultdict
from typing import Final

from tibet_nc_agent.content import Part, clip, transaction
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.identity import Identity, verify_identity
from tibet_nc_agent.matrix_errors import IdentityChanged, IdentityError, Refused
from tibet_nc_agent.render import REASON_CHARACTERS
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.pins import Pin

TELL_SECONDS: Final = 3.0
"""How long a pause, which holds by then, is told after it was seen. An identity is made in steps:
first its keys, then their signatures of the devices, without which the operator can't read us."""

log: Final = logging.getLogger(__name__)


class Watch:
    """Looks at identities, and says what has become of them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._one_at_a_time = defaultdict[str, asyncio.Lock](asyncio.Lock)  # of each user

    async def look_at(self, user_id: str) -> None:
        """Look at an operator's identity as the homeserver shows it now; raises TokenRevoked."""
        async with self._one_at_a_time[user_id]:
            await self._look_at(user_id)

    async def pause(self, user_id: str, change: IdentityChanged) -> None:
        """Let an operator command nothing until pinned anew; raises TokenRevoked."""
        async with self._one_at_a_time[user_id]:
            await self._pause(user_id, change)

    async def _look_at(self, user_id: str) -> None:
        desk = self._desk
        pin = desk.operators.pins().get(user_id)
        if pin is None:
            return
        if desk.operators.pauses.of(pin) is not None:
            await self._tell_paused(pin)
            return
        try:
            answer = await desk.matrix.keys_of(user_id)
            identity = verify_identity(answer, user_id, pinned=pin.master_key)
        except IdentityChanged as error:
            await self._pause(user_id, error)
        except (IdentityError, Refused) as error:
            log.warning("the identity of %s can't be looked at: %s", user_id, error)
        else:
            await self._look_for_unsigned(identity)

    async def _pause(self, user_id: str, change: IdentityChanged) -> None:
        desk = self._desk
        pin = desk.operators.pins().get(user_id)
        if pin is not None and pin.master_key == change.pinned:  # not pinned anew meanwhile
            await desk.disk(desk.operators.pauses.pause, pin, str(change))
            await self._tell_paused(pin)

    async def _tell_paused(self, pin: Pin) -> None:
        desk, pauses = self._desk, self._desk.operators.pauses
        pause = pauses.of(pin)
        if pause is None or pause.told:
            return
        log.error("%s is paused: %s", pin.user, pause.reason)
        await desk.alert("identity", pause.reason, sender=pin.user)
        await asyncio.sleep(TELL_SECONDS)
        await self._tell(
            pin.user,
            f"paused {pin.pinned.isoformat()}",
            clip(one_line(pause.reason), REASON_CHARACTERS),
            f"{one_line(pin.user)} is paused: nothing that this account sends is run, and its "
            "devices get no keys",
            "next: ask the operator whether the identity was reset; if so, on the host, as root: "
            f"tibet-nc-agent trust {one_line(pin.user)}",
        )
        await desk.disk(pauses.told, pin)

    async def _look_for_unsigned(self, identity: Identity) -> None:
        desk, user = self._desk, identity.user_id
        unsigned = [device.device_id for device in identity.devices if not device.cross_signed]
        new = await desk.disk(desk.operators.pauses.untold, user, unsigned)
        if not new:
            return
        names = clip(", ".join(map(one_line, new)), REASON_CHARACTERS)
        log.warning("%s has devices that the pinned identity has not signed: %s", user, names)
        await desk.alert("device", f"not signed by {user}: {names}", sender=user)
        await self._tell(
            user,
            f"unsigned {names}",
            f"{one_line(user)} has a device that the pinned identity has not signed: {names}",
            "nothing that it sends is run, and it gets no keys",
            "next: if it is yours, verify it in your client; if not, sign it out and change the "
            "account's password",
        )
        await desk.disk(desk.operators.pauses.told_of, user, new)

    async def _tell(self, user_id: str, what: str, *lines: str) -> None:
        """Say something in the rooms where a user is, so that the user can read it, too."""
        desk = self._desk
        for room_id in sorted(desk.rules.rooms):
            if user_id in desk.matrix.members(room_id):
                notice = desk.answerer.told(None, *map(Part, lines), final=False)
                txn_id = transaction(room_id, user_id, what)
                await desk.outbox.mention(room_id, notice, txn_id, also=user_id)
