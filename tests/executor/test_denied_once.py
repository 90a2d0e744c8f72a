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
from tests.executor.rig import OTHER_OPERATOR, Connect, Executor, records
from tibet_nc_protocol.layout import CHAIN, PAYLOADS
from tibet_nc_protocol.messages import Denied, Finished
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
