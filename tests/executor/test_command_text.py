# SPDX-License-Identifier: MIT
"""What is kept of what was typed: all of it in one file, or its hash alone (I10)."""

import pytest

from tests.executor.rig import OPERATOR, ROOM, Connect, Executor, records
from tibet_nc_protocol.layout import PAYLOADS, PAYLOADS_CODEC, segment_name
from tibet_nc_protocol.messages import Finished, Recorded, Refuse
from tibet_nc_protocol.records import Intent, Refusal, commitment
from tibet_nc_protocol.terms import Stage

RAN, REFUSED = "s3cret-that-ran", "s3cret-that-was-refused"


def refusal(number: int, event: str, command: str) -> Refuse:
    """Return the report that the airlock has refused a command."""
    return Refuse(
        request=number,
        room=ROOM,
        event=event,
        sender=OPERATOR,
        device="DEVICE",
        command=command,
        stage=Stage.SAFETY,
        family="power",
        reason="would restart the host",
    )


async def holders(executor: Executor, connect: Connect) -> dict[str, set[str]]:
    """Run one command and have one refused; return which files hold the text of each.

    The chain has a commitment to both.
    """
    client = await connect(executor)
    assert isinstance(await client.run(f": {RAN}"), Finished)
    await client.send(refusal(client.number(), "$refused", f"reboot {REFUSED}"))
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


async def test_a_text_is_kept_as_it_was_sent(executor: Executor, connect: Connect) -> None:
    """To the last byte, ran or not; each has a salt of its own, so none can be guessed by another.

    Of two that are the same the chain doesn't tell that they are.
    """
    client = await connect(executor)
    command = " \t: 'a  b' \u00e9\u2028\x1b[1m\\\n\n true\r\n "
    for _ in range(2):
        assert isinstance(await client.run(command), Finished)
    for event in ("$one", "$other"):
        await client.send(refusal(client.number(), event, command))
        assert isinstance(await client.receive(), Recorded)
    lines = (executor.state / PAYLOADS / segment_name(0)).read_bytes().splitlines()
    texts = [PAYLOADS_CODEC.decode(line) for line in lines]
    kept = [record for record in records(executor) if isinstance(record, Intent | Refusal)]
    assert [text.command for text in texts] == [command] * 4
    assert [text.seq for text in texts] == [record.seq for record in kept]
    assert len({text.salt for text in texts}) == 4
    assert [record.command for record in kept] == [
        commitment(bytes.fromhex(text.salt), command) for text in texts
    ]
