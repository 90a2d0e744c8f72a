# SPDX-License-Identifier: MIT
"""No byte of the files is altered or cut off unseen, and its record is named (I8)."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.chains import LATER, Chain
from tests.audit.verdicts import EACH, SEGMENT, TEXTS, number_at, report
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import RECORDINGS, TOKENS
from tibet_nc_protocol.recording import CastReader


@pytest.fixture(scope="module")
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a chain that went on with another key, for properties, which restore it."""
    root = tmp_path_factory.mktemp("handed-over")
    chain = Chain(root)
    chain.command("before")
    chain.checkpoint()
    chain.rotate(LATER)
    chain.command("after")
    chain.checkpoint()
    return root


@EACH
@given(at=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
@settings(max_examples=300, deadline=None)
def test_each_altered_byte_of_the_chain(scratch: Path, depth: Depth, at: int, mask: int) -> None:
    """One altered byte anywhere in the chain is found in the record that holds it (I8)."""
    path = scratch / SEGMENT
    data = path.read_bytes()
    at %= len(data)
    try:
        path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        found = report(scratch, depth=depth)
    finally:
        path.write_bytes(data)
    assert found.first_bad is not None
    assert found.first_bad.record == number_at(data, at)


@EACH
@given(at=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
@settings(max_examples=100, deadline=None)
def test_each_altered_byte_by_a_later_key(
    handed_over: Path, depth: Depth, at: int, mask: int
) -> None:
    """By a key that the chain went on with, one altered byte anywhere is found as well (I8)."""
    path = handed_over / SEGMENT
    data = path.read_bytes()
    at %= len(data)
    try:
        path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        with State(handed_over) as state, suppress(AuditError):  # nothing left that it signed
            assert not verify(state, key=LATER.public_key, depth=depth, jobs=1).good
    finally:
        path.write_bytes(data)
    with State(handed_over) as state:
        assert verify(state, key=LATER.public_key, depth=depth, jobs=1).good


@EACH
def test_every_byte_of_one_record(scratch: Path, depth: Depth) -> None:
    """No byte of a record can be altered unseen, its signature and its line end included (I8)."""
    path = scratch / SEGMENT
    data = path.read_bytes()
    begin = data.index(b'\n{"duration_ms"') + 1
    end = data.index(b"\n", begin) + 1
    try:
        for at in range(begin, end):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            first = report(scratch, depth=depth).first_bad
            assert first is not None
            assert (at, first.record) == (at, number_at(data, at))
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize("name", [TEXTS, Path(TOKENS)])
@given(at=st.integers(min_value=0), mask=st.integers(min_value=1, max_value=255))
@settings(max_examples=100, deadline=None)
def test_each_altered_byte_of_texts_and_tokens(
    scratch: Path, name: Path, at: int, mask: int
) -> None:
    """One altered byte in the texts or the tokens is found, though the chain is good (I8)."""
    path = scratch / name
    data = path.read_bytes()
    at %= len(data)
    try:
        path.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        found = report(scratch)
    finally:
        path.write_bytes(data)
    assert found.findings_total > 0
    assert {finding.what for finding in found.findings} <= {What.PAYLOAD, What.TOKEN}


@given(data=st.data(), mask=st.integers(min_value=1, max_value=255))
@settings(max_examples=100, deadline=None)
def test_each_altered_byte_of_a_recording(scratch: Path, data: st.DataObject, mask: int) -> None:
    """An altered recording is found, unless it still gives the very same output (I8)."""
    path = data.draw(st.sampled_from(sorted((scratch / RECORDINGS).iterdir())))
    whole = path.read_bytes()
    at = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    altered = whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :]
    capped = path.name == "000000000013.cast"
    try:
        path.write_bytes(altered)
        found = report(scratch)
    finally:
        path.write_bytes(whole)
    if found.good and not capped:
        assert _output(altered) == _output(whole)
    elif found.good:
        assert len(_output(altered)) == len(_output(whole))
    else:
        assert {finding.what for finding in found.findings} == {What.RECORDING}


def _output(recording: bytes) -> bytes:
    reader = CastReader()
    return b"".join(reader.feed(line) for line in recording.splitlines())


@EACH
@given(cut=st.integers(min_value=1))
@settings(max_examples=100, deadline=None)
def test_a_torn_last_line(scratch: Path, depth: Depth, cut: int) -> None:
    """A file that ends within a line has a finding of its own, and the records before are good."""
    path = scratch / SEGMENT
    data = path.read_bytes()
    last = len(data) - data.rindex(b"\n", 0, -1) - 1
    try:
        path.write_bytes(data[: -(cut % (last - 1) + 1)])
        found = report(scratch, depth=depth)
    finally:
        path.write_bytes(data)
    assert [(f.what, f.record) for f in found.findings] == [(What.TORN, 18)]
