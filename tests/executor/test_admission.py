# SPDX-License-Identifier: MIT
"""Who may command: sender, room, age and pins, as the executor itself sees them (I5)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.executor.rig import OPERATOR, Connect, Executor, records
from tests.separation import FOREIGN_UID
from tibet_nc_protocol.messages import Denied, Finished, Started
from tibet_nc_protocol.records import Refusal, Security
from tibet_nc_protocol.terms import DenialCode, Stage


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sender": "@stranger:example.org"}, DenialCode.SENDER),
        ({"room": "!elsewhere:example.org"}, DenialCode.ROOM),
        ({"sent_ms": 1_000_000}, DenialCode.STALE),
        ({"sent_ms": 4_000_000_000_000}, DenialCode.STALE),
    ],
)
async def test_the_executor_looks_for_itself(
    executor: Executor, connect: Connect, change: dict[str, Any], code: DenialCode
) -> None:
    """What its own settings forbid doesn't run, whatever the agent says, and is recorded (I5)."""
    client = await connect(executor)
    request = client.request("true", **change)
    await client.send(request)
    denied = await client.receive()
    assert isinstance(denied, Denied)
    assert denied.code is code
    (record,) = records(executor)[1:]
    assert record.seq == denied.number
    assert isinstance(record, Refusal if code is DenialCode.STALE else Security)
    assert (record.room, record.event, record.sender) == (
        request.room,
        request.event,
        request.sender,
    )
    assert record.detail == denied.reason
    if isinstance(record, Refusal):
        assert (record.device, record.stage) == (request.device, Stage.FRESHNESS)


async def test_a_pin_counts_from_its_next_request_on(executor: Executor, connect: Connect) -> None:
    """Who is pinned may command at once, who isn't any more may not; nothing is restarted (I5)."""
    other = "@other:example.org"
    client = await connect(executor)

    async def asked(sender: str) -> Finished | Denied:
        await client.send(client.request("true", sender=sender))
        while not isinstance(answer := await client.receive(), Finished | Denied):
            pass
        return answer

    denied = await asked(other)
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.SENDER
    assert f"tibet-nc-agent trust {other}" in denied.reason
    executor.pin(other)
    assert isinstance(await asked(other), Finished)
    assert isinstance(await asked(OPERATOR), Denied)
    executor.pins.unlink()
    assert isinstance(await asked(other), Denied)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o644)


SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: os.chown(path, FOREIGN_UID, 0), "belongs to uid"),
    (lambda path: path.chmod(0o664), "lets others"),
    (lambda path: path.write_text("[[operator]]\nuser = 5\n"), "operator"),
    (_link, "symbolic"),
    (_pipe, "not a file"),
]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give files away")
@pytest.mark.parametrize(("spoil", "why"), SPOILED)
async def test_pins_that_others_could_have_written_count_for_nothing(
    executor: Executor, connect: Connect, spoil: Callable[[Path], object], why: str
) -> None:
    """Pins that not root alone could have written count for nothing, and that is told (I5)."""
    client = await connect(executor)
    assert isinstance(await client.run("true"), Finished)
    spoil(executor.pins)
    denied = await client.run("true")
    assert isinstance(denied, Denied)
    assert denied.code is DenialCode.SENDER
    assert str(executor.pins) in denied.reason
    assert why in denied.reason


async def test_the_setting_narrows_the_pins(place: Path, connect: Connect) -> None:
    """Where policy.operators names anybody, a pin alone is not enough (I5)."""
    with Executor(place) as executor:
        executor.stop()
        config = place / "executor.toml"
        config.write_text(config.read_text().replace("[policy]", '[policy]\noperators = ["@a:b"]'))
        executor.start()
        client = await connect(executor)
        executor.pin(OPERATOR, "@a:b")
        assert isinstance(await client.run("true"), Denied)
        await client.send(client.request("true", sender="@a:b"))
        assert isinstance(await client.receive(), Started)
