# SPDX-License-Identifier: MIT
"""What is kept of a room's event: what the agent reads, and no more than an event may have.

A homeserver chooses how large an answer is and how it is made up, and small values take many times
what they are written with: ``[]`` has 56 bytes in memory. So what waits here is counted by its cost
and not by number.
"""

import json
import sys
from typing import Final

from tibet_nc_agent.canonical import Json, JsonObject, as_count, as_object

EVENT_COST: Final = 320 * 1024
"""Most that an event costs: it has 64 KiB (Client-Server API v1.16, §Size limits), and a text in
memory up to four times its UTF-8."""

OVERSIZED: Final = "oversized"
"""Stands in what is kept of an event that is larger than any may be, and whose content is not."""

_VALUE_BYTES: Final = 100
"""What a value takes beside its text."""

_NAME_CHARACTERS: Final = 1024
"""Longer than any name in an envelope may be: those have at most 255 bytes."""

_ENVELOPE: Final = ("type", "event_id", "sender", "state_key")
_STATE: Final = ("membership", "replacement_room")


def cost(value: Json) -> int:
    """Return about how many bytes a value takes in memory."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:  # no client makes that
        return sys.maxsize
    return sys.getsizeof(text) + _VALUE_BYTES * sum(map(text.count, ",[{"))


def extract(event: JsonObject) -> JsonObject:
    """Return what is kept of an event of a room's state or timeline."""
    kept: JsonObject = {key: _name(event[key]) for key in _ENVELOPE if key in event}
    if "origin_server_ts" in event:
        kept["origin_server_ts"] = as_count(event["origin_server_ts"])
    if "unsigned" in event:
        unsigned = as_object(event["unsigned"])
        before = as_object(unsigned.get("prev_content"))
        kept["unsigned"] = {
            "age": as_count(unsigned.get("age")),
            "prev_content": {"membership": _name(before.get("membership"))},
        }
    if "content" in event:
        content = event["content"]
        if "state_key" in event:
            stated = as_object(content)
            kept["content"] = {key: _name(stated[key]) for key in _STATE if key in stated}
        elif cost(content) <= EVENT_COST:
            kept["content"] = content
        else:
            kept[OVERSIZED] = True
    return kept


def _name(value: Json) -> Json:
    return value if isinstance(value, str) and len(value) <= _NAME_CHARACTERS else None
