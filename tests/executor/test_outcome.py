# SPDX-License-Identifier: MIT
"""What a command leaves: its records, its recording, its token, and all of its output (I12)."""

import hashlib
import json

import pytest

from tests.executor.rig import OPERATOR, ROOM, Connect, Executor, records
from tibet_nc_executor.office import READERS
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.layout import TOKENS
from tibet_nc_protocol.limits import INLINE_BYTES
from tibet_nc_protocol.messages import Chunk, Fetch, Finished, Started
from tibet_nc_protocol.records import Intent, Outcome, Session
from tibet_nc_protocol.terms import Reason

pytestmark = pytest.mark.executor(settings="[audit]\nrecording_bytes = 3000000\n")


async def test_a_command_leaves_intent_outcome_recording_and_token(
    executor: Executor, connect: Connect
) -> None:
    """One command: its records in order, its output whole, its token anchored."""
    client = await connect(executor)
    request = client.request("printf 'a\\377b\\n'; exit 3")
    sealed = client.sealer.seal(request)
    await client.send_raw(frame(sealed))
    started = await client.receive()
    finished = await client.receive()
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert (finished.exit, finished.signal, finished.output) == (3, None, b"a\xffb\n")
    assert finished.reason is Reason.EXITED
    chain = records(executor)
    session, intent, outcome = chain[1:]
    assert isinstance(session, Session)
    assert isinstance(intent, Intent)
    assert isinstance(outcome, Outcome)
    assert (started.number, finished.number, finished.outcome) == (intent.seq, intent.seq, 3)
    assert (outcome.intent, outcome.exit, outcome.output_bytes) == (intent.seq, 3, 4)
    assert (intent.room, intent.event, intent.sender, intent.device) == (
        ROOM,
        request.event,
        OPERATOR,
        request.device,
    )
    assert (intent.session, intent.ciphertext) == (outcome.session, request.ciphertext)
    assert intent.request == hashlib.sha256(sealed).hexdigest()
    (line,) = (executor.state / TOKENS).read_bytes().splitlines()
    assert outcome.token_sha256 == hashlib.sha256(line).hexdigest()
    token = json.loads(line)
    assert (token["token_id"], token["parent_id"]) == (outcome.token, None)
    assert token["actor"] == intent.actor
    assert token["erin"] == {
        "command": intent.command,
        "exit": 3,
        "signal": None,
        "reason": "exited",
        "output_sha256": hashlib.sha256(b"a\xffb\n").hexdigest(),
    }


async def test_each_token_names_the_one_before(executor: Executor, connect: Connect) -> None:
    """Tokens are a chain of their own, across restarts, too."""
    for _ in range(2):
        client = await connect(executor)
        for _ in range(2):
            assert isinstance(await client.run("true"), Finished)
        await client.close()
        executor.stop()
        executor.start()
    lines = (executor.state / TOKENS).read_text().splitlines()
    tokens = [json.loads(line) for line in lines]
    assert [token["parent_id"] for token in tokens] == [
        None,
        *(token["token_id"] for token in tokens[:-1]),
    ]
    assert len(tokens) == 4


async def test_big_output_is_fetched_whole(executor: Executor, connect: Connect) -> None:
    """What doesn't fit the result is fetched in chunks, exactly (I12)."""
    client = await connect(executor)
    finished = await client.run("seq 1 200000")
    assert isinstance(finished, Finished)
    whole = "".join(f"{n}\n" for n in range(1, 200001)).encode()
    assert finished.output == whole[:INLINE_BYTES]
    assert finished.recorded_bytes == finished.output_bytes == len(whole)
    output = bytearray()
    last = False
    while not last:
        await client.send(Fetch(request=client.number(), run=finished.run, offset=len(output)))
        chunk = await client.receive()
        assert isinstance(chunk, Chunk)
        assert chunk.offset == len(output)
        output += chunk.data
        last = chunk.last
    assert bytes(output) == whole
    # Going back is permitted too, also after many others were begun and not finished.
    for _ in range(2 * READERS):
        other = await client.run("seq 1 20000")
        assert isinstance(other, Finished)
        await client.send(Fetch(request=client.number(), run=other.run, offset=0))
        assert isinstance(await client.receive(), Chunk)
    assert 0 < executor.recordings_open() <= READERS
    await client.send(Fetch(request=client.number(), run=finished.run, offset=7))
    chunk = await client.receive()
    assert isinstance(chunk, Chunk)
    assert chunk.data[:20] == whole[7:27]


async def test_output_over_the_cap_is_hashed_whole_and_said_to_be_cut(
    executor: Executor, connect: Connect
) -> None:
    """The recording ends at its limit, the hash and the length don't (I12)."""
    client = await connect(executor)
    finished = await client.run("head -c 5000000 /dev/zero")
    assert isinstance(finished, Finished)
    assert (finished.output_bytes, finished.recorded_bytes) == (5000000, 3000000)
    assert finished.output_sha256 == hashlib.sha256(bytes(5000000)).hexdigest()
