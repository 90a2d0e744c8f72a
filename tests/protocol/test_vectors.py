# SPDX-License-Identifier: MIT
"""Every vector is read as its case.json says, and the generator makes the same bytes again."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.protocol.strategies import (
    RECORD_TYPES,
    REQUEST_CODEC,
    REQUEST_TYPES,
    RESPONSE_CODEC,
    RESPONSE_TYPES,
)
from tests.vectors import generate
from tests.vectors.case import Layer, Reads
from tibet_nc_protocol import proofs
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.envelope import NO_CONNECTION, Opener
from tibet_nc_protocol.errors import (
    DecodeError,
    FramingError,
    ProofError,
    ProtocolError,
    RecordError,
    SignatureError,
)
from tibet_nc_protocol.framing import FrameReader
from tibet_nc_protocol.layout import PAYLOADS_CODEC
from tibet_nc_protocol.recording import CastReader
from tibet_nc_protocol.records import RECORDS
from tibet_nc_protocol.signing import PublicKey, Purpose

CASES = sorted(path.parent for path in generate.HERE.glob("*/case.json"))

# What each layer raises, and nothing else.
ERRORS: dict[Layer, type[ProtocolError]] = {
    Layer.FRAMING: FramingError,
    Layer.KEY: SignatureError,
    Layer.SIGNATURE: SignatureError,
    Layer.DECODE: DecodeError,
    Layer.CHAIN: RecordError,
    Layer.RECORDING: DecodeError,
    Layer.PROOF: ProofError,
}

# How the verifier words the steps of SPEC §7.
STEPS = {
    1: ("not a record (not a message",),
    2: ("not a record (not in canonical form",),
    3: ("wrong number",),
    4: ("not linked",),
    5: ("genesis", "another format", "another executor", "small order"),
    6: ("signature does not verify",),
    7: ("not open", "ends another run", "no command has left running"),
    8: ("checkpoint",),
    9: ("held head",),
}


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A head that someone else holds."""

    length: int
    head: str


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What case.json says; tests/vectors/README.md explains each."""

    reads: Reads
    refused_by: Layer | None
    frames: list[str] = []
    pending: int = 0
    value: object = None
    key: str = ""
    connection: str = ""
    accepted: int = 0
    held: Held | None = None
    step: int | None = None
    at: int | None = None


def about_case(case: Path) -> About:
    """Read a vector's case.json."""
    return msgspec.json.decode((case / "case.json").read_bytes(), type=About)


def read_stream(case: Path, about: About) -> None:
    """Cut a stream into frames, and compare them also when the stream is refused."""
    reader = FrameReader()
    frames: list[bytes] = []
    try:
        frames.extend(reader.feed((case / "input.bin").read_bytes()))
        assert reader.pending == about.pending
    finally:
        # The frames before a bad one were given out; extend keeps them.
        assert [item.hex() for item in frames] == about.frames


def read_message(case: Path, about: About) -> None:
    """Decode one message and compare it with its value."""
    codec = REQUEST_CODEC if about.reads is Reads.REQUEST else RESPONSE_CODEC
    message = codec.decode((case / "input.bin").read_bytes())
    assert msgspec.json.decode(msgspec.json.encode(message)) == about.value


PURPOSES = {
    Reads.REQUESTS: Purpose.REQUEST,
    Reads.ADMINISTRATION: Purpose.ADMINISTRATION,
    Reads.RESPONSES: Purpose.RESPONSE,
}


def read_connection(case: Path, about: About) -> None:
    """Open one direction of a connection; all but the last message are good in any case."""
    from_executor = about.reads is Reads.RESPONSES
    codec = RESPONSE_CODEC if from_executor else REQUEST_CODEC
    opener = Opener(PublicKey.from_hex(about.key), PURPOSES[about.reads], codec)
    opener.connection = NO_CONNECTION if from_executor else about.connection
    envelopes = list(FrameReader().feed((case / "input.bin").read_bytes()))
    for envelope in envelopes[: about.accepted]:
        opener.open(envelope)
        opener.connection = about.connection
    for envelope in envelopes[about.accepted :]:
        opener.open(envelope)


def read_key(case: Path, _: About) -> None:
    """Read a public key."""
    text = (case / "input.txt").read_text()
    assert PublicKey.from_hex(text).hex == text


def read_signature(case: Path, about: About) -> None:
    """Verify one signature over a text."""
    signature = bytes.fromhex((case / "signature.txt").read_text())
    PublicKey.from_hex(about.key).verify((case / "text.txt").read_text(), signature)


def read_record(case: Path, _: About) -> None:
    """Decode one record and encode it to the same bytes."""
    line = (case / "input.json").read_bytes()
    assert RECORDS.encode(RECORDS.decode(line)) == line


def read_payload(case: Path, _: About) -> None:
    """Decode one payload and encode it to the same bytes."""
    line = (case / "input.json").read_bytes()
    assert PAYLOADS_CODEC.encode(PAYLOADS_CODEC.decode(line)) == line


def read_chain(case: Path, about: About) -> None:
    """Verify a chain, against a held head where there is one."""
    chain = ChainVerifier(PublicKey.from_hex(about.key))
    held = about.held
    for line in (case / "input.jsonl").read_bytes().split(b"\n")[:-1]:
        chain.feed(line)
        if held and chain.length == held.length and chain.head != held.head:
            raise RecordError(chain.length - 1, "not the held head")
    if held and chain.length < held.length:
        raise RecordError(chain.length, "before the held head")


def read_recording(case: Path, about: About) -> None:
    """Get the output back from a recording; the fault is in its own line."""
    reader = CastReader()
    lines = (case / "input.cast").read_bytes().splitlines(keepends=True)
    output = b"".join(reader.feed(line) for line in lines[: about.at])
    for line in lines[len(lines) if about.at is None else about.at :]:
        reader.feed(line)
    reader.end()
    assert output == (case / "output.bin").read_bytes()


def read_proof(case: Path, about: About) -> None:
    """Check a proof by itself, with the executor's key."""
    key = PublicKey.from_hex(about.key)
    proof = proofs.decode((case / "input.json").read_bytes())
    if isinstance(proof, proofs.CommandProof):
        proofs.verify_command(proof, key)
    else:
        proofs.verify_growth(proof, key)


READERS: dict[Reads, Callable[[Path, About], None]] = {
    Reads.STREAM: read_stream,
    Reads.REQUEST: read_message,
    Reads.RESPONSE: read_message,
    Reads.REQUESTS: read_connection,
    Reads.ADMINISTRATION: read_connection,
    Reads.RESPONSES: read_connection,
    Reads.KEY: read_key,
    Reads.SIGNATURE: read_signature,
    Reads.RECORD: read_record,
    Reads.CHAIN: read_chain,
    Reads.PAYLOAD: read_payload,
    Reads.RECORDING: read_recording,
    Reads.PROOF: read_proof,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_vector(case: Path) -> None:
    """A vector is accepted, or refused by exactly the layer that must refuse it."""
    about = about_case(case)
    read = READERS[about.reads]
    if about.refused_by is None:
        read(case, about)
        return
    error = ERRORS[about.refused_by]
    with pytest.raises(ProtocolError) as caught:
        read(case, about)
    assert type(caught.value) is error
    if isinstance(caught.value, RecordError):
        assert about.at == caught.value.position
        assert any(words in str(caught.value) for words in STEPS[about.step or 0])


def test_names_say_the_verdict() -> None:
    """A directory's name ends in _fail if and only if its vector must be refused."""
    for case in CASES:
        about = about_case(case)
        assert case.name.endswith("_fail") == (about.refused_by is not None), case.name
        assert (case / "README.md").read_text().startswith(f"# {case.name}\n\n")


def test_every_type_has_a_vector() -> None:
    """Each message and each kind of record has a good vector, so a new type can't be forgotten."""
    names = {case.name for case in CASES}
    for reads, types in (
        ("request", REQUEST_TYPES),
        ("response", RESPONSE_TYPES),
        ("record", RECORD_TYPES),
    ):
        for cls in types:
            tag = str(cls.__struct_config__.tag)
            assert f"{reads}_{tag.replace('-', '_')}" in names


def test_generator_makes_the_same_bytes(tmp_path: Path) -> None:
    """The vectors are what the generator makes, byte for byte, with none missing or left over."""

    def content(root: Path) -> dict[str, bytes]:
        directories = {path.parent for path in root.glob("*/case.json")}
        files = (file for directory in directories for file in directory.iterdir())
        return {str(file.relative_to(root)): file.read_bytes() for file in files}

    generate.write(tmp_path)
    assert content(generate.HERE) == content(tmp_path)
