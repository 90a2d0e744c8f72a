# SPDX-License-Identifier: MIT
"""Records dropped, moved, put in, rewritten or signed by another are found where they are (I8)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.chains import ALICE, BOB, STRANGER, Chain
from tests.audit.verdicts import EACH, lines_of, prev_of, put, report
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import RecordError
from tibet_nc_protocol.layout import RECORDINGS, recording_name
from tibet_nc_protocol.records import RECORDS, digest, sign

type Alter = Callable[[list[bytes]], list[bytes]]


def _drop(at: int) -> Alter:
    return lambda lines: lines[:at] + lines[at + 1 :]


def _swap(one: int, other: int) -> Alter:
    def swap(lines: list[bytes]) -> list[bytes]:
        lines[one], lines[other] = lines[other], lines[one]
        return lines

    return swap


def _insert(at: int, line: bytes | int) -> Alter:
    return lambda lines: [
        *lines[:at],
        lines[line] if isinstance(line, int) else line,
        *lines[at:],
    ]


RECORD_FAULTS: Sequence[tuple[str, Alter, int]] = (
    ("the genesis is dropped", _drop(0), 0),
    ("a record is dropped", _drop(5), 5),
    ("the beginning is cut off", lambda lines: lines[7:], 0),
    ("the middle is cut out", lambda lines: lines[:4] + lines[12:], 4),
    ("neighbours are swapped", _swap(5, 6), 5),
    ("distant records are swapped", _swap(3, 14), 3),
    ("the genesis is moved", _swap(0, 1), 0),
    ("all is reversed", lambda lines: lines[::-1], 0),
    ("a record is doubled", _insert(6, 5), 6),
    ("an old record is put in again", _insert(12, 2), 12),
    ("the genesis is put in again", _insert(9, 0), 9),
    ("garbage is inserted", _insert(8, b"\xff\x00garbage"), 8),
    ("an empty line is inserted", _insert(8, b""), 8),
    ("an empty line comes first", _insert(0, b""), 0),
    ("a huge line is inserted", _insert(8, b"x" * 1_000_000), 8),
    ("a deep line is inserted", _insert(8, b"[" * 100_000), 8),
    ("a record has a space more", lambda lines: [*lines[:5], lines[5] + b" ", *lines[6:]], 5),
)


@EACH
@pytest.mark.parametrize(
    ("alter", "first"),
    [pytest.param(alter, first, id=name) for name, alter, first in RECORD_FAULTS],
)
def test_records_out_of_place(state: Path, depth: Depth, alter: Alter, first: int) -> None:
    """A record that is dropped, moved, doubled or put in is found where it happened (I8)."""
    put(state, alter(lines_of(state)))
    found = report(state, depth=depth)
    assert found.first_bad is not None
    assert found.first_bad.record == first


@pytest.mark.parametrize(
    ("alter", "first"),
    [pytest.param(alter, first, id=name) for name, alter, first in RECORD_FAULTS if first],
)
def test_what_comes_after_is_still_checked(state: Path, alter: Alter, first: int) -> None:
    """A fault hides no other: a second one, at the end, is found after it (I8)."""
    lines = alter(lines_of(state))
    lines[-2] = lines[-2].replace(b'"device":"DEVICE"', b'"device":"FORGED"')
    put(state, lines)
    found = report(state)
    assert found.first_bad is not None
    assert found.first_bad.record == first
    assert (17, "the signature does not verify") in {(f.record, f.reason) for f in found.findings}


@pytest.mark.parametrize("last", [False, True])
def test_what_a_forged_record_speaks_of_is_not_looked_for(state: Path, last: bool) -> None:
    """One fault is one finding: what nobody has signed says nothing of texts and tokens (I8)."""
    lines = lines_of(state)
    at = max(n for n, line in enumerate(lines) if b'"token_sha256":"' in line)
    before, _, after = lines[at].partition(b'"token_sha256":"')
    lines[at] = before + b'"token_sha256":"' + b"0" * 64 + after[64:]
    put(state, lines[: at + 1] if last else lines)
    found = report(state)
    assert [(f.record, f.reason) for f in found.findings] == [(at, "the signature does not verify")]


@pytest.mark.parametrize("depth", [Depth.RECORDS, Depth.DEEP])
def test_what_the_records_after_a_forged_one_speak_of(state: Path, depth: Depth) -> None:
    """One forged record keeps nobody from looking at what the records after it speak of (I8)."""
    lines = lines_of(state)
    lines[4] = lines[4].replace(b'"device":"DEVICE"', b'"device":"FORGED"')
    put(state, lines)
    recording = state / RECORDINGS / recording_name(7)
    recording.write_bytes(recording.read_bytes().replace(b"up 3 days", b"up 2 days"))
    found = report(state, depth=depth)
    assert [(f.what, f.record) for f in found.findings] == [(What.RECORD, 4), (What.RECORDING, 8)]


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_two_verifiers_agree(scratch: Path, data: st.DataObject) -> None:
    """The first record named is the one at which the protocol's own verifier stops (I8)."""
    good = lines_of(scratch)
    places = st.integers(min_value=0, max_value=len(good) - 1)
    lines = list(good)
    for _ in range(data.draw(st.integers(min_value=1, max_value=3))):
        at, other = data.draw(places) % len(lines), data.draw(places) % len(lines)
        alter = data.draw(st.sampled_from([_drop(at), _swap(at, other), _insert(at, other)]))
        lines = alter(lines)
    expected = None
    verifier = ChainVerifier()
    for line in lines:
        try:
            verifier.feed(line)
        except RecordError as error:
            expected = error.position
            break
    try:
        put(scratch, lines)
        found = {depth: report(scratch, depth=depth).first_bad for depth in Depth}
    finally:
        put(scratch, good)
    for first in found.values():
        assert (first.record if first else None) == expected


@EACH
def test_another_key_from_some_record_on(state: Path, depth: Depth) -> None:
    """Records that someone else wrote and linked are not the executor's (I8)."""
    lines = lines_of(state)
    head = digest(lines[8])
    for at in range(9, len(lines)):
        record = RECORDS.decode(
            lines[at].replace(b'"prev":"%s"' % prev_of(lines[at]), b'"prev":"%s"' % head.encode())
        )
        lines[at] = RECORDS.encode(sign(record, STRANGER))
        head = digest(lines[at])
    put(state, lines)
    found = report(state, depth=depth)
    assert found.first_bad is not None
    assert found.first_bad.record == 9
    assert found.findings_total == 10


@EACH
@pytest.mark.parametrize("segment_records", [1, 3, 4, 1000])
@pytest.mark.parametrize(("first", "last"), [(1, 1), (3, 3), (2, 6), (5, 9), (7, 14), (11, 20)])
def test_a_row_of_records_is_rewritten(
    tmp_path: Path, depth: Depth, segment_records: int, first: int, last: int
) -> None:
    """Records that are altered and linked anew, by somebody without the key, are each named (I8).

    Whatever they are linked to, and wherever files end and checkpoints stand.
    """
    chain = Chain(tmp_path, segment_records=segment_records)
    for number in range(1, 23):
        if number % 5 == 0:
            chain.checkpoint()
        else:
            chain.security(f"number {number}")
    lines = chain.lines
    head = digest(lines[first - 1])
    for at in range(first, last + 1):
        record = RECORDS.decode(lines[at].replace(prev_of(lines[at]), head.encode()))
        altered = msgspec.structs.replace(record, time=record.time.replace("2026", "2025"))
        lines[at] = RECORDS.encode(altered)
        head = digest(lines[at])
    for path in chain.segments:
        begin = int(path.stem)
        part = lines[begin : begin + segment_records]
        path.write_bytes(b"".join(line + b"\n" for line in part))
    found = report(tmp_path, depth=depth)
    assert found.first_bad is not None
    assert found.first_bad.record == first
    assert [finding.record for finding in found.findings] == list(range(first, last + 1))


@EACH
def test_another_executors_chain(tmp_path: Path, depth: Depth) -> None:
    """A whole chain that a stranger made is good by itself, and bad by the executor's key (I8)."""
    Chain(tmp_path, identity=STRANGER).command("id")
    assert report(tmp_path, depth=depth).good
    found = report(tmp_path, depth=depth, pinned=True)
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.reason) == (0, "another executor's chain")


def test_many_faults_are_all_counted(tmp_path: Path) -> None:
    """Findings are listed up to a bound and counted beyond it; the first stays the first."""
    chain = Chain(tmp_path)
    for number in range(300):
        chain.refusal(f"command {number}", sender=ALICE if number % 2 else BOB)
    lines = [line.replace(b"stops the host", b"starts the host") for line in lines_of(tmp_path)]
    put(tmp_path, lines)
    found = report(tmp_path)
    assert (found.findings_total, len(found.findings)) == (300, 100)
    assert found.first_bad is not None
    assert found.first_bad.record == 1
