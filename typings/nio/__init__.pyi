# SPDX-License-Identifier: MIT
# What is used of matrix-nio, whose package doesn't say that it has types, and leaves out many. The
# clients of the tests use these names; the agent those of the modules below.

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import aiohttp
from nio.crypto import DeviceStore, Olm
from nio.events import Event as Event
from nio.events import InviteEvent as InviteEvent
from nio.events import MegolmEvent as MegolmEvent
from nio.events import RoomMessageText as RoomMessageText
from nio.exceptions import EncryptionError as EncryptionError
from nio.responses import LoginResponse as LoginResponse
from nio.responses import RoomSendResponse as RoomSendResponse
from nio.responses import SyncResponse as SyncResponse
from nio.store import SqliteStore

class MatrixUser:
    invited: bool

class MatrixRoom:
    room_id: str
    encrypted: bool
    users: dict[str, MatrixUser]

class AsyncClientConfig:
    def __init__(self, *, pickle_key: str) -> None: ...

class AsyncClient:
    homeserver: str
    user_id: str
    device_id: str
    access_token: str
    next_batch: str
    rooms: dict[str, MatrixRoom]
    olm: Olm  # there is none before a login
    store: SqliteStore | None
    def __init__(
        self, homeserver: str, user: str, *, store_path: str, config: AsyncClientConfig
    ) -> None: ...
    @property
    def device_store(self) -> DeviceStore: ...
    @property
    def should_upload_keys(self) -> bool: ...
    @property
    def should_query_keys(self) -> bool: ...
    @property
    def should_claim_keys(self) -> bool: ...
    def get_users_for_key_claiming(self) -> dict[str, list[str]]: ...
    def invalidate_outbound_session(self, room_id: str) -> None: ...
    def decrypt_event(self, event: MegolmEvent) -> Event: ...
    def add_event_callback[E: Event](
        self, callback: Callable[[MatrixRoom, E], Awaitable[None]], kind: type[E], /
    ) -> None: ...
    async def login(self, password: str, device_name: str) -> object: ...
    async def join(self, room_id: str) -> object: ...
    async def keys_upload(self) -> object: ...
    async def keys_query(self) -> object: ...
    async def keys_claim(self, user_set: Mapping[str, Iterable[str]]) -> object: ...
    async def send_to_device_messages(self) -> object: ...
    async def room_send(
        self,
        room_id: str,
        message_type: str,
        content: dict[str, Any],
        tx_id: str | None = None,
        ignore_unverified_devices: bool = False,
    ) -> object: ...
    async def send(
        self,
        method: str,
        path: str,
        data: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> aiohttp.ClientResponse: ...
    async def sync(
        self, timeout_ms: int, sync_filter: Mapping[str, Any], /, *, full_state: bool
    ) -> object: ...
    async def sync_forever(
        self, timeout_ms: int, sync_filter: Mapping[str, Any], /, *, full_state: bool
    ) -> None: ...
    async def close(self) -> None: ...
