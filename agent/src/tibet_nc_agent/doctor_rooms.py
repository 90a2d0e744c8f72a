# SPDX-License-Identifier: MIT
"""What the doctor says of the rooms: whether the agent is there, and can hear and be heard."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from tibet_nc_agent import sync
from tibet_nc_agent.assembly import operators_of
from tibet_nc_agent.canonical import JsonObject, as_list, as_object, as_text
from tibet_nc_agent.check import Check
from tibet_nc_agent.config import Config
from tibet_nc_agent.homeserver import CLIENT, Homeserver, quoted
from tibet_nc_agent.matrix_errors import MatrixError, Refused, StoreDamaged
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.rooms import Room
from tibet_nc_agent.units import counted
from tibet_nc_agent.visible import one_line

_WITHOUT_CREATORS: Final = frozenset(str(version) for version in range(1, 12))
"""Room versions before 12, in which who made a room has no power but what its state gives."""

JOIN_SECONDS: Final = 10
"""How long a running agent may take to accept a pinned operator's invitation, after the pin too."""


async def rooms(config: Config, homeserver: Homeserver) -> AsyncIterator[Check]:
    """Yield one check for each configured room; none while it isn't known who may be there."""
    try:
        who = operators_of(config)
    except StoreDamaged:  # which was told of the operators
        return
    invitations = await _waiting_invitations(config, homeserver, who)
    for room_id in config.rooms:
        yield await _room(config, homeserver, who, room_id, invitations.get(room_id))


async def _invitations(config: Config, homeserver: Homeserver) -> dict[str, str]:
    """Return who has invited the agent where; none if that can't be asked."""
    with contextlib.suppress(MatrixError):
        return await sync.invitations(homeserver, config.rooms, config.user_id)
    return {}


async def _waiting_invitations(
    config: Config, homeserver: Homeserver, who: Operators
) -> dict[str, str]:
    """Return the invitations that are left when the agent had the time to accept what it may."""
    pins = who.pins()
    for _ in range(JOIN_SECONDS):
        invitations = await _invitations(config, homeserver)
        if pins.keys().isdisjoint(invitations.values()):
            return invitations
        await asyncio.sleep(1)
    return await _invitations(config, homeserver)


async def _room(
    config: Config, homeserver: Homeserver, who: Operators, room_id: str, inviter: str | None
) -> Check:
    name = f"room {room_id}"
    path = f"{CLIENT}/rooms/{quoted(room_id)}"
    if inviter is not None:
        detail = f"not joined; {one_line(inviter)} has invited the agent"
        if inviter in who.pins():
            fix = "have the agent run, which then joins: systemctl status tibet-nc-agent"
        else:
            detail += ", and must be pinned"
            fix = f"tibet-nc-agent trust {one_line(inviter)}"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    try:
        members = await _members(homeserver, path)
        encryption = await _state(homeserver, path, "m.room.encryption")
        tombstone = await _state(homeserver, path, "m.room.tombstone")
        powers = await _state(homeserver, path, "m.room.power_levels")
        creation = await _state(homeserver, path, "m.room.create", "?format=event")
    except Refused as error:
        fix = f"have an operator who is pinned invite {config.user_id} there"
        return Check(name=name, ok=False, detail=str(error), fix=fix)
    except MatrixError as error:
        return Check(name=name, ok=False, detail=str(error), fix="try again")
    if encryption is None:
        fix = "encrypt it in its settings; nothing is said in an unencrypted room"
        return Check(name=name, ok=False, detail="it is not encrypted", fix=fix)
    if tombstone is not None:
        detail = f"upgraded: its place has {one_line(as_text(tombstone.get('replacement_room')))}"
        fix = "set that room in agent.toml and executor.toml, and have a pinned operator invite"
        return Check(name=name, ok=False, detail=detail, fix=f"{fix} {config.user_id} there")
    has, needs = _power(powers or {}, config.user_id)
    if has < needs and config.user_id not in _creators(creation or {}):
        detail = f"no answer can be sent there: the agent's power level is {has}, {needs} is needed"
        fix = f"give {config.user_id} that level in the room's settings"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    strangers = sorted(members - who.members() - {config.user_id})
    if strangers:
        detail = (
            "nothing runs and nothing is said there, since it has members that are no operators: "
            f"{', '.join(map(one_line, strangers[:3]))}"
        )
        fix = f"remove them from the room, or: tibet-nc-agent trust {one_line(strangers[0])}"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    algorithm = as_text(encryption.get("algorithm"))
    told = counted(len(members), "member")
    return Check(name=name, ok=True, detail=f"joined, {told}, {algorithm}")


async def _members(homeserver: Homeserver, path: str) -> set[str]:
    """Return who is in a room or invited to it, which is enough to read there."""
    answer = await homeserver.once("GET", f"{path}/members?not_membership=leave")
    events = [as_object(event) for event in as_list(answer.get("chunk"))]
    room = Room(path, encrypted=False)
    room.apply(events)
    return set(room.members)


async def _state(
    homeserver: Homeserver, path: str, event_type: str, query: str = ""
) -> JsonObject | None:
    """Return one piece of a room's state, its content unless asked otherwise; None without one."""
    try:
        return await homeserver.once("GET", f"{path}/state/{event_type}{query}")
    except Refused as error:
        if error.code == "M_NOT_FOUND":
            return None
        raise


def _power(powers: JsonObject, user_id: str) -> tuple[int, int]:
    """Return which power level a user has, and which one an encrypted message needs.

    Client-Server API v1.16, §m.room.power_levels.
    """
    default = _level(powers.get("users_default"), 0)
    has = _level(as_object(powers.get("users")).get(user_id), default)
    default = _level(powers.get("events_default"), 0)
    return has, _level(as_object(powers.get("events")).get("m.room.encrypted"), default)


def _creators(creation: JsonObject) -> frozenset[str]:
    """Return whose power in a room is without limit, as the event says that made the room.

    Specification v1.16, room version 12. A homeserver that doesn't give the whole event is older.
    """
    content = as_object(creation.get("content"))
    if as_text(content.get("room_version", "1")) in _WITHOUT_CREATORS:
        return frozenset()
    named = map(as_text, as_list(content.get("additional_creators")))
    return frozenset({as_text(creation.get("sender")), *named})


def _level(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
