# SPDX-License-Identifier: MIT
"""Files: names that sort as their numbers do, and payloads in one form."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.strategies import struct_of
from tibet_nc_protocol.errors import DecodeError, EncodeError
from tibet_nc_protocol.layout import (
    PAYLOADS_CODEC,
    SALT_BYTES,
    Payload,
    recording_name,
    segment_first,
    segment_name,
)
from tibet_nc_protocol.limits import COMMAND_CHARACTERS

NUMBERS = st.integers(0, 10**12 - 1)


@given(one=NUMBERS, two=NUMBERS)
def test_names_sort_as_numbers_do(one: int, two: int) -> None:
    """Segments sorted by name are in the chain's order, and the number can be read back."""
    assert (segment_name(one) < segment_name(two)) == (one < two)
    assert segment_first(segment_name(one)) == one
    assert (recording_name(one) < recording_name(two)) == (one < two)


@given(name=st.text(max_size=20) | st.from_regex(r"\A\d{11,13}\.jsonl?\n?\Z"))
@example(name="000000000005.jsonl\n")
@example(name="0000000000005.jsonl")
@example(name="\N{ARABIC-INDIC DIGIT ONE}" * 12 + ".jsonl")
@example(name="000000000005xjsonl")
@example(name="x000000000005.jsonl")
def test_any_other_name_is_no_segment(name: str) -> None:
    """A name is a segment's if and only if it is what segment_name makes: no two for one."""
    first = segment_first(name)
    assert first is None or segment_name(first) == name


@given(payload=struct_of(Payload))
def test_payloads_round_trip(payload: Payload) -> None:
    """What is encoded decodes to the same payload; its salt has the one length."""
    assert PAYLOADS_CODEC.decode(PAYLOADS_CODEC.encode(payload)) == payload
    assert len(bytes.fromhex(payload.salt)) == SALT_BYTES


@given(data=st.binary(max_size=100))
def test_any_bytes_decode_or_raise_our_error(data: bytes) -> None:
    """Any bytes give a payload that encodes to those very bytes, or DecodeError."""
    try:
        payload = PAYLOADS_CODEC.decode(data)
    except DecodeError:
        return
    assert PAYLOADS_CODEC.encode(payload) == data


def test_a_payload_has_no_other_fields() -> None:
    """A line with a field that nobody specified is no payload: whoever wrote it meant more."""
    line = PAYLOADS_CODEC.encode(Payload(seq=1, salt="f" * 32, command="ls"))
    with pytest.raises(DecodeError, match="unknown field"):
        PAYLOADS_CODEC.decode(line.replace(b'"seq":1', b'"seq":1,"zone":""'))


@pytest.mark.parametrize("character", ["\x01", "\U0010ffff", '"'])
def test_the_longest_command_can_be_kept(character: str) -> None:
    """Every command that may be asked for fits in a payload line, however it is written."""
    payload = Payload(seq=2**53 - 1, salt="f" * 32, command=character * COMMAND_CHARACTERS)
    assert PAYLOADS_CODEC.decode(PAYLOADS_CODEC.encode(payload)) == payload


@pytest.mark.parametrize("salt", ["", "f" * 30, "F" * 32])
def test_a_salt_of_another_form_is_not_written(salt: str) -> None:
    """A salt of another length would make a commitment ambiguous, so it is refused."""
    with pytest.raises(EncodeError):
        PAYLOADS_CODEC.encode(Payload(seq=1, salt=salt, command="ls"))
