# SPDX-License-Identifier: MIT
"""What is kept of what was typed: all of it in one file, or its hash alone (I10)."""

import pytest

from tests.executor.rig import OPERATOR, ROOM, Connect, Executor, records
from tibet_nc_protocol.layout import PAYLOADS
from tibet_nc_protocol.messages import Finished, Recorded, Refuse
from tibet_nc_protocol.records import Intent, Refusal
from tibet_nc_protocol.terms import Stage

RAN, REFUSED = "s3cret-that-ran", "s3cret-that-was-refused"


async def holders(executor: Executor, connect: Connect) -> dict[str, set[str]]:
    """Run one command and have one refused; return which files hold the text of each.

    The chain has a commitment to both.
    """
    client = await connect(executor)
    assert isinstance(await client.run(f": {RAN}"), Finished)
    await client.send(
        Refuse(
            request=client.number(),
            room=ROOM,
            event="$refused",
            sender=OPERATOR,
            device="DEVICE",
            command=f"reboot {REFUSED}",
            stage=Stage.SAFETY,
            family="power",
            reason="would restart the host",
        )
    )
    assert isinstance(await client.receive(), Recorded)
    executor.stop()
    kept = [record for record in records(executor) if isinstance(record, Intent | Refusal)]
    assert len(kept) == 2
    assert all(record.command for record in kept)
    files = [path for path in executor.state.rglob("*") if path.is_file()]
    files.append(executor.log)
    return {
        text: {path.parent.name for path in files if text.encode() in path.read_bytes()}
        for text in (RAN, REFUSED)
    }


async def test_a_text_is_in_one_file(executor: Executor, connect: Connect) -> None:
    """By default what was typed is beside the chain, in the file that it can be erased from."""
    assert await holders(executor, connect) == {RAN: {PAYLOADS}, REFUSED: {PAYLOADS}}


@pytest.mark.executor(settings='[audit]\ncommand_text = "hash"\n')
async def test_a_hashed_text_is_in_no_file(executor: Executor, connect: Connect) -> None:
    """Where only hashes are to be kept, no file holds what was typed, ran or not."""
    assert await holders(executor, connect) == {RAN: set(), REFUSED: set()}
