# SPDX-License-Identifier: MIT
"""Messages: one encoding each, any bytes give a message or our error, and every one fits."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import (
    CONTROL,
    REQUEST_CODEC,
    REQUEST_TYPES,
    RESPONSE_CODEC,
    RESPONSE_TYPES,
    WIDEST,
    largest,
    struct_of,
)
from tests.vectors import samples
from tibet_nc_protocol.codec import JsonCodec, MessageCodec
from tibet_nc_protocol.errors import DecodeError, EncodeError
from tibet_nc_protocol.layout import Payload
from tibet_nc_protocol.limits import COMMAND_CHARACTERS, EXACT_INTEGER, FRAME_BYTES
from tibet_nc_protocol.messages import REQUESTS, ChainTail, Request, Response, Run, Status
from tibet_nc_protocol.terms import run_id

CODECS = [REQUEST_CODEC, RESPONSE_CODEC]
TYPES: list[tuple[MessageCodec[object], type[Request | Response]]] = [
    *((REQUEST_CODEC, cls) for cls in REQUEST_TYPES),
    *((RESPONSE_CODEC, cls) for cls in RESPONSE_TYPES),
]
SAMPLES: list[tuple[MessageCodec[object], Request | Response]] = [
    *((REQUEST_CODEC, message) for message in samples.requests().values()),
    *((RESPONSE_CODEC, message) for message in samples.responses().values()),
]
GOOD = [(codec, codec.encode(message)) for codec, message in SAMPLES]


@pytest.mark.parametrize(("codec", "cls"), TYPES)
@given(data=st.data())
def test_round_trip(
    codec: MessageCodec[object], cls: type[msgspec.Struct], data: st.DataObject
) -> None:
    """What is encoded decodes to the same message, of the same type."""
    message = data.draw(struct_of(cls))
    decoded = codec.decode(codec.encode(message))
    assert decoded == message
    assert type(decoded) is cls


@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_raise_our_error(data: bytes) -> None:
    """Any bytes give a message that encodes to those very bytes, or DecodeError."""
    for codec in CODECS:
        try:
            message = codec.decode(data)
        except DecodeError:
            continue
        assert codec.encode(message) == data


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(tag=st.sampled_from([*samples.requests(), *samples.responses()]), data=st.data())
def test_any_value_in_any_field_decodes_or_raises_our_error(tag: str, data: st.DataObject) -> None:
    """A message with any msgpack value in one of its fields gives a message or DecodeError."""
    fields = msgspec.to_builtins((samples.requests() | samples.responses())[tag])
    fields[data.draw(st.sampled_from(list(fields)))] = data.draw(JSON)
    encoded = msgspec.msgpack.encode(fields)
    for codec in CODECS:
        try:
            message = codec.decode(encoded)
        except DecodeError:
            continue
        assert codec.encode(message) == encoded


@given(case=st.sampled_from(GOOD), data=st.data())
def test_altered_bytes_decode_to_another_message_or_raise(
    case: tuple[MessageCodec[object], bytes], data: st.DataObject
) -> None:
    """Bytes changed, cut or added never decode to the message that they were before."""
    codec, good = case
    begin = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(begin, min(len(good), begin + 4)))
    altered = good[:begin] + data.draw(st.binary(max_size=4)) + good[end:]
    if altered == good:
        return
    with suppress(DecodeError):
        assert codec.decode(altered) != codec.decode(good)


def test_no_type_takes_anothers_bytes() -> None:
    """A request is no response and the other way round, whatever their types."""
    for codec, good in GOOD:
        with pytest.raises(DecodeError):
            (RESPONSE_CODEC if codec is REQUEST_CODEC else REQUEST_CODEC).decode(good)


@pytest.mark.parametrize(("codec", "cls"), TYPES)
def test_the_longest_message_of_each_type_fits_in_a_frame(
    codec: MessageCodec[object], cls: type[msgspec.Struct]
) -> None:
    """Whatever a type permits can be sent: the envelope adds less than 600 bytes."""
    message = largest(cls, text=WIDEST)
    assert len(codec.encode(message)) + 600 <= FRAME_BYTES
    assert codec.decode(codec.encode(message)) == message


@pytest.mark.parametrize("codec", CODECS)
def test_the_length_is_bounded_before_anything_is_decoded(codec: MessageCodec[object]) -> None:
    """One byte over the limit is refused by its length."""
    with pytest.raises(DecodeError, match="at most 524288 are permitted"):
        codec.decode(bytes(FRAME_BYTES + 1))


@pytest.mark.parametrize("kind", [MessageCodec, JsonCodec])
def test_the_limit_is_the_longest_that_passes(
    kind: type[MessageCodec[Payload] | JsonCodec[Payload]],
) -> None:
    """What is as long as is permitted is read and written, and nothing longer is."""
    payload = Payload(seq=1, salt="f" * 32, command="ls")
    data = kind(Payload, max_bytes=1000).encode(payload)
    exact, short = (kind(Payload, max_bytes=len(data) - less) for less in (0, 1))
    assert exact.decode(exact.encode(payload)) == payload
    said = f"{len(data)} bytes; at most {len(data) - 1} are permitted"
    with pytest.raises(DecodeError, match=said):
        short.decode(data)
    with pytest.raises(EncodeError, match=said):
        short.encode(payload)


def test_errors_name_the_field() -> None:
    """What a type forbids is named with its field, and what is no text by the error's name."""
    with pytest.raises(EncodeError, match=r"Expected `int` >= 0 - at `\$\.request`"):
        REQUESTS.encode(_run(request=-1))
    for surrogate in ("\ud800", "secret \udfff"):
        with pytest.raises(EncodeError, match=r": UnicodeEncodeError\Z"):
            REQUESTS.encode(_run(command=surrogate))


def _run(**fields: object) -> Run:
    return msgspec.structs.replace(samples.RUN_REQUEST, **fields)


@pytest.mark.parametrize(
    "message",
    [
        _run(command=""),
        _run(command="x" * (COMMAND_CHARACTERS + 1)),
        _run(command="\ud800"),
        _run(request=-1),
        _run(request=EXACT_INTEGER + 1),
        _run(request=2**64),
        _run(request=True),
        _run(room="@ada:example.org"),
        _run(room="!" + 255 * "x"),
        _run(event="$a b"),
        _run(sender=None),
        ChainTail(request=1, limit=33),
    ],
)
def test_what_a_type_forbids_is_not_sent(message: Request) -> None:
    """Encoding a message that every reader would refuse raises, before anything is sent."""
    with pytest.raises(EncodeError):
        REQUESTS.encode(message)


def test_errors_do_not_repeat_the_command() -> None:
    """I10: The text of an error never holds the text of a message, which may be a secret."""
    secret = "hunter2-" + WIDEST
    message = msgspec.msgpack.encode(msgspec.to_builtins(_run(command=secret, room=secret)))
    with pytest.raises(DecodeError) as refused:
        REQUESTS.decode(message)
    with pytest.raises(EncodeError) as unsent:
        REQUESTS.encode(_run(command=secret, room=secret))
    assert "hunter2" not in str(refused.value) + str(unsent.value)


@given(name=st.text(min_size=1))
def test_errors_are_one_short_line(name: str) -> None:
    """Whatever a peer writes for a tag or a key, the error is a line that any log can hold."""
    for message in ({"type": name}, {"type": "jobs", "request": 1, name * 50: 1}):
        with pytest.raises(DecodeError) as refused:
            REQUESTS.decode(msgspec.msgpack.encode(message))
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 300


def test_fields_stand_in_the_order_of_their_definition() -> None:
    """The tag is the first key of every message, and the fields follow as they are defined."""
    for codec, message in SAMPLES:
        keys = list(msgspec.msgpack.decode(codec.encode(message)))
        assert keys == ["type", *message.__struct_fields__]


IDENTIFIERS = struct_of(Status).map(lambda status: (status.room, "$" + status.sender[1:]))


@given(one=IDENTIFIERS, two=IDENTIFIERS)
def test_a_run_belongs_to_one_event_in_one_room(one: tuple[str, str], two: tuple[str, str]) -> None:
    """I3: Two events, or one event id in two rooms, never have the same run."""
    assert (run_id(*one) == run_id(*two)) == (one == two)


def test_largest_values_are_the_largest() -> None:
    """The strategy for the longest messages reaches the limits it is meant to reach."""
    longest = largest(Run, text=CONTROL)
    assert len(longest.command) == COMMAND_CHARACTERS
    assert len(longest.room.encode()) == 1 + 254 * 4
    assert len(json.dumps(longest.request)) == 16


def test_unions_hold_every_message() -> None:
    """No message is in both directions, and each has a tag of its own."""
    messages: list[type[Request | Response]] = [*REQUEST_TYPES, *RESPONSE_TYPES]
    tags = [cls.__struct_config__.tag for cls in messages]
    assert len(set(tags)) == len(tags)
