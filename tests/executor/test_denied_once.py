# SPDX-License-Identifier: MIT
"""A command that was denied without a record isn't run later, after what came behind it (I3, I7).

An agent that is killed before it has told the room so asks for it again, as soon as it is back.
"""

import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import pytest

from tests.executor.injection import injected
from tests.executor.rig import OPERATOR, OTHER_OPERATOR, ROOM, Connect, Executor, records
from tibet_nc_protocol.layout import CHAIN, PAYLOADS
from tibet_nc_protocol.messages import Denied, Done, Finished, Started, Stop
from tibet_nc_protocol.records import Intent
from tibet_nc_protocol.terms import DenialCode

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")


def disk(error: str) -> Callable[[Executor], AbstractContextManager[object]]:
    """Return a disk that fails so, while it lasts, wherever a record is written."""

    def failing(executor: Executor) -> AbstractContextManager[object]:
        folders = (executor.state / folder for folder in (CHAIN, PAYLOADS))
        files = [*(path for folder in folders for path in folder.iterdir())]
        calls = f"write,ftruncate,fallocate,unlink:error={error}"
        return injected(executor, calls, [*files, executor.state / "reserve"])

    return failing


@contextmanager
def no_homes(executor: Executor) -> Generator[None]:
    """Have no session get a home."""
    homes = executor.directory / "home"
    homes.chmod(0o511)
    yield
    homes.chmod(0o711)


FAULTS: Final = {
    "full": (disk("ENOSPC"), DenialCode.UNRECORDED),
    "read-only": (disk("EROFS"), DenialCode.UNRECORDED),
    "no home": (no_homes, DenialCode.SHELL),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_was_denied_does_not_run_after_what_came_behind_it(
    executor: Executor, connect: Connect, fault: str
) -> None:
    """Asked for again when the fault is over, it is denied for the same reason."""
    happens, code = FAULTS[fault]
    client = await connect(executor)
    await client.send(client.request("true", "$other", sender=OTHER_OPERATOR))
    while not isinstance(await client.receive(), Finished):  # it takes the home that was ready
        pass
    with happens(executor):
        denied = await client.run("echo first", "$first")
    assert isinstance(denied, Denied)
    assert (denied.code, denied.number) == (code, None)
    assert isinstance(await client.run("echo second", "$second"), Finished)
    again = await (await connect(executor)).run("echo first", "$first")
    assert isinstance(again, Denied)
    assert (again.code, again.reason) == (code, denied.reason)
    assert [r.event for r in records(executor) if isinstance(r, Intent)] == ["$other", "$second"]


async def test_what_was_stopped_while_it_waited_does_not_run_after_what_came_behind_it(
    executor: Executor, connect: Connect
) -> None:
    """Where there is no room for a record of that either, it is said to have been stopped."""
    full, _ = FAULTS["full"]
    client = await connect(executor)
    await client.send(client.request("sleep 4773", "$runs"))
    assert isinstance(await client.receive(), Started)
    await client.send(client.request("echo first", "$waits"))
    with full(executor):
        await client.send(Stop(request=client.number(), room=ROOM, sender=OPERATOR))
        answers = [await client.receive() for _ in range(3)]
    assert [answer.count for answer in answers if isinstance(answer, Done)] == [2]
    denied = [(a.code, a.number is None) for a in answers if isinstance(a, Denied)]
    assert denied == [(DenialCode.UNRECORDED, False), (DenialCode.CANCELLED, True)]
    assert isinstance(await client.run("echo second", "$second"), Finished)
    again = await (await connect(executor)).run("echo first", "$waits")
    assert isinstance(again, Denied)
    assert (again.code, again.number) == (DenialCode.CANCELLED, None)
    assert [r.event for r in records(executor) if isinstance(r, Intent)] == ["$runs", "$second"]


async def test_a_command_whose_intent_finds_no_room_is_not_begun(
    executor: Executor, connect: Connect
) -> None:
    """In a session that is on record, too, nothing is run, and that is said (I7)."""
    client = await connect(executor)
    assert isinstance(await client.run("true", "$before"), Finished)
    full, _ = FAULTS["full"]
    with full(executor):
        denied = await client.run("true")
    assert isinstance(denied, Denied)
    assert (denied.code, denied.number) == (DenialCode.UNRECORDED, None)
    assert denied.reason.startswith("nothing was run: ")
    assert [r.event for r in records(executor) if isinstance(r, Intent)] == ["$before"]
