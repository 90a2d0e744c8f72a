# SPDX-License-Identifier: MIT
"""One entry for each decoder that meets hostile bytes: a value, our error, or a bug.

Each takes any bytes, so that any fuzzer can drive it; with atheris, for instance:
``atheris.Setup(sys.argv, ENTRIES["requests"]); atheris.Fuzz()``.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tests.vectors import samples
from tibet_nc_protocol import proofs
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.codec import JsonCodec, MessageCodec
from tibet_nc_protocol.errors import (
    DecodeError,
    FramingError,
    NoteError,
    PeerError,
    ProofError,
    RecordError,
    SignatureError,
)
from tibet_nc_protocol.framing import FrameReader
from tibet_nc_protocol.layout import PAYLOADS_CODEC
from tibet_nc_protocol.messages import REQUESTS, RESPONSES
from tibet_nc_protocol.note import Checkpoint, Verifier, open_checkpoint
from tibet_nc_protocol.recording import CastReader, CastWriter
from tibet_nc_protocol.records import RECORDS
from tibet_nc_protocol.signing import PublicKey


def stream(data: bytes) -> None:
    """Cut bytes into frames, whole and one by one, with the same result."""
    results: list[list[bytes]] = []
    for pieces in ([data], [bytes([byte]) for byte in data]):
        reader = FrameReader()
        frames: list[bytes] = []
        with suppress(FramingError):
            for piece in pieces:
                frames.extend(reader.feed(piece))
        results.append(frames)
    assert results[0] == results[1]


def _canonical[T](codec: MessageCodec[T] | JsonCodec[T], data: bytes) -> None:
    with suppress(DecodeError):
        assert codec.encode(codec.decode(data)) == data


def requests(data: bytes) -> None:
    """Decode a message from the agent."""
    _canonical(REQUESTS, data)


def responses(data: bytes) -> None:
    """Decode a message from the executor."""
    _canonical(RESPONSES, data)


def records(data: bytes) -> None:
    """Decode a line of a chain."""
    _canonical(RECORDS, data)


def payloads(data: bytes) -> None:
    """Decode a line of a payload file."""
    _canonical(PAYLOADS_CODEC, data)


def envelopes(data: bytes) -> None:
    """Open the envelopes of a stream; whatever opens was signed by the agent."""
    opener = samples.request_opener()
    with suppress(PeerError):
        for envelope in FrameReader().feed(data):
            assert opener.open(envelope) in samples.requests().values()


def chains(data: bytes) -> None:
    """Verify the lines of a chain; whatever passes was signed by the executor."""
    chain = ChainVerifier(samples.EXECUTOR.public_key)
    with suppress(RecordError):
        for line in data.split(b"\n"):
            chain.feed(line)


def recordings(data: bytes) -> None:
    """Read the lines of a recording; what is read can be recorded and read again."""
    reader = CastReader()
    output = bytearray()
    with suppress(DecodeError):
        for line in data.splitlines(keepends=True):
            output += reader.feed(line)
        reader.end()
    writer = CastWriter()
    lines = writer.header(columns=80, rows=24, timestamp=0, title="")
    lines += writer.output(bytes(output), 0) + writer.finish(0, "0")
    again = CastReader()
    assert b"".join(again.feed(line) for line in lines.splitlines()) == bytes(output)


def keys(data: bytes) -> None:
    """Read a public key and verify with it."""
    with suppress(SignatureError):
        PublicKey.from_hex(data.decode("latin-1")).verify("text", bytes(64))
    with suppress(SignatureError):
        PublicKey(data[:32]).verify("text", data[32:])


def notes(data: bytes) -> None:
    """Open a checkpoint's note and read a verifier key; half surrogate pairs come from JSON."""
    text = data.decode(errors="surrogateescape")
    own = Verifier(name=samples.EXECUTOR.id, key=samples.EXECUTOR.public_key)
    with suppress(NoteError):
        assert open_checkpoint(text, own).origin == samples.EXECUTOR.id
    with suppress(NoteError):
        assert Verifier.from_vkey(text).vkey == text
    with suppress(NoteError):
        assert Checkpoint.from_text(text).size >= 0


def shown(data: bytes) -> None:
    """Check a proof; whatever passes is of the executor's chain."""
    key = samples.EXECUTOR.public_key
    with suppress(ProofError):
        proof = proofs.decode(data)
        if isinstance(proof, proofs.CommandProof):
            assert proofs.verify_command(proof, key).keys.first == key
        else:
            assert proofs.verify_growth(proof, key).keys.first == key


ENTRIES: Final[dict[str, Callable[[bytes], None]]] = {
    entry.__name__: entry
    for entry in (
        stream,
        requests,
        responses,
        records,
        payloads,
        envelopes,
        chains,
        recordings,
        keys,
        notes,
        shown,
    )
}
