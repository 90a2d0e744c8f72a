# SPDX-License-Identifier: MIT
"""Journal files in both of journalctl's forms: what is in them is read, whatever that is."""

import io
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.test_crosscheck_journal import Entry, as_export, as_json
from tibet_nc_audit.crosscheck import exports
from tibet_nc_audit.crosscheck.exports import DOUBLED, entries
from tibet_nc_audit.errors import AuditError


def read(data: bytes) -> list[Entry]:
    """Read a journal file."""
    return list(entries(io.BytesIO(data), "journal"))


VALUES = st.text(max_size=40).filter(lambda text: "\r" not in text)


@given(
    journal=st.lists(
        st.dictionaries(st.sampled_from(sorted(exports.WANTED)), VALUES, min_size=1), max_size=5
    )
)
def test_both_forms_say_the_same(journal: list[Entry]) -> None:
    """What is written in either form is read again, whatever the values hold."""
    assert read(as_export(journal)) == journal
    assert read(as_json(journal)) == journal


@given(
    data=st.binary(max_size=200), begin=st.sampled_from([b"", b"{", b"A=b\n", b"TIBET_NC_SEQ\n"])
)
def test_any_bytes_are_a_journal_or_our_error(data: bytes, begin: bytes) -> None:
    """Reading is total."""
    with suppress(AuditError):
        read(begin + data)


@given(cut=st.integers(1, 400))
def test_a_file_that_was_cut_is_refused(cut: int) -> None:
    """A file that ends within an entry isn't taken for a journal that lacks the rest."""
    whole = as_export([{"TIBET_NC_SEQ": "1", "TIBET_NC_CHECKPOINT": "a\nb\n" * 20}])
    part = whole[: -(cut % len(whole) or 1)]
    if part:
        with pytest.raises(AuditError):
            read(part)


@pytest.mark.parametrize("value", ["[]", "[55,256]", "[55,-1]", '[55,"7"]', "[[55],55]", "[55.5]"])
def test_an_array_that_is_no_value_counts_for_nothing(value: str) -> None:
    """Of what journalctl doesn't write, no part is taken for the field's value."""
    (entry,) = read(b'{"TIBET_NC_SEQ":' + value.encode() + b"}\n")
    assert entry["TIBET_NC_SEQ"] == DOUBLED


def test_a_field_that_stands_twice_counts_for_nothing() -> None:
    """Which of two values counts can't be known, so neither does."""
    (entry,) = read(b"TIBET_NC_SEQ=1\nTIBET_NC_SEQ=2\n\n")
    assert entry["TIBET_NC_SEQ"] == DOUBLED
    (entry,) = read(b'{"TIBET_NC_SEQ":["1","2"]}\n')
    assert entry["TIBET_NC_SEQ"] == DOUBLED


def test_values_that_are_no_text() -> None:
    """Bytes that are no UTF-8, and values that journalctl leaves out, are read all the same."""
    (entry,) = read(b'{"TIBET_NC_EVENT":[255,65],"TIBET_NC_RUN":null}\n')
    assert entry == {"TIBET_NC_EVENT": "\\xffA", "TIBET_NC_RUN": ""}
    (entry,) = read(b"TIBET_NC_EVENT\n\x02\0\0\0\0\0\0\0\xffA\n\n")
    assert entry == {"TIBET_NC_EVENT": "\\xffA"}


def test_a_huge_value_is_passed_over() -> None:
    """A value of many megabytes is read through in little memory."""
    huge = 50_000_000
    data = b"TIBET_NC_RUN\n" + struct.pack("<Q", huge) + bytes(huge) + b"\n\n"
    (entry,) = read(data)
    assert len(entry["TIBET_NC_RUN"]) <= 2 * exports.FIELD_BYTES
