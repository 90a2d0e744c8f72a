# SPDX-License-Identifier: MIT

from nio.events import Event

from tibet_nc_agent.canonical import JsonObject

class Response: ...

class KeysClaimResponse(Response):
    def __init__(self, one_time_keys: object, failures: JsonObject) -> None: ...

class KeysQueryResponse(Response):
    changed: dict[str, object]
    def __init__(self, device_keys: object, failures: JsonObject) -> None: ...

class KeysUploadResponse(Response):
    def __init__(self, curve25519_count: int, signed_curve25519_count: int) -> None: ...

class ToDeviceResponse(Response):
    def __init__(self, to_device_message: object) -> None: ...

class LoginResponse(Response): ...

class RoomSendResponse(Response):
    event_id: str

class Timeline:
    events: list[Event]

class RoomInfo:
    timeline: Timeline

class Rooms:
    join: dict[str, RoomInfo]

class SyncResponse(Response):
    rooms: Rooms
