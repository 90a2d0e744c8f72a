# SPDX-License-Identifier: MIT
"""The Matrix side of an agent as the tests drive it: opened, joined, and kept listening."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.harness import Account, Operator
from tests.harness.pins import write_pins
from tibet_nc_agent.event import Batch, Incoming, TextMessage
from tibet_nc_agent.matrix import Matrix, MatrixSettings
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.pauses import Pauses

WAIT_SECONDS: Final = 60.0

REFUSALS: Final[tuple[tuple[int, dict[str, object]], ...]] = (
    (403, {"errcode": "M_FORBIDDEN"}),
    (401, {"flows": [], "session": "s"}),
    (413, {"errcode": "M_TOO_LARGE"}),
)
"""Answers, status and body, by which a homeserver refuses for good whatever it was asked."""


class Agent:
    """A :class:`Matrix` whose batches are collected; ``token`` is what a caller would save.

    ``events`` holds everything received so far; ``on_event`` is told of each. ``allowed`` are the
    users that its settings name, and :meth:`pin` says who is pinned. The password is given at
    every opening, as a configuration file would.
    """

    def __init__(self, settings: MatrixSettings, account: Account) -> None:
        self.settings = settings
        self.account: Final = account
        self.pickle_key = secrets.token_bytes(32)
        self.password: str | None = account.password
        self.access_token: str | None = None
        self.allowed = frozenset[str]()
        self._pins = settings.store.with_name(f"{settings.store.name}-operators.toml")
        self.token: str | None = None
        self.events: Final[list[Incoming]] = []
        self.on_event: Callable[[Incoming], None] = lambda _: None
        self._matrix: Matrix | None = None
        self._loop: asyncio.Task[None] | None = None
        self._news = asyncio.Condition()

    @property
    def matrix(self) -> Matrix:
        """The open Matrix side."""
        assert self._matrix is not None
        return self._matrix

    @property
    def room_id(self) -> str:
        """The configured room."""
        return self.settings.rooms[0]

    async def open(self) -> Matrix:
        """Open the Matrix side, without listening."""
        self._matrix = await Matrix.open(
            self.settings,
            access_token=self.access_token,
            password=self.password,
            pickle_key=self.pickle_key,
            operators=Operators(self._pins, self.allowed, Pauses(self._pins.parent)),
        )
        return self._matrix

    def pin(self, *operators: Operator) -> None:
        """Pin these operators and nobody else."""
        write_pins(self._pins, {each.user_id: each.master_key for each in operators})

    async def listen(self) -> None:
        """Open if need be, and collect what comes from the saved token on."""
        if self._matrix is None:
            await self.open()
        self._loop = asyncio.create_task(self._collect())

    async def crash_after_a_batch(self) -> Batch:
        """Open, receive one batch from the saved token on, and end without saving anything."""
        batches = (await self.open()).batches(self.token)
        try:
            return await anext(batches)
        finally:
            await batches.aclose()
            await self.stop()

    async def stop(self) -> None:
        """Stop to listen and close."""
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
            self._loop = None
        if self._matrix is not None:
            await self._matrix.close()
            self._matrix = None

    async def ended(self) -> BaseException | None:
        """Wait until listening has ended by itself, and return why."""
        assert self._loop is not None
        async with asyncio.timeout(WAIT_SECONDS):
            await asyncio.wait([self._loop])
        error, self._loop = self._loop.exception(), None
        return error

    async def until[T](self, condition: Callable[[], T | None]) -> T:
        """Look at ``condition`` after every batch until it is true."""
        async with asyncio.timeout(WAIT_SECONDS), self._news:
            while not (value := condition()):
                await self._news.wait()
            return value

    async def received[T](self, kind: type[T], wanted: Callable[[T], bool] = lambda _: True) -> T:
        """Wait for the first event of a kind for which ``wanted`` is true."""

        def found() -> T | None:
            hits = (event for event in self.events if isinstance(event, kind) and wanted(event))
            return next(hits, None)

        return await self.until(found)

    async def text(self, event_id: str) -> TextMessage:
        """Wait for the message of an event."""
        return await self.received(TextMessage, lambda message: message.event_id == event_id)

    async def _collect(self) -> None:
        async for batch in self.matrix.batches(self.token):
            self.events.extend(batch.events)
            for event in batch.events:
                self.on_event(event)
            self.token = batch.token
            async with self._news:
                self._news.notify_all()


async def invited_agent(
    url: str,
    account: Account,
    operator: Operator,
    store: Path,
    *,
    encrypted: bool = True,
    said: str | None = None,
    **changes: object,
) -> Agent:
    """Return an agent that listens in a new room of an operator, who may have ``said`` something.

    ``changes`` are settings other than the usual ones.
    """
    room_id = await operator.create_room(invite=[account.user_id], encrypted=encrypted)
    if said is not None:
        await operator.send_text(room_id, said)
    settings = MatrixSettings(
        homeserver=url,
        user_id=account.user_id,
        device_name="tibet-nc",
        rooms=(room_id,),
        store=store,
    )
    agent = Agent(replace(settings, **changes), account)  # type: ignore[arg-type] # any of them
    agent.allowed = frozenset({operator.user_id})
    agent.pin(operator)
    await (await agent.open()).join(room_id)
    await agent.listen()
    await operator.wait_member(room_id, account.user_id)
    await agent.until(lambda: account.user_id in agent.matrix.members(room_id))
    return agent
