# SPDX-License-Identifier: MIT
"""Who is in a room, whether it is encrypted, and what replaced it, by its state events; no I/O.

Facts. Invited users count as members: they can read what is said once they join. A room that was
encrypted stays encrypted for us, whatever its state says later. Membership is read from the raw
events: nio passes over a member whose event it finds malformed, and such a member could read on.
"""

from collections.abc import Iterable

from tibet_nc_agent.canonical import JsonObject, as_object, as_text


class Room:
    """One joined room; ``members`` tells for each user id whether it is only invited so far.

    ``replacement`` is the room that has its place since an upgrade, None before one.
    """

    def __init__(self, room_id: str, *, encrypted: bool) -> None:
        self.room_id = room_id
        self.encrypted = encrypted
        self.members: dict[str, bool] = {}
        self.replacement: str | None = None

    def apply(self, events: Iterable[JsonObject]) -> None:
        """Apply state events in order."""
        for event in events:
            state_key = event.get("state_key")
            if not isinstance(state_key, str):
                continue
            if event.get("type") == "m.room.encryption" and state_key == "":
                self.encrypted = True
            elif event.get("type") == "m.room.tombstone" and state_key == "":
                self.replacement = as_text(as_object(event.get("content")).get("replacement_room"))
            elif event.get("type") == "m.room.member":
                membership = as_text(as_object(event.get("content")).get("membership"))
                if membership in {"join", "invite"}:
                    self.members[state_key] = membership == "invite"
                else:
                    self.members.pop(state_key, None)

    def strangers(self, allowed: frozenset[str]) -> tuple[str, ...]:
        """Return the members that are not among ``allowed``."""
        return tuple(sorted(user for user in self.members if user not in allowed))
