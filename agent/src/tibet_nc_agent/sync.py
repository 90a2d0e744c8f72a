# SPDX-License-Identifier: MIT
"""What a ``/sync`` answer says, read from any JSON, and the messages that it left out.

A homeserver leaves out the older part when much has happened ("limited"); that part is fetched
from ``/messages``, backwards, until the token of the previous sync. Messages from before the
agent joined a room are not for the agent, and are cut off.
"""

import asyncio
import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

import msgspec

from tibet_nc_agent.canonical import Json, JsonObject, as_count, as_list, as_object, as_text
from tibet_nc_agent.extract import cost, extract
from tibet_nc_agent.homeserver import CLIENT, Homeserver, quoted
from tibet_nc_agent.matrix_errors import AnswerTooLarge, Refused, Unreachable
from tibet_nc_agent.olm_messages import SIGNED_CURVE25519

POLL_MS: Final = 30_000
"""How long the homeserver holds a request when there is nothing new."""

POLL_SLACK_SECONDS: Final = 60.0
"""How much later an answer may come before the connection counts as dead."""

TIMELINE_EVENTS: Final = 500
"""Most events of one room in one answer. The default of 10 lost commands when many came."""

PAGE_EVENTS: Final = 500
GAP_EVENTS: Final = 5_000
"""Most events that are fetched to fill a gap; commands that old are refused as stale anyway."""

GAP_COST: Final = 32 * 1024 * 1024
"""Most memory that they take, in bytes."""

GAP_PAGES: Final = 50
"""Most requests that fill a gap: a homeserver may give few events a page, or the same ones for
ever."""

GAP_SECONDS: Final = 120.0
"""How long the gaps of one answer may take: nothing else is received meanwhile, and a homeserver
can fail over one room's history for good."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RoomUpdate:
    """What happened in one joined room; ``gap_start`` is where the older part begins, if any.

    It is ``cut`` if there were more events than were asked for, whose older ones are not there.
    """

    room_id: str
    state: tuple[JsonObject, ...]
    timeline: tuple[JsonObject, ...]
    gap_start: str | None
    cut: bool = False


@dataclass(frozen=True, kw_only=True)
class Sync:
    """One ``/sync`` answer, as far as the agent cares.

    ``one_time_keys`` is how many are left on the homeserver, and ``has_fallback_key`` whether an
    unused fallback key is; None means that it didn't say.
    """

    token: str
    to_device: tuple[JsonObject, ...]
    rooms: tuple[RoomUpdate, ...]
    invites: tuple[tuple[str, str], ...]
    left: tuple[str, ...]
    changed_users: tuple[str, ...]
    one_time_keys: int | None
    has_fallback_key: bool | None


async def fetch(
    homeserver: Homeserver,
    *,
    user_id: str,
    since: str | None,
    full_state: bool,
    timeline_events: int,
) -> Sync:
    """Wait for news after ``since``; returns at once with ``full_state``.

    Raises as :meth:`Homeserver.request`, and :class:`Unreachable` if the answer is none, which is
    :class:`AnswerTooLarge` if it is too large.
    """
    nothing: JsonObject = {"types": []}
    choice: JsonObject = {
        "room": {
            "timeline": {"limit": timeline_events},
            "ephemeral": nothing,
            "account_data": nothing,
        },
        "presence": nothing,
        "account_data": nothing,
    }
    query = {"filter": msgspec.json.encode(choice).decode(), "timeout": str(POLL_MS)}
    if since is not None:
        query["since"] = since
    if full_state:
        query |= {"full_state": "true", "timeout": "0"}
    answer = await homeserver.request(
        "GET",
        f"{CLIENT}/sync?{urlencode(query)}",
        seconds=POLL_MS / 1000 + POLL_SLACK_SECONDS,
        can_ask_less=True,
    )
    return read(answer, user_id)


def read(answer: JsonObject, user_id: str) -> Sync:
    """Read a ``/sync`` answer of any shape; raises :class:`Unreachable` without ``next_batch``."""
    token = as_text(answer.get("next_batch"))
    if not token:
        raise Unreachable("the homeserver's answer to a sync has no token")
    rooms = as_object(answer.get("rooms"))
    counts = answer.get("device_one_time_keys_count")
    fallbacks = answer.get("device_unused_fallback_key_types")
    changed = as_list(as_object(answer.get("device_lists")).get("changed"))
    return Sync(
        token=token,
        to_device=_events(answer.get("to_device")),
        rooms=tuple(
            _room(room_id, as_object(room))
            for room_id, room in as_object(rooms.get("join")).items()
        ),
        invites=tuple(
            (room_id, inviter)
            for room_id, room in as_object(rooms.get("invite")).items()
            if (inviter := _inviter(as_object(room), user_id))
        ),
        left=tuple(as_object(rooms.get("leave"))),
        changed_users=tuple(as_text(user) for user in changed if as_text(user)),
        one_time_keys=(
            as_count(counts.get(SIGNED_CURVE25519, 0)) if isinstance(counts, dict) else None
        ),
        has_fallback_key=SIGNED_CURVE25519 in fallbacks if isinstance(fallbacks, list) else None,
    )


async def invitations(
    homeserver: Homeserver, rooms: Collection[str], user_id: str
) -> dict[str, str]:
    """Return who invited us to each of the rooms that an invitation is open for, by room.

    Raises as :meth:`Homeserver.once`. It stands beside the running sync and moves nothing on.
    """
    nothing: JsonObject = {"types": []}
    # Synapse gives an equal request the answer of minutes ago, so no two of ours are equal.
    never = f"!{secrets.token_hex(8)}:invalid"
    choice: JsonObject = {
        "room": {
            "rooms": list(rooms),
            "not_rooms": [never],
            "timeline": {"limit": 1},
            "ephemeral": nothing,
        },
        "presence": nothing,
        "account_data": nothing,
    }
    query = {"filter": msgspec.json.encode(choice).decode(), "timeout": "0"}
    answer = await homeserver.once("GET", f"{CLIENT}/sync?{urlencode(query)}")
    return {room: sender for room, sender in read(answer, user_id).invites if room in rooms}


async def fill_gap(
    homeserver: Homeserver, update: RoomUpdate, *, user_id: str, since: str, until: float
) -> tuple[RoomUpdate, bool]:
    """Return the update with the left-out messages before its own, and whether they are all there.

    ``until`` is a time of the event loop's clock. Raises as :meth:`Homeserver.request`, but for a
    refusal: then, and when the time is over, nothing more can be had.
    """
    position, older = update.gap_start, list[JsonObject]()
    limit, left = PAGE_EVENTS, GAP_COST
    known = {as_text(event.get("event_id")) for event in update.timeline}
    for _ in range(GAP_PAGES):
        if position is None or len(older) >= GAP_EVENTS or left < 0:
            break
        query = {"from": position, "to": since, "dir": "b", "limit": str(limit)}
        path = f"{CLIENT}/rooms/{quoted(update.room_id)}/messages?{urlencode(query)}"
        try:
            async with asyncio.timeout_at(until):
                page = await homeserver.request("GET", path, can_ask_less=True)
        except AnswerTooLarge as error:
            _log.warning("messages of %s: %s", update.room_id, error)
            limit = max(1, limit // 2)
            continue
        except (Refused, TimeoutError) as error:
            reason = error if isinstance(error, Refused) else "it takes too long"
            _log.warning("messages of %s can't be had: %s", update.room_id, reason)
            break
        chunk = [extract(as_object(event)) for event in as_list(page.get("chunk"))]
        new = [event for event in chunk if as_text(event.get("event_id")) not in known]
        older += new
        left -= sum(map(cost, new))
        following = as_text(page.get("end"))
        done = not chunk or not following or any(_is_own_join(event, user_id) for event in chunk)
        position = None if done else following
    older.reverse()
    timeline = (*older, *update.timeline)
    return replace(update, timeline=timeline, gap_start=None), position is None


def after_own_join(update: RoomUpdate, user_id: str) -> RoomUpdate:
    """Return the update without messages from before the agent's own joining, if that is in it."""
    timeline = update.timeline
    for index in range(len(timeline) - 1, -1, -1):
        if _is_own_join(timeline[index], user_id):
            earlier = (event for event in timeline[:index] if "state_key" in event)
            return replace(update, state=(*update.state, *earlier), timeline=timeline[index:])
    return update


def _is_own_join(event: JsonObject, user_id: str) -> bool:
    if event.get("type") != "m.room.member" or event.get("state_key") != user_id:
        return False
    before = as_object(as_object(event.get("unsigned")).get("prev_content"))
    membership = as_object(event.get("content")).get("membership")
    return membership == "join" and before.get("membership") != "join"


def _events(value: Json) -> tuple[JsonObject, ...]:
    events = as_list(as_object(value).get("events"))
    return tuple(event for event in events if isinstance(event, dict))


def _room(room_id: str, room: JsonObject) -> RoomUpdate:
    timeline = as_object(room.get("timeline"))
    gap_start = as_text(timeline.get("prev_batch")) if timeline.get("limited") is True else ""
    events = tuple(map(extract, _events(timeline)))
    older, newest = events[:-TIMELINE_EVENTS], events[-TIMELINE_EVENTS:]
    return RoomUpdate(
        room_id=room_id,
        state=(
            *map(extract, _events(room.get("state"))),
            *(event for event in older if "state_key" in event),
        ),
        timeline=newest,
        gap_start=gap_start or None,
        cut=bool(older),
    )


def _inviter(room: JsonObject, user_id: str) -> str:
    for event in _events(room.get("invite_state")):
        membership = as_object(event.get("content")).get("membership")
        invited = event.get("state_key") == user_id and membership == "invite"
        if event.get("type") == "m.room.member" and invited:
            return as_text(event.get("sender"))
    return ""
