# SPDX-License-Identifier: MIT
"""A homeserver that does as it likes: stands before the real one and changes what passes.

    async with Proxy(synapse.url) as proxy:
        proxy.refuse("/sendToDevice/", status=403, times=1)
        proxy.rewrite("/keys/query", lambda body: {**body, "master_keys": {}})
        reached = proxy.hang(3, heard=True)  # and the client can be killed then

Clients use ``proxy.url``. Whatever no rule names passes unchanged. A rule that nothing came of by
the end is an error: then no attack took place, and what withstood it has shown nothing.
"""

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL

from tests.serving import serving

type Change = Callable[[dict[str, Any]], dict[str, Any] | Awaitable[dict[str, Any]]]

LARGEST_REQUEST: Final = 64 * 1024 * 1024


@dataclass
class _Refusal:
    part: str
    status: int
    body: dict[str, Any]
    times: int
    idle: bool = True


@dataclass
class _Rewriting:
    part: str
    change: Change
    idle: bool = True


@dataclass
class _Hang:
    number: int
    heard: bool
    reached: asyncio.Event


class Proxy:
    """A reverse proxy on a free loopback port; rules match by a part of the path.

    ``seen`` lists the method and path of every request, in order.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._refusals: list[_Refusal] = []
        self._changes: list[_Rewriting] = []
        self._given: list[_Refusal | _Rewriting] = []
        self._hang: _Hang | None = None
        self._closing = asyncio.Event()
        self._came = asyncio.Condition()
        self._resources = AsyncExitStack()
        self._session: ClientSession | None = None
        self.seen: Final[list[tuple[str, str]]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=LARGEST_REQUEST)
        app.router.add_route("*", "/{path:.*}", self._handle)
        session = ClientSession(timeout=ClientTimeout(total=120))
        self._session = await self._resources.enter_async_context(session)
        self.url = f"http://127.0.0.1:{await self._resources.enter_async_context(serving(app))}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        await self._resources.aclose()
        idle = [f"{type(rule).__name__} {rule.part}" for rule in self._given if rule.idle]
        assert error is not None or not idle, f"nothing came of {idle}"

    def refuse(
        self, part: str, *, status: int, body: dict[str, Any] | None = None, times: int = 1
    ) -> None:
        """Answer the next ``times`` requests whose path has ``part`` in it, without passing on."""
        body = body if body is not None else {"errcode": "M_FORBIDDEN", "error": "no"}
        self._refusals.append(_Refusal(part, status, body, times))
        self._given.append(self._refusals[-1])

    def rewrite(self, part: str, change: Change) -> None:
        """Change the JSON object of every good answer to a path that has ``part`` in it.

        A change may take its time: the answer comes when it is made.
        """
        self._changes.append(_Rewriting(part, change))
        self._given.append(self._changes[-1])

    def hang(self, number: int, *, heard: bool) -> asyncio.Event:
        """Never answer the request of a number, counted from 1 and from now on.

        The homeserver has ``heard`` it, or hasn't. Returns what is set when it has come so far.
        """
        self._hang = _Hang(len(self.seen) + number, heard, asyncio.Event())
        return self._hang.reached

    async def reached(self, part: str, *, times: int = 1) -> None:
        """Wait until so many requests have come whose path has ``part`` in it."""
        async with self._came:
            await self._came.wait_for(lambda: sum(part in path for _, path in self.seen) >= times)

    def pass_all(self) -> None:
        """Forget all rules."""
        self._hang = None
        self._refusals.clear()
        self._changes.clear()

    async def _handle(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        self.seen.append((request.method, path))
        number, hang = len(self.seen), self._hang
        async with self._came:
            self._came.notify_all()
        if hang is not None and hang.number != number:
            hang = None
        if hang is not None and not hang.heard:
            return await self._never(hang)
        for refusal in self._refusals:
            if refusal.part in path and refusal.times > 0:
                refusal.times -= 1
                refusal.idle = False
                return web.json_response(refusal.body, status=refusal.status)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in {"Authorization", "Content-Type"}
        }
        assert self._session is not None
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            data=await request.read(),
            headers=headers,
        ) as answer:
            data = await answer.read()
            status, content_type = answer.status, answer.content_type
            kept = {name: value for name, value in answer.headers.items() if name == "Date"}
        if hang is not None:
            return await self._never(hang)
        for rule in self._changes:
            if rule.part in path and status == 200:
                made = rule.change(json.loads(data))
                changed = await made if inspect.isawaitable(made) else made
                rule.idle = rule.idle and changed == json.loads(data)
                data = json.dumps(changed).encode()
        return web.Response(body=data, status=status, content_type=content_type, headers=kept)

    async def _never(self, hang: _Hang) -> web.Response:
        hang.reached.set()
        await self._closing.wait()
        return web.Response(status=503)
