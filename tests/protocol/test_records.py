# SPDX-License-Identifier: MIT
"""Records: one form each, one signature each, and none that could be written but not read."""

import json
from enum import StrEnum

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.strategies import CONTROL, RECORD_TYPES, WIDEST, largest, struct_of
from tests.vectors import samples
from tests.vectors.every_kind import all_kinds
from tibet_nc_protocol.errors import DecodeError, EncodeError, SignatureError
from tibet_nc_protocol.journal_ids import MESSAGE_IDS
from tibet_nc_protocol.limits import NOTES, RECORD_BYTES, TEXT_CHARACTERS
from tibet_nc_protocol.records import (
    RECORDS,
    Outcome,
    Record,
    SecurityEvent,
    actor,
    commitment,
    digest,
    sign,
    verify_signature,
)

ANY_RECORD = st.one_of(*(struct_of(cls) for cls in RECORD_TYPES))
KEY = samples.EXECUTOR.public_key


@pytest.mark.parametrize("cls", RECORD_TYPES)
@given(data=st.data())
def test_round_trip(cls: type[Record], data: st.DataObject) -> None:
    """What is encoded decodes to the same record, of the same kind."""
    record = data.draw(struct_of(cls))
    decoded = RECORDS.decode(RECORDS.encode(record))
    assert decoded == record
    assert type(decoded) is cls


@given(record=ANY_RECORD)
def test_a_line_is_sorted_json_without_a_line_end(record: Record) -> None:
    """Any JSON reader gets the values, the keys are sorted, and no line end is in the line."""
    line = RECORDS.encode(record)
    value = json.loads(line)
    assert list(value) == sorted(value)
    assert b"\n" not in line
    assert value["kind"] == record.__struct_config__.tag


@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_raise_our_error(data: bytes) -> None:
    """Any bytes give a record that encodes to those very bytes, or DecodeError."""
    try:
        record = RECORDS.decode(data)
    except DecodeError:
        return
    assert RECORDS.encode(record) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(line=st.sampled_from(all_kinds()), data=st.data())
def test_any_value_in_any_field_decodes_or_raises_our_error(
    line: samples.Line, data: st.DataObject
) -> None:
    """A record with any JSON value in one of its fields gives a record or DecodeError."""
    fields = json.loads(line.line)
    fields[data.draw(st.sampled_from(list(fields)))] = data.draw(JSON)
    encoded = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    try:
        record = RECORDS.decode(encoded.encode(errors="replace"))
    except DecodeError:
        return
    assert RECORDS.encode(record).decode() == encoded


@given(line=st.sampled_from(all_kinds()), data=st.data())
def test_altered_lines_are_not_the_same_record(line: samples.Line, data: st.DataObject) -> None:
    """I8: A line changed, cut or extended never decodes to the record that it was before."""
    begin = data.draw(st.integers(0, len(line.line)))
    end = data.draw(st.integers(begin, min(len(line.line), begin + 3)))
    altered = line.line[:begin] + data.draw(st.binary(max_size=3)) + line.line[end:]
    if altered == line.line:
        return
    assert digest(altered) != line.digest
    try:
        record = RECORDS.decode(altered)
    except DecodeError:
        return
    assert record != line.record
    with pytest.raises(SignatureError):
        verify_signature(record, KEY)


@given(record=ANY_RECORD)
def test_a_signature_covers_every_field(record: Record) -> None:
    """A signed record verifies with its key, with no other, and with no field changed."""
    signed = sign(record, samples.EXECUTOR)
    verify_signature(signed, KEY)
    assert sign(signed, samples.EXECUTOR) == signed
    with pytest.raises(SignatureError):
        verify_signature(signed, samples.STRANGER.public_key)
    for name in record.__struct_fields__:
        changed = msgspec.structs.replace(signed, **{name: _another(getattr(signed, name))})
        with pytest.raises(SignatureError):
            verify_signature(changed, KEY)


def _another(value: object) -> object:
    """Return another value that can be written in the place of one."""
    match value:
        case StrEnum():
            return next(member for member in type(value) if member is not value)
        case str():
            return value[:-1] + ("1" if value.endswith("0") else "0")
        case tuple():
            return () if value else ("a note",)
        case bool() | None:
            return not value
        case int():
            return value - 1 if value else 1
        case _:
            raise TypeError(type(value))


@given(record=ANY_RECORD)
def test_an_unsigned_record_does_not_verify(record: Record) -> None:
    """No signature at all is a wrong signature."""
    with pytest.raises(SignatureError):
        verify_signature(msgspec.structs.replace(record, sig=""), KEY)


@pytest.mark.parametrize("cls", RECORD_TYPES)
@pytest.mark.parametrize("text", [CONTROL, WIDEST, '"'])
def test_the_longest_record_of_each_kind_can_be_read(cls: type[Record], text: str) -> None:
    """I7: Whatever a type permits fits in a line, so no record is written that can't be read."""
    line = RECORDS.encode(largest(cls, text=text))
    assert len(line) <= RECORD_BYTES
    assert RECORDS.encode(RECORDS.decode(line)) == line


def _outcome(**fields: object) -> Outcome:
    return msgspec.structs.replace(samples.outcome(2, "0" * 64, of=1), **fields)


@pytest.mark.parametrize(
    "record",
    [
        _outcome(recording="x" * (TEXT_CHARACTERS + 1)),
        _outcome(notes=("",) * (NOTES + 1)),
        _outcome(notes=("\ud800",)),
        _outcome(seq=-1),
        _outcome(seq=2**53),
        _outcome(prev="F" * 64),
        _outcome(time="2026-11-25T00:00:00Z"),
        _outcome(reason="bored"),
        _outcome(sig="00"),
    ],
)
def test_what_a_type_forbids_is_not_written(record: Record) -> None:
    """I7: A record that no verifier could read is refused before it is in the chain."""
    with pytest.raises(EncodeError):
        RECORDS.encode(record)


def test_the_length_is_bounded_before_anything_is_decoded() -> None:
    """One byte over the limit is refused by its length."""
    with pytest.raises(DecodeError, match="at most 131072 are permitted"):
        RECORDS.decode(bytes(RECORD_BYTES + 1))


SALTS = st.binary(min_size=16, max_size=16)


@given(salts=st.tuples(SALTS, SALTS), commands=st.tuples(st.text(), st.text()))
def test_a_commitment_is_to_one_salt_and_one_command(
    salts: tuple[bytes, bytes], commands: tuple[str, str]
) -> None:
    """Salts have one length, so a commitment can't be opened with another salt and command."""
    one, two = (commitment(*pair) for pair in zip(salts, commands, strict=True))
    assert (one == two) == ((salts[0], commands[0]) == (salts[1], commands[1]))


def test_every_kind_has_a_message_id_of_its_own() -> None:
    """The journal tells the kinds of records apart, and none is missing."""
    assert {str(cls.__struct_config__.tag) for cls in RECORD_TYPES} == set(MESSAGE_IDS)
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    assert all(len(bytes.fromhex(message_id)) == 16 for message_id in MESSAGE_IDS.values())


def test_an_actor_is_its_matrix_user() -> None:
    """The JIS name of an operator is the Matrix id behind a prefix, nothing more."""
    assert actor("@ada:example.org") == "jis:matrix:@ada:example.org"
    assert SecurityEvent("agent") is SecurityEvent.AGENT
