# SPDX-License-Identifier: MIT

from typing import Any

from tibet_nc_agent.canonical import JsonObject

class Event:
    source: dict[str, Any]
    event_id: str
    sender: str

class InviteEvent(Event): ...
class MegolmEvent(Event): ...
class RoomMessageText(Event): ...

class ToDeviceEvent:
    @classmethod
    def parse_event(cls, event_dict: JsonObject) -> object: ...

class OlmEvent(ToDeviceEvent): ...
