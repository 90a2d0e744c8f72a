# SPDX-License-Identifier: MIT
"""Vectors of what travels on the socket: frames, keys, signatures, envelopes, messages."""

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from tests.vectors import samples
from tests.vectors.case import Case, Layer, Reads
from tibet_nc_protocol.envelope import NO_CONNECTION, Sealer
from tibet_nc_protocol.framing import frame
from tibet_nc_protocol.limits import FRAME_BYTES
from tibet_nc_protocol.messages import REQUESTS, RESPONSES
from tibet_nc_protocol.signing import Identity, Purpose, signed_text

ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""The order L of the base point (RFC 8032, §5.1)."""

# y and the sign of x, as in SPEC §3; what a public key of small order is written as.
_P: Final = 2**255 - 19
_Y_OF_ORDER_8: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER: Final = {
    "1": 1,
    "1_not_reduced": _P + 1,
    "2": _P - 1,
    "4": 0,
    "4_not_reduced": _P,
    "8_first": _Y_OF_ORDER_8,
    "8_second": _P - _Y_OF_ORDER_8,
}


def cases() -> Iterator[Case]:
    """Yield every vector of the socket."""
    yield from _framing()
    yield from _keys()
    yield from _signatures()
    yield from _messages()
    yield from _undecodable()
    yield from _good_connection()
    yield from _bad_requests()


def _framing() -> Iterator[Case]:
    def stream(name: str, fact: str, data: bytes, *frames: bytes, refused: bool = False) -> Case:
        return Case(
            name=f"frame_{name}",
            fact=fact,
            reads=Reads.STREAM,
            files={"input.bin": data},
            refused_by=Layer.FRAMING if refused else None,
            facts={
                "frames": [item.hex() for item in frames],
                "pending": len(data) - sum(4 + len(item) for item in frames),
            },
        )

    one, two = frame(b"one"), frame(b"the second")
    yield stream("one", "One frame.", one, b"one")
    yield stream("two", "Two frames in one piece.", one + two, b"one", b"the second")
    yield stream("none", "An empty stream holds no frame.", b"")
    yield stream("cut_in_prefix", "The stream ends inside a length.", one + two[:2], b"one")
    yield stream("cut_in_payload", "The stream ends inside a payload.", one + two[:-1], b"one")
    yield stream("zero", "A frame can't be empty.", one + bytes(4), b"one", refused=True)
    for name, length in (("one_too_long", FRAME_BYTES + 1), ("longest_length", 2**32 - 1)):
        yield stream(
            name,
            f"A length of {length} is refused before any of the payload has come.",
            one + length.to_bytes(4),
            b"one",
            refused=True,
        )


def _keys() -> Iterator[Case]:
    def key(name: str, fact: str, text: str, *, refused: bool = True) -> Case:
        return Case(
            name=f"key_{name}",
            fact=fact,
            reads=Reads.KEY,
            files={"input.txt": text.encode()},
            refused_by=Layer.KEY if refused else None,
        )

    good = samples.EXECUTOR.public_key.hex
    yield key("good", "The executor's key of these vectors.", good, refused=False)
    yield key("short", "63 digits.", good[:-1])
    yield key("long", "66 digits.", good + "00")
    yield key("not_hexadecimal", "A digit that is none.", "g" + good[1:])
    yield key("spaced", "White space between the digits.", f"{good[:2]} {good[2:]}")
    for name, y in SMALL_ORDER.items():
        for sign in (0, 1):
            text = (y | sign << 255).to_bytes(32, "little").hex()
            fact = f"A point of order {name[0]}: anyone can sign for it. The sign of x is {sign}."
            yield key(f"small_order_{name}_sign_{sign}", fact, text)


def beyond_order(signature: bytes) -> bytes:
    """Return the signature with S + L for S: the same to a verifier that doesn't compare with L."""
    s = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + s.to_bytes(32, "little")


def _signatures() -> Iterator[Case]:
    def case(name: str, fact: str, text: str, signature: bytes, *, refused: bool = True) -> Case:
        return Case(
            name=f"signature_{name}",
            fact=fact,
            reads=Reads.SIGNATURE,
            files={"text.txt": text.encode(), "signature.txt": signature.hex().encode()},
            refused_by=Layer.SIGNATURE if refused else None,
            facts={"key": samples.EXECUTOR.public_key.hex},
        )

    text = signed_text(Purpose.RECORD, b"some bytes")
    good = samples.EXECUTOR.sign(text)
    yield case("good", "A record's signed text and its signature.", text, good, refused=False)
    other = signed_text(Purpose.RESPONSE, b"some bytes")
    yield case("wrong_purpose", "Signed as a record, shown as a response.", other, good)
    yield case("s_plus_l", "S is not below the group's order.", text, beyond_order(good))
    yield case("short", "63 bytes.", text, good[:-1])
    yield case("empty", "No bytes.", text, b"")
    yield case("long", "65 bytes.", text, good + b"\0")
    for name, place in (("first", 0), ("last", 63)):
        flipped = bytearray(good)
        flipped[place] ^= 1
        yield case(f"{name}_byte_flipped", f"Byte {place} was altered.", text, bytes(flipped))
    stranger = samples.STRANGER.sign(text)
    yield case("other_key", "Signed with another key.", text, stranger)


def _messages() -> Iterator[Case]:
    for tag, request in samples.requests().items():
        yield _message(Reads.REQUEST, tag, f"The request `{tag}`.", REQUESTS.encode(request))
    for tag, response in samples.responses().items():
        yield _message(Reads.RESPONSE, tag, f"The response `{tag}`.", RESPONSES.encode(response))


def _message(reads: Reads, name: str, fact: str, data: bytes, *, refused: bool = False) -> Case:
    facts: dict[str, object] = {}
    if not refused:
        # As JSON: byte strings in base64, enumerations by their value.
        facts["value"] = msgspec.to_builtins(
            msgspec.msgpack.decode(data), builtin_types=(), str_keys=True
        )
    return Case(
        name=f"{reads}_{name.replace('-', '_')}",
        fact=fact,
        reads=reads,
        files={"input.bin": data},
        refused_by=Layer.DECODE if refused else None,
        facts=facts,
    )


def _table(*pairs: tuple[bytes, bytes]) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(key + value for key, value in pairs)


def _text(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return bytes([0xA0 | len(data)]) + data


def _undecodable() -> Iterator[Case]:
    tag = (_text("type"), _text("chain"))
    request = (_text("request"), b"\x07")
    limit = (_text("limit"), b"\x03")
    good = _table(tag, request, limit)
    assert good == REQUESTS.encode(samples.requests()["chain"])

    def limited(value: bytes) -> bytes:
        return _table(tag, request, (limit[0], value))

    bad = {
        "duplicate_key": ("A key stands twice.", _table(tag, request, limit, limit)),
        "wrong_key_order": ("The keys are in another order.", _table(tag, limit, request)),
        "tag_last": ("The tag is not the first key.", _table(request, limit, tag)),
        "missing_tag": ("There is no `type`.", _table(request, limit)),
        "unknown_tag": (
            "No message is called `shell`.",
            _table((tag[0], _text("shell")), request, limit),
        ),
        "tag_not_text": ("The tag is a number.", _table((tag[0], b"\x01"), request, limit)),
        "unknown_field": (
            "A key that this message doesn't have.",
            _table(tag, request, limit, (_text("sudo"), b"\xc3")),
        ),
        "missing_field": ("`limit` is missing.", _table(tag, request)),
        "key_not_text": ("A key is a number.", _table(tag, request, (b"\x01", b"\x03"))),
        "long_integer": ("3 in two bytes.", limited(b"\xcc\x03")),
        "longest_integer": ("3 in nine bytes.", limited(b"\xcf" + (3).to_bytes(8))),
        "signed_integer": ("3 as a signed integer.", limited(b"\xd0\x03")),
        "long_text_header": (
            "The tag's length in two bytes.",
            _table((tag[0], b"\xd9\x05chain"), request, limit),
        ),
        "long_map_header": ("The map's length in three bytes.", b"\xde\x00\x03" + good[1:]),
        "float_for_integer": ("3.0 for 3.", limited(b"\xcb" + struct.pack(">d", 3.0))),
        "bool_for_integer": ("`true` for 1.", limited(b"\xc3")),
        "text_for_integer": ('"3" for 3.', limited(_text("3"))),
        "nil_for_integer": ("nil for 3.", limited(b"\xc0")),
        "negative": ("-1 for a count.", _table(tag, (request[0], b"\xff"), limit)),
        "over_exact_integer": (
            "2^53 for a count.",
            _table(tag, (request[0], b"\xcf" + (2**53).to_bytes(8)), limit),
        ),
        "over_limit": ("33 records asked for; 32 are permitted.", limited(b"\x21")),
        "binary_for_text": (
            "The tag as a byte string.",
            _table((tag[0], b"\xc4\x05chain"), request, limit),
        ),
        "extension": ("A value of an extension type.", limited(b"\xd4\x01\x03")),
        "timestamp": ("A value of the timestamp type.", limited(b"\xd6\xff" + bytes(4))),
        "never_used_byte": ("The byte c1, which msgpack never uses.", limited(b"\xc1")),
        "trailing_byte": ("A byte after the message.", good + b"\xc0"),
        "truncated": ("The last byte is missing.", good[:-1]),
        "empty": ("No bytes at all.", b""),
        "nil": ("nil for a message.", b"\xc0"),
        "array": ("An array for a map.", b"\x93" + good[1:]),
        "deep_nesting": ("Arrays in arrays, 10,000 deep.", b"\x91" * 10_000 + b"\xc0"),
        "deep_unknown_field": (
            "An unknown key before the type, with arrays in arrays, 20,000 deep.",
            _table((_text("more"), b"\x91" * 20_000 + b"\xc0"), tag, request, limit),
        ),
        "announces_4_gib": ("A map that announces 4,294,967,295 keys.", b"\xdf" + b"\xff" * 4),
        "response": (
            "A response where a request is due.",
            RESPONSES.encode(samples.responses()["welcome"]),
        ),
    }
    for name, (fact, data) in bad.items():
        yield _message(Reads.REQUEST, name, fact, data, refused=True)
    yield from _bad_texts()
    yield from _bad_responses()


def _bad_texts() -> Iterator[Case]:
    def status(room: bytes, sender: bytes = b"@ada:example.org") -> bytes:
        pairs = (("type", b"status"), ("room", room), ("sender", sender))
        tag, *names = ((_text(key), _text(value)) for key, value in pairs)
        return _table(tag, (_text("request"), b"\x06"), *names)

    assert status(samples.ROOM.encode()) == REQUESTS.encode(samples.requests()["status"])
    bad = {
        "invalid_utf8": ("A text with the byte ff.", b"!\xff:example.org"),
        "overlong_utf8": ("A text with / written as c0 af.", b"!\xc0\xaf:example.org"),
        "surrogate": ("A text with half of a surrogate pair.", b"!\xed\xa0\x80:x.org"),
        "wrong_sigil": ("A room's id that begins with #.", b"#ops:example.org"),
        "only_sigil": ("A room's id without anything after !.", b"!"),
        "space_in_identifier": ("A room's id with a space.", b"!o ps:example.org"),
        "line_end_after_identifier": ("A room's id that ends with a line end.", b"!ops:x.org\n"),
        "control_in_identifier": ("A room's id with an escape character.", b"!\x1b[2J:x.org"),
        "c1_control_in_identifier": ("A room's id with U+009B.", b"!\xc2\x9b2J:x.org"),
        "line_separator_in_identifier": ("A room's id with U+2028.", b"!\xe2\x80\xa8:x.org"),
    }
    for name, (fact, room) in bad.items():
        yield _message(Reads.REQUEST, name, fact, status(room), refused=True)


def _bad_responses() -> Iterator[Case]:
    def chunk(data: bytes, last: bytes = b"\xc3") -> bytes:
        return _table(
            (_text("type"), _text("chunk")),
            (_text("request"), b"\x05"),
            (_text("offset"), b"\x00"),
            (_text("data"), data),
            (_text("last"), last),
        )

    finished = RESPONSES.encode(samples.responses()["finished"])
    bad = {
        "text_for_binary": ("A text for bytes.", chunk(_text("abc"))),
        "long_binary_header": ("The bytes' length in two bytes.", chunk(b"\xc5\x00\x01a")),
        "integer_for_bool": ("1 for true.", chunk(b"\xc4\x01a", b"\x01")),
        "unknown_enumeration": (
            "A reason that no command ends for.",
            finished.replace(_text("exited"), _text("bored!")),
        ),
        "upper_case_digest": (
            "A digest in upper case.",
            finished.replace(samples.RUN.encode(), samples.RUN.upper().encode()),
        ),
        "announces_4_gib_of_notes": (
            "A list that announces 4,294,967,295 notes.",
            finished.replace(_text("notes") + b"\x90", _text("notes") + b"\xdd\xff\xff\xff\xff"),
        ),
        "request": (
            "A request where a response is due.",
            REQUESTS.encode(samples.requests()["jobs"]),
        ),
    }
    for name, (fact, data) in bad.items():
        assert data != finished, name
        yield _message(Reads.RESPONSE, name, fact, data, refused=True)


def _connection(
    reads: Reads, name: str, fact: str, envelopes: list[bytes], layer: Layer | None
) -> Case:
    signer = samples.AGENT if reads is Reads.REQUESTS else samples.EXECUTOR
    return Case(
        name=f"connection_{name}",
        fact=fact,
        reads=reads,
        files={"input.bin": b"".join(frame(envelope) for envelope in envelopes)},
        refused_by=layer,
        facts={
            "key": signer.public_key.hex,
            "connection": samples.CONNECTION,
            "accepted": len(envelopes) - (layer is not None),
        },
    )


def _good_connection() -> Iterator[Case]:
    sent = samples.connection()
    for reads, from_agent, side in (
        (Reads.REQUESTS, True, "agent"),
        (Reads.RESPONSES, False, "executor"),
    ):
        envelopes = [item.frame[4:] for item in sent if item.from_agent is from_agent]
        fact = f"All that the {side} sends in the connection of SPEC.md."
        yield _connection(reads, f"of_the_{side}", fact, envelopes, None)
    asked = samples.requests()
    administrator = Sealer(samples.EXECUTOR, Purpose.ADMINISTRATION, REQUESTS)
    administrator.connection = samples.CONNECTION
    envelopes = [administrator.seal(asked[tag]) for tag in ("hello", "erase")]
    fact = "The administrator signs with the executor's own key, for a purpose of its own."
    yield _connection(Reads.ADMINISTRATION, "of_the_administrator", fact, envelopes, None)


def envelope(
    payload: bytes,
    *,
    number: int = 1,
    purpose: Purpose = Purpose.REQUEST,
    connection: str = samples.CONNECTION,
    identity: Identity = samples.AGENT,
) -> bytes:
    """Return an envelope as the agent makes it, but for what the arguments say."""
    text = signed_text(purpose, payload, identity.id, connection, str(number))
    return _envelope(identity.id, payload, identity.sign(text))


def _envelope(key_id: str, payload: bytes, signature: bytes) -> bytes:
    return msgspec.msgpack.encode(
        {"type": "envelope", "key_id": key_id, "payload": payload, "signature": signature}
    )


def _bad_requests() -> Iterator[Case]:
    asked = samples.requests()
    hello = envelope(REQUESTS.encode(asked["hello"]), number=0)
    sealer = samples.request_sealer()
    assert hello == sealer.seal(asked["hello"])
    payload = REQUESTS.encode(asked["run"])
    run = envelope(payload)
    assert run == sealer.seal(asked["run"])
    parts = msgspec.msgpack.decode(run)
    signature: bytes = parts["signature"]

    def flipped(data: bytes, place: int) -> bytes:
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    def resigned(signature: bytes, *, key_id: str = samples.AGENT.id) -> bytes:
        return _envelope(key_id, payload, signature)

    unsigned = {
        "replayed": ("A message is sent again.", hello),
        "skipped_number": ("A message before this one was dropped.", envelope(payload, number=2)),
        "of_other_connection": (
            "Signed for another connection.",
            envelope(payload, connection="f" * 32),
        ),
        "of_no_connection": (
            "Signed for no connection, as only the challenge is.",
            envelope(payload, connection=NO_CONNECTION),
        ),
        "signed_as_response": (
            "Signed as a response, with the agent's key.",
            envelope(payload, purpose=Purpose.RESPONSE),
        ),
        "signed_as_administration": (
            "Signed for the administrator's purpose, with the agent's key.",
            envelope(payload, purpose=Purpose.ADMINISTRATION),
        ),
        "of_a_stranger": (
            "Signed with a key that isn't enrolled.",
            envelope(payload, identity=samples.STRANGER),
        ),
        "reflected": (
            "The executor's own response comes back as a request.",
            samples.connection()[2].frame[4:],
        ),
        "other_key_id": (
            "The signer's name was altered.",
            resigned(signature, key_id=samples.STRANGER.id),
        ),
        "altered_payload": (
            "The payload's last byte was altered.",
            _envelope(samples.AGENT.id, flipped(payload, len(payload) - 1), signature),
        ),
        "altered_r": ("A bit of R was altered.", resigned(flipped(signature, 0))),
        "altered_s": ("A bit of S was altered.", resigned(flipped(signature, 63))),
        "s_plus_l": ("S is not below the group's order.", resigned(beyond_order(signature))),
    }
    for name, (fact, data) in unsigned.items():
        yield _connection(Reads.REQUESTS, name, fact, [hello, data], Layer.SIGNATURE)
    undecodable = {
        "short_signature": ("A signature of 63 bytes.", resigned(signature[:-1])),
        "long_signature": ("A signature of 65 bytes.", resigned(signature + b"\0")),
        "envelope_with_line_end": (
            "The signer's name holds a line end, which the signed text can't.",
            resigned(signature, key_id="did:jis:a\nb"),
        ),
        "envelope_with_space": (
            "The signer's name holds a space.",
            resigned(signature, key_id="did:jis:a b"),
        ),
        "envelope_without_name": ("The signer's name is empty.", resigned(signature, key_id="")),
        "envelope_with_long_name": (
            "The signer's name has 256 characters.",
            resigned(signature, key_id="x" * 256),
        ),
        "envelope_with_more": (
            "An envelope with an unknown key.",
            msgspec.msgpack.encode(parts | {"more": 1}),
        ),
        "envelope_without_tag": (
            "An envelope without its tag.",
            msgspec.msgpack.encode({key: parts[key] for key in parts if key != "type"}),
        ),
        "no_envelope": ("A bare message.", payload),
        "signed_nonsense": ("A payload that is no message, well signed.", envelope(b"\xc0")),
        "signed_not_canonical": (
            "A message in another form than the one, well signed.",
            envelope(b"\x82" + _text("request") + b"\x08" + _text("type") + _text("jobs")),
        ),
    }
    for name, (fact, data) in undecodable.items():
        yield _connection(Reads.REQUESTS, name, fact, [hello, data], Layer.DECODE)
