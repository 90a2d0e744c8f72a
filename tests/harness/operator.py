# SPDX-License-Identifier: MIT
"""A human operator's client, driven by tests and the demo: plain nio with an encrypted store.

    async with await Operator.login(url, "@op:example.org", password) as operator:
        room_id = await operator.create_room(invite=["@bot:example.org"])
        await operator.wait_member(room_id, "@bot:example.org")
        command = await operator.send_text(room_id, "$ uptime")
        answer = await operator.answer_to(command)

It has a cross-signing identity, which signs the device it logs in as, as Element does. It trusts
every device it sees, and it is not hardened: a batch with an event that crashes nio is
skipped. Every login is a new device; its store lives in a temporary directory and goes with it.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nio import (
    AsyncClient,
    AsyncClientConfig,
    EncryptionError,
    Event,
    LoginResponse,
    MegolmEvent,
    RoomSendResponse,
    SyncResponse,
)
from nio.crypto.attachments import decrypt_attachment

from tibet_nc_agent.canonical import as_object
from tibet_nc_agent.crosssign import CrossSigning, Use, bootstrap
from tibet_nc_agent.homeserver import Homeserver

RESULT_KEY: Final = "nc.tibet.result"
"""Where an answer of the agent carries its machine-readable part."""

WAIT_SECONDS: Final = 60.0
"""How long the waiting methods wait unless told otherwise."""

_FILTER: Final[dict[str, Any]] = {
    "room": {"timeline": {"limit": 500}, "ephemeral": {"types": []}},
    "presence": {"types": []},
}

logging.getLogger("nio").setLevel(logging.ERROR)


def new_identity() -> CrossSigning:
    """Make a cross-signing identity, which lives as long as the object."""
    with tempfile.TemporaryDirectory(prefix="identity-") as directory:
        return CrossSigning.open(Path(directory) / "keys", secrets.token_bytes(32))


class OperatorError(Exception):
    """The homeserver refused what the operator wanted."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One event of a room as the operator sees it, decrypted if it was encrypted.

    ``type`` stays ``m.room.encrypted`` while no key has arrived. ``sent_ms`` is the homeserver's
    time. ``source`` is the whole event.
    """

    room_id: str
    event_id: str
    sender: str
    type: str
    content: dict[str, Any]
    decrypted: bool
    sent_ms: int
    source: dict[str, Any]

    @property
    def body(self) -> str:
        """The text of a message, "" for anything else."""
        return str(self.content.get("body", ""))

    @property
    def result(self) -> dict[str, Any]:
        """The machine-readable part of an answer, {} when there is none."""
        return as_object(self.content.get(RESULT_KEY))

    @property
    def replaces(self) -> str | None:
        """The id of the event that this one edits."""
        relation = as_object(self.content.get("m.relates_to"))
        if relation.get("rel_type") == "m.replace":
            return str(relation.get("event_id"))
        return None


class Operator:
    """A logged-in client; make one with :meth:`login`, end it with :meth:`close` or ``async with``.

    ``events`` holds everything seen so far in all rooms, in the order of arrival; an event that
    couldn't be decrypted at first is appended again once it can be. ``client`` is nio's own, for
    what this class doesn't offer.
    """

    def __init__(
        self,
        client: AsyncClient,
        password: str,
        store: tempfile.TemporaryDirectory[str],
        identity: CrossSigning,
    ) -> None:
        self.client: Final = client
        self.password: Final = password
        self.identity = identity
        self.events: Final[list[Seen]] = []
        self._store = store
        self._sending = asyncio.Lock()
        self._news = asyncio.Condition()
        self._undecrypted: list[tuple[str, MegolmEvent]] = []
        self._loop: asyncio.Task[None] | None = None

    @classmethod
    async def login(
        cls,
        url: str,
        user_id: str,
        password: str,
        *,
        identity: CrossSigning | None = None,
        signed: bool = True,
    ) -> Self:
        """Log in as a new device, upload its keys and start to sync.

        The account's ``identity``, a new one by default, signs the device unless ``signed`` is
        false. An account has one identity: give that of the first login to further ones. Raises
        :class:`OperatorError` when the homeserver refuses.
        """
        store = tempfile.TemporaryDirectory(prefix="operator-")
        client = AsyncClient(
            url,
            user_id,
            store_path=store.name,
            config=AsyncClientConfig(pickle_key=secrets.token_hex(16)),
        )
        operator = cls(client, password, store, identity or new_identity())
        try:
            await operator._log_in(password)
            if signed:
                await operator.sign_device()
            await operator._sync(0)
        except BaseException:
            await operator.close()
            raise
        operator._loop = asyncio.create_task(operator._sync_forever(), name=f"sync of {user_id}")
        return operator

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop to sync and forget everything; the device stays known to the homeserver."""
        if self._loop is not None:
            self._loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop
        await self.client.close()
        if self.client.store is not None:
            self.client.store.database.close()
        self._store.cleanup()

    @property
    def user_id(self) -> str:
        """The whole Matrix id."""
        return str(self.client.user_id)

    @property
    def device_id(self) -> str:
        """The device of this login."""
        return str(self.client.device_id)

    @property
    def master_key(self) -> str:
        """The key that a host pins, unpadded base64."""
        return self.identity.public_key(Use.MASTER)

    async def sign_device(self) -> None:
        """Have the account's identity sign this device; raises MatrixError."""
        homeserver = Homeserver(self.client.homeserver, proxy=None)
        homeserver.token = self.client.access_token
        try:
            await bootstrap(
                homeserver,
                self.identity,
                user_id=self.user_id,
                device_id=self.device_id,
                device_key=str(self.client.olm.account.identity_keys["ed25519"]),
                device_sign=lambda data: str(self.client.olm.account.sign(data.decode())),
                password=self.password,
            )
        finally:
            await homeserver.close()

    async def reset_identity(self) -> None:
        """Give the account a new cross-signing identity, which signs this device."""
        self.identity = new_identity()
        objects = self.identity.key_objects(self.user_id)
        body: dict[str, Any] = {f"{use}_key": value for use, value in objects.items()}
        path = "/_matrix/client/v3/keys/device_signing/upload"
        status, answer = await self.request("POST", path, body)
        if status == 401:
            body["auth"] = {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": self.user_id},
                "password": self.password,
                "session": answer["session"],
            }
            status, answer = await self.request("POST", path, body)
        if status != 200:
            raise OperatorError(f"new identity: {status} {answer}")
        await self.sign_device()

    async def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send any request of the client-server API; returns HTTP status and JSON object."""
        answer = await self.client.send(
            method,
            path,
            None if body is None else json.dumps(body),
            {
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self.client.access_token}",
            },
        )
        return answer.status, await answer.json()

    async def create_room(self, *, invite: Iterable[str] = (), encrypted: bool = True) -> str:
        """Create a private room and return its id once this client knows it."""
        encryption = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        body = await self._expect(
            "POST",
            "/_matrix/client/v3/createRoom",
            {
                "preset": "private_chat",
                "invite": list(invite),
                "initial_state": [encryption] if encrypted else [],
            },
        )
        room_id = str(body["room_id"])
        await self._until(lambda: self._knows(room_id, encrypted=encrypted))
        return room_id

    async def join(self, room_id: str) -> None:
        """Join a room that this user is invited to, and wait until this client knows it."""
        await self._expect("POST", f"/_matrix/client/v3/join/{room_id}", {})
        await self._until(lambda: self._knows(room_id, encrypted=False))

    async def leave(self, room_id: str) -> None:
        """Leave a room."""
        await self._expect("POST", f"/_matrix/client/v3/rooms/{room_id}/leave", {})

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite a user to a room."""
        path = f"/_matrix/client/v3/rooms/{room_id}/invite"
        await self._expect("POST", path, {"user_id": user_id})

    async def kick(self, room_id: str, user_id: str) -> None:
        """Remove a user from a room."""
        path = f"/_matrix/client/v3/rooms/{room_id}/kick"
        await self._expect("POST", path, {"user_id": user_id})

    async def set_state(
        self, room_id: str, event_type: str, content: Mapping[str, Any], state_key: str = ""
    ) -> str:
        """Set a state event and return its id."""
        path = f"/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}"
        return str((await self._expect("PUT", path, content))["event_id"])

    async def wait_member(self, room_id: str, user_id: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until ``user_id`` has joined; a message sent before would be unreadable to it."""

        def joined() -> bool:
            room = self.client.rooms.get(room_id)
            user = None if room is None else room.users.get(user_id)
            return user is not None and not user.invited

        await self._until(joined, seconds)

    async def send_text(self, room_id: str, body: str) -> str:
        """Send an ``m.text`` message, encrypted if the room is, and return its event id."""
        return await self.send(room_id, {"msgtype": "m.text", "body": body})

    async def send(
        self,
        room_id: str,
        content: Mapping[str, Any],
        *,
        event_type: str = "m.room.message",
        txn_id: str | None = None,
    ) -> str:
        """Send any event, encrypted if the room is, and return its event id.

        Sends of one operator arrive in the order of the calls. Raises :class:`OperatorError`
        when the homeserver refuses.
        """
        async with self._sending:
            if self.client.should_query_keys:
                await self.client.keys_query()
            answer = await self.client.room_send(
                room_id, event_type, dict(content), tx_id=txn_id, ignore_unverified_devices=True
            )
        if not isinstance(answer, RoomSendResponse):
            raise OperatorError(f"send: {answer}")
        return str(answer.event_id)

    async def send_unencrypted(
        self, room_id: str, content: Mapping[str, Any], *, event_type: str = "m.room.message"
    ) -> str:
        """Send an event as it stands, past the encryption of the room; returns its event id."""
        path = f"/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{secrets.token_hex(8)}"
        return str((await self._expect("PUT", path, content))["event_id"])

    async def edit(self, room_id: str, event_id: str, body: str) -> str:
        """Replace the text of one of our messages; returns the id of the edit."""
        return await self.send(
            room_id,
            {
                "msgtype": "m.text",
                "body": f"* {body}",
                "m.new_content": {"msgtype": "m.text", "body": body},
                "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
            },
        )

    async def wait(self, wanted: Callable[[Seen], bool], seconds: float = WAIT_SECONDS) -> Seen:
        """Return the first event, seen already or yet to come, for which ``wanted`` is true.

        Raises :class:`TimeoutError`.
        """
        looked = 0

        def found() -> Seen | None:
            nonlocal looked
            while looked < len(self.events):
                looked += 1
                if wanted(self.events[looked - 1]):
                    return self.events[looked - 1]
            return None

        return await self._until(found, seconds)

    async def answer_to(self, event_id: str, seconds: float = WAIT_SECONDS) -> Seen:
        """Wait for the final answer to the command ``event_id``; raises :class:`TimeoutError`."""
        return await self.wait(lambda seen: is_final_answer(seen, event_id), seconds)

    def answers_to(self, event_id: str) -> list[Seen]:
        """All final answers to the command ``event_id`` seen so far; there must be one at most."""
        return [seen for seen in self.events if is_final_answer(seen, event_id)]

    def edits_of(self, event_id: str) -> list[Seen]:
        """All edits of an event seen so far, oldest first."""
        return [seen for seen in self.events if seen.replaces == event_id]

    async def download(self, seen: Seen) -> bytes:
        """Fetch the attachment of a message and decrypt it if it is encrypted.

        Raises :class:`OperatorError` when there is none or the homeserver refuses, and nio's
        ``EncryptionError`` when the bytes are not those that the message promises.
        """
        encrypted = seen.content.get("file")
        url = encrypted["url"] if encrypted else seen.content.get("url")
        if not isinstance(url, str):
            raise OperatorError("the message has no attachment")
        media = url.removeprefix("mxc://")
        answer = await self.client.send(
            "GET",
            f"/_matrix/client/v1/media/download/{media}",
            headers={"Authorization": f"Bearer {self.client.access_token}"},
        )
        data = await answer.read()
        if answer.status != 200:
            raise OperatorError(f"download: {answer.status} {data[:200]!r}")
        if encrypted:
            data = decrypt_attachment(
                data, encrypted["key"]["k"], encrypted["hashes"]["sha256"], encrypted["iv"]
            )
        return bytes(data)

    async def _log_in(self, password: str) -> None:
        answer = await self.client.login(password, device_name="operator")
        if not isinstance(answer, LoginResponse):
            raise OperatorError(f"login: {answer}")
        await self.client.keys_upload()

    def _knows(self, room_id: str, *, encrypted: bool) -> bool:
        room = self.client.rooms.get(room_id)
        return room is not None and (room.encrypted or not encrypted)

    async def _until[T](
        self, condition: Callable[[], T | None], seconds: float = WAIT_SECONDS
    ) -> T:
        """Look at ``condition`` after every sync until it is true."""
        async with asyncio.timeout(seconds), self._news:
            while not (value := condition()):
                await self._news.wait()
            return value

    async def _expect(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        status, answer = await self.request(method, path, body)
        if status != 200:
            raise OperatorError(f"{method} {path}: {status} {answer}")
        return answer

    async def _sync_forever(self) -> None:
        while True:
            try:
                await self._sync(30_000)
            except Exception:  # nio has lost this batch; the next may be good
                logging.getLogger(__name__).exception("a batch was lost")
            async with self._news:
                self._news.notify_all()

    async def _sync(self, timeout_ms: int) -> None:
        client = self.client
        batch = await client.sync(timeout_ms, _FILTER, full_state=not client.next_batch)
        if not isinstance(batch, SyncResponse):
            await asyncio.sleep(0.2)
            return
        for room_id, joined in batch.rooms.join.items():
            for event in joined.timeline.events:
                self._see(room_id, event)
        for room_id, event in self._undecrypted[:]:
            with contextlib.suppress(EncryptionError):
                decrypted = client.decrypt_event(event)
                self._undecrypted.remove((room_id, event))
                self._see(room_id, decrypted)
        if client.should_upload_keys:
            await client.keys_upload()
        if client.should_query_keys:
            await client.keys_query()
        if client.should_claim_keys:
            await client.keys_claim(client.get_users_for_key_claiming())
        await client.send_to_device_messages()

    def _see(self, room_id: str, event: Event) -> None:
        if isinstance(event, MegolmEvent):
            self._undecrypted.append((room_id, event))
        source = event.source
        self.events.append(
            Seen(
                room_id=room_id,
                event_id=str(source.get("event_id", "")),
                sender=str(source.get("sender", "")),
                type=str(source.get("type", "")),
                content=dict(source.get("content") or {}),
                decrypted=bool(getattr(event, "decrypted", False)),
                sent_ms=int(source.get("origin_server_ts", 0)),
                source=source,
            )
        )


def is_final_answer(seen: Seen, event_id: str) -> bool:
    """Whether an event is the final answer to the command ``event_id``."""
    return (
        seen.replaces is None
        and seen.result.get("event_id") == event_id
        and seen.result.get("final") is True
    )
