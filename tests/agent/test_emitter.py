# SPDX-License-Identifier: MIT
"""Telling a service of TIBET tokens: in the background, bounded, whatever that service does."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.agent.test_no_room import longest
from tests.serving import serving
from tibet_nc_agent import emitter as module
from tibet_nc_agent.emission import FILE_NAME, EmissionQueue, emission
from tibet_nc_agent.emitter import PATH, Emitter
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.terms import Reason

SECONDS = 20.0
SENDER = "@ada:example.org"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hundredths of a second where it would be seconds."""

    def waits() -> Iterator[float]:
        while True:
            yield 0.01

    monkeypatch.setattr(module, "waits", waits)


def result(number: int) -> Finished:
    """Return the result of a command, which printed something secret."""
    return Finished(
        request=1,
        run=f"{number:032x}",
        number=number,
        outcome=number + 1,
        head=f"{number:064x}",
        exit=7,
        signal=None,
        reason=Reason.EXITED,
        duration_ms=38,
        output_bytes=12,
        output_sha256="0" * 64,
        recorded_bytes=12,
        output=b"hunter2-here",
        leftover=0,
        token=f"tibet_{number:032x}",
        notes=("a note of hunter2",),
        repeated=False,
    )


class Service:
    """A service that notes what it is told, and answers as it is set to."""

    def __init__(self) -> None:
        self.status = 200
        self.slow = False
        self.told: list[dict[str, Any]] = []
        self.asked = 0
        self.released = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Take one post."""
        self.asked += 1
        if self.slow:
            await self.released.wait()
        if self.status == 200:
            self.told.append(json.loads(await request.read()))
        headers = {"Location": "http://127.0.0.1:1/"} if self.status == 302 else None
        return web.Response(status=self.status, headers=headers)

    @property
    def application(self) -> web.Application:
        """What serves it, once."""
        application = web.Application()
        application.router.add_post(PATH, self.answer)
        return application

    @property
    def numbers(self) -> list[int]:
        """The commands that it was told of, in order."""
        return [body["metadata"]["command"] for body in self.told]


async def test_what_waits_for_the_disk_at_the_end_is_kept(tmp_path: Path) -> None:
    """What the disk had no time for before the agent was stopped is told by the next one."""
    emitter, gate = Emitter("http://127.0.0.1:1", tmp_path, host="web1"), threading.Event()
    holding = asyncio.create_task(emitter._disk(gate.wait))
    running = asyncio.create_task(emitter.run())
    emitter.note(result(1), sender=SENDER)
    await until(lambda: not emitter._noted)
    running.cancel()
    await asyncio.wait([running])
    gate.set()
    await holding
    await emitter.close()
    queue = EmissionQueue(tmp_path)
    assert queue.counts() == (1, 0)
    queue.close()


@asynccontextmanager
async def emitting(port: int, state: Path, *, limit: int = 100) -> AsyncGenerator[Emitter]:
    """Run an emitter."""
    emitter = Emitter(f"http://127.0.0.1:{port}", state, host="web1", limit=limit)
    task = asyncio.create_task(emitter.run())
    try:
        yield emitter
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await emitter.close()


async def until(condition: object) -> None:
    """Wait until something callable is true."""
    assert callable(condition)
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def note(emitter: Emitter, *numbers: int) -> None:
    """Note the results of some commands."""
    for number in numbers:
        emitter.note(result(number), sender=SENDER)


async def test_each_token_is_told_once_in_order(tmp_path: Path) -> None:
    """A service that takes everything gets each token once, in order, and nothing waits then."""
    service = Service()
    async with serving(service.application) as port, emitting(port, tmp_path) as emitter:
        note(emitter, 1, 2, 3)
        await until(lambda: len(service.told) == 3)
        assert service.numbers == [1, 2, 3]
        await until(lambda: emitter.state == "0 wait, 0 lost")


def test_an_ending_that_nobody_knows_is_told_as_that() -> None:
    """Of a command that the kernel couldn't end neither a status nor a signal is told."""
    unended = msgspec.structs.replace(result(3), exit=None)
    assert emission(unended, sender=SENDER, host="web1").content.startswith("tibet-nc #3: unknown,")


def test_what_is_told_holds_no_secret() -> None:
    """Told are names, numbers and digests: nothing of the command, its output or its notes."""
    told = emission(result(42), sender=SENDER, host="web1")
    assert told.sender_id == "jis:matrix:@ada:example.org"
    assert told.recipient_id == "tibet-nc@web1"
    assert told.metadata["record_sha256"] == f"{42:064x}"
    assert told.metadata["token_id"] == f"tibet_{42:032x}"
    assert "hunter2" not in str(told)
    assert "0" * 64 not in str(told)  # who can guess an output could confirm it by its digest


@pytest.mark.parametrize("status", [500, 503, 404, 401, 429, 302])
async def test_a_failing_service_is_asked_again(tmp_path: Path, status: int) -> None:
    """An error, or a redirect, is no answer: the same token is told again until it is taken."""
    service = Service()
    service.status = status
    async with serving(service.application) as port, emitting(port, tmp_path) as emitter:
        note(emitter, 1, 2)
        await until(lambda: service.asked > 2)
        assert f"answers {status}" in emitter.state
        assert emitter.state.startswith("2 wait, 0 lost")
        service.status = 200
        await until(lambda: service.numbers == [1, 2])


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_what_will_never_be_taken_holds_nothing_up(tmp_path: Path, status: int) -> None:
    """A token that the service refuses as such is counted as lost, and the next is told."""
    service = Service()
    service.status = status
    async with serving(service.application) as port, emitting(port, tmp_path) as emitter:
        note(emitter, 1)
        await until(lambda: emitter.state.startswith("0 wait, 1 lost"))
        service.status = 200
        note(emitter, 2)
        await until(lambda: service.numbers == [2])


async def test_a_service_that_is_away(tmp_path: Path) -> None:
    """What can't be told waits on disk, over a restart of the agent, and is told afterwards."""
    service = Service()
    async with serving(service.application) as port:
        pass
    async with emitting(port, tmp_path) as emitter:
        note(emitter, 1, 2)
        await until(lambda: "ClientConnectorError" in emitter.state)
        assert emitter.state.startswith("2 wait")
    async with emitting(port, tmp_path) as emitter:
        assert emitter.state == "2 wait, 0 lost"
        note(emitter, 2, 3)  # asked again after the restart, the executor gives the result again
        await until(lambda: emitter.state.startswith("3 wait"))
        async with serving(service.application, port):
            await until(lambda: service.numbers == [1, 2, 3])


async def test_what_is_on_its_way_to_the_disk_waits_too(tmp_path: Path) -> None:
    """At no moment does the state leave out what was noted and not told yet."""
    async with emitting(1, tmp_path) as emitter, asyncio.timeout(20):
        note(emitter, 1, 2)
        while "ClientConnectorError" not in emitter.state:
            assert emitter.state.startswith("2 wait, 0 lost")
            await asyncio.sleep(0)
        assert emitter.state.startswith("2 wait, 0 lost")


async def test_a_slow_service_delays_nobody(tmp_path: Path) -> None:
    """While a service doesn't answer, noting returns at once, and everything is kept on disk."""
    service = Service()
    service.slow = True
    async with serving(service.application) as port, emitting(port, tmp_path) as emitter:
        note(emitter, 1)
        await until(lambda: service.asked == 1)
        note(emitter, *range(2, 50))
        assert service.told == []
        await until(lambda: emitter.state == "49 wait, 0 lost")
        service.released.set()
        await until(lambda: service.numbers == list(range(1, 50)))


async def test_what_the_disk_does_not_take_is_counted_as_lost(tmp_path: Path) -> None:
    """Tokens that can't be stored hold up nothing, and ``status`` says how many, and why."""
    emitter = Emitter("http://127.0.0.1:1", tmp_path, host="db3")
    note(emitter, 1, 2)
    with longest(0):
        await emitter.close()
    assert emitter.state.startswith("0 wait, 2 lost · ")
    assert FILE_NAME in emitter.state


async def test_a_full_queue_loses_the_oldest_and_says_so(tmp_path: Path) -> None:
    """The queue holds so many; older ones are lost, which is counted over a restart."""
    async with emitting(1, tmp_path, limit=3) as emitter:
        note(emitter, *range(10))
        await until(lambda: emitter.state.startswith("3 wait, 7 lost"))
    service = Service()
    async with serving(service.application) as port, emitting(port, tmp_path, limit=3) as emitter:
        await until(lambda: service.numbers == [7, 8, 9])
        await until(lambda: emitter.state == "0 wait, 7 lost")


async def test_a_queue_that_cannot_be_opened_stops_no_commands(tmp_path: Path) -> None:
    """A damaged queue is said and counted; noting goes on as if it were there."""
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    async with emitting(1, tmp_path) as emitter:
        note(emitter, 1)
        await until(lambda: "0 wait, 1 lost" in emitter.state)
        assert FILE_NAME in emitter.state


def test_the_queue_is_private(tmp_path: Path) -> None:
    """Nobody but the agent's user can read who asked."""
    EmissionQueue(tmp_path).close()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
