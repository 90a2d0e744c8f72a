# SPDX-License-Identifier: MIT
"""Whatever is done to the files is detected, and the first bad record is named (I8)."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit.chains import ALICE, BOB, LATER, STRANGER, Chain, sample
from tests.audit.verdicts import lines_of, number_at, put, report
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, held
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import RecordError
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, RECORDINGS, TOKENS, segment_name
from tibet_nc_protocol.recording import CastReader
from tibet_nc_protocol.records import RECORDS, Outcome, Security, digest, sign

SEGMENT = Path(CHAIN) / segment_name(0)
TEXTS = Path(PAYLOADS) / segment_name(0)
EACH = pytest.mark.parametrize("depth", list(Depth))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good state directory that no test alters."""
    root = tmp_path_factory.mktemp("original")
    sample(root)
    return root


@pytest.fixture
def state(original: Path, tmp_path: Path) -> Path:
    """Return a copy to alter."""
    return shutil.copytree(original, tmp_path / "state")


@pytest.fixture(scope="module")
def scratch(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy for properties, which restore what they alter."""
    return shutil.copytree(original, tmp_path_factory.mktemp("scratch") / "state")


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


# --- bytes ----------------------------------------------------------------------------------------


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


# --- records --------------------------------------------------------------------------------------

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
            lines[at].replace(b'"prev":"%s"' % _prev(lines[at]), b'"prev":"%s"' % head.encode())
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
        record = RECORDS.decode(lines[at].replace(_prev(lines[at]), head.encode()))
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
def test_a_held_record_out_of_place(tmp_path: Path, depth: Depth) -> None:
    """A rewritten history isn't hidden by putting the record that is held somewhere behind it."""
    chain, other = Chain(tmp_path / "held"), Chain(tmp_path / "rewritten")
    for number in range(1, 9):
        chain.security(f"number {number}")
        other.security(f"number {number}" if number < 5 else "another")
    line = lines_of(chain.root)[5]
    lines = lines_of(other.root)
    put(other.root, [*lines, line])
    found = report(other.root, depth=depth, heads=[held(f"5:{digest(line)}")])
    (head,) = (finding for finding in found.findings if finding.what is What.HEAD)
    assert head.reason == "not the record that is held (given)"
    assert (head.record, head.line, head.found) == (5, 6, digest(lines[5]))


def _forged(lines: list[bytes], number: int) -> bytes:
    """Return a record that could stand in another's place, signed by somebody else."""
    record = RECORDS.decode(lines[number])
    assert isinstance(record, Security)
    return RECORDS.encode(sign(msgspec.structs.replace(record, detail="forged"), STRANGER))


def _prev(line: bytes) -> bytes:
    return RECORDS.decode(line).prev.encode()


@EACH
def test_another_executors_chain(tmp_path: Path, depth: Depth) -> None:
    """A whole chain that a stranger made is good by itself, and bad by the executor's key (I8)."""
    Chain(tmp_path, identity=STRANGER).command("id")
    assert report(tmp_path, depth=depth).good
    found = report(tmp_path, depth=depth, pinned=True)
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.reason) == (0, "another executor's chain")


# --- the end --------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("kept", [0, 1, 9, 18])
def test_the_end_is_cut_off(state: Path, depth: Depth, kept: int) -> None:
    """A chain that was cut short is refused by a head that is held, and both are shown (I8)."""
    lines = lines_of(state)
    head = held(f"18:{digest(lines[18])}")
    assert report(state, depth=depth, heads=[head]).good
    put(state, lines[:kept])
    assert report(state, depth=depth).good == (kept > 0)
    found = report(state, depth=depth, heads=[head])
    cut = next(finding for finding in found.findings if finding.what is What.HEAD)
    assert cut.record == kept
    assert head.head in cut.expected
    assert (digest(lines[kept - 1]) if kept else "0" * 64) in cut.found


@EACH
def test_a_head_from_the_room(tmp_path: Path, depth: Depth) -> None:
    """A command's number and the head of its end, as the room shows them, hold the chain (I8)."""
    chain = sample(tmp_path)
    good = lines_of(tmp_path)
    for number, end in ((2, 3), (6, 9), (10, 10), (15, 16)):
        head = held(f"#{number}:{digest(good[end])[:8]}")
        assert report(tmp_path, depth=depth, heads=[head]).good
        put(tmp_path, good[:end])
        cut = report(tmp_path, depth=depth, heads=[head]).first_bad
        assert cut is not None
        assert (cut.record, cut.what) == (end, What.HEAD)
        assert f"the end of #{number}" in cut.expected
        put(tmp_path, good)
        wrong = held(f"#{number}:{'0' * 8}")
        first = report(tmp_path, depth=depth, heads=[wrong]).first_bad
        assert first is not None
        assert (first.record, first.what) == (end, What.HEAD)
    assert chain.length == 19


@EACH
def test_a_head_amid_what_was_rewritten(tmp_path: Path, depth: Depth) -> None:
    """A head that doesn't fit is found in its own line, after what is wrong before it (I8)."""
    chain = Chain(tmp_path)
    for number in range(1, 20):
        chain.security(f"number {number}")
    lines = lines_of(tmp_path)
    held_heads = [held(f"{number}:{digest(lines[number])}") for number in (2, 12, 12, 15)]
    for at in range(7, 20):
        lines[at] = lines[at].replace(_prev(lines[at]), digest(lines[at - 1]).encode())
        lines[at] = lines[at].replace(b"number 7", b"number X")
    put(tmp_path, lines)
    found = report(tmp_path, depth=depth, heads=held_heads)
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.what) == (7, What.RECORD)
    amid = [(f.record, f.line) for f in found.findings if f.what is What.HEAD]
    assert amid == [(12, 13), (12, 13), (15, 16)]


HELD_AND_FORGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "another in its place": (
        lambda lines: [*lines[:5], _forged(lines, 5), *lines[6:]],
        "not the record that is held (given)",
    ),
    "no record in its place": (
        lambda lines: [*lines[:5], b"{}", *lines[6:]],
        "not the record that is held (given)",
    ),
    "another before it": (lambda lines: [*lines[:5], _forged(lines, 5), *lines[5:]], ""),
    "nothing": (
        lambda lines: [*lines[:5], *lines[6:]],
        "the chain lacks a record that is held (given)",
    ),
    "no genesis": (lambda lines: lines[1:], ""),
    "only itself": (lambda lines: lines[5:], ""),
    "only another": (
        lambda lines: [_forged(lines, 5), *lines[6:]],
        "not the record that is held (given)",
    ),
    "the end": (
        lambda lines: lines[:5],
        "the chain does not reach a record that is held (given)",
    ),
}


@EACH
@pytest.mark.parametrize("case", HELD_AND_FORGED)
def test_what_stands_where_a_held_record_should(tmp_path: Path, depth: Depth, case: str) -> None:
    """Of a record that is held it is said what is the case: another, none, or the end before it."""
    chain = Chain(tmp_path)
    for number in range(1, 9):
        chain.security(f"number {number}")
    lines = lines_of(tmp_path)
    alter, said = HELD_AND_FORGED[case]
    forged = alter(lines)
    put(tmp_path, forged)
    found = report(tmp_path, depth=depth, heads=[held(f"5:{digest(lines[5])}")])
    assert not found.good
    heads = [finding for finding in found.findings if finding.what is What.HEAD]
    assert [finding.reason for finding in heads] == ([said] if said else [])
    if said.startswith("not"):
        (head,) = heads
        assert head.record == 5
        assert head.line == 6 - (len(lines) - len(forged))
        assert (head.expected, head.found) == (digest(lines[5]), digest(forged[head.line - 1]))


@EACH
def test_a_head_of_a_forged_record(tmp_path: Path, depth: Depth) -> None:
    """Where the record that is held is there and forged, it is told to be forged, and no more."""
    chain = Chain(tmp_path)
    for number in range(1, 9):
        chain.security(f"number {number}")
    lines = lines_of(tmp_path)
    forged = _forged(lines, 5)
    put(tmp_path, [*lines[:5], forged, *lines[6:]])
    found = report(tmp_path, depth=depth, heads=[held(f"5:{digest(forged)}")])
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.what) == (5, What.RECORD)
    assert found.first_bad.reason == "the signature does not verify"
    assert What.HEAD not in {finding.what for finding in found.findings}


@EACH
def test_an_older_copy_is_put_back(tmp_path: Path, depth: Depth) -> None:
    """An older copy of the whole directory, grown on, isn't the chain whose head is held (I8)."""
    chain = sample(tmp_path / "state")
    shutil.copytree(tmp_path / "state", tmp_path / "older")
    older = Chain.__new__(Chain)
    older.__dict__.update(chain.__dict__ | {"root": tmp_path / "older"})
    number = chain.command("rm -rf /srv/data")
    head = held(f"{number}:{digest(lines_of(chain.root)[number])[:8]}")
    older.command("true")
    assert report(chain.root, depth=depth, heads=[head]).good
    found = report(older.root, depth=depth, heads=[head])
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.what) == (number, What.HEAD)


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


# --- segments -------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize(("gone", "first"), [(0, 0), (1, 5), (2, 10)])
def test_a_segment_is_missing(tmp_path: Path, depth: Depth, gone: int, first: int) -> None:
    """A file of the chain that is gone is named by the record it began with (I8)."""
    chain = sample(tmp_path, segment_records=5)
    assert report(tmp_path, depth=depth).good
    chain.segments[gone].unlink()
    found = report(tmp_path, depth=depth)
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.what) == (first, What.SEGMENT)
    assert found.first_bad.expected == segment_name(first)


@EACH
def test_the_last_segment_is_missing(tmp_path: Path, depth: Depth) -> None:
    """The last file of the chain is missed by who holds a head of it (I8)."""
    chain = sample(tmp_path, segment_records=5)
    head = held(f"18:{chain.head}")
    chain.segments[-1].unlink()
    assert report(tmp_path, depth=depth).good
    found = report(tmp_path, depth=depth, heads=[head])
    assert found.first_bad is not None
    assert (found.first_bad.record, found.first_bad.what) == (15, What.HEAD)


@EACH
def test_segments_are_swapped(tmp_path: Path, depth: Depth) -> None:
    """A file of the chain under another's name is found at its first record (I8)."""
    chain = sample(tmp_path, segment_records=5)
    one, other = chain.segments[1:3]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    found = report(tmp_path, depth=depth)
    assert found.first_bad is not None
    assert found.first_bad.record == 5


# --- what records speak of ------------------------------------------------------------------------


def test_texts_are_swapped(state: Path) -> None:
    """A command's text under another command's number is found in both (I8)."""
    path = state / TEXTS
    path.write_bytes(
        path.read_bytes()
        .replace(b'"seq":2}', b'"seq":X}')
        .replace(b'"seq":4}', b'"seq":2}')
        .replace(b'"seq":X}', b'"seq":4}')
    )
    found = report(state)
    assert [(f.what, f.record) for f in found.findings] == [(What.PAYLOAD, 2), (What.PAYLOAD, 4)]


def test_a_text_is_filed_under_no_commands_number(state: Path) -> None:
    """A text can't be made to look erased by filing it under another number (I8)."""
    path = state / TEXTS
    path.write_bytes(path.read_bytes().replace(b'"seq":2}', b'"seq":3}'))
    found = report(state)
    assert [(f.what, f.record) for f in found.findings] == [(What.PAYLOAD, 2)]


def test_recordings_are_swapped(state: Path) -> None:
    """A recording under another command's name is found in both (I8)."""
    one, other = (state / RECORDINGS / f"{number:012d}.cast" for number in (2, 7))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    found = report(state)
    # Each is named by the outcome's record, which holds the digest.
    assert [(f.what, f.record) for f in found.findings] == [
        (What.RECORDING, 3),
        (What.RECORDING, 8),
    ]


@pytest.mark.parametrize("replace", ["nothing", "directory", "link", "pipe", "empty", "torn"])
def test_a_recording_is_not_there(state: Path, replace: str) -> None:
    """A recording that is gone, or something else, or cut, is found (I8)."""
    path = state / RECORDINGS / "000000000002.cast"
    whole = path.read_bytes()
    path.unlink()
    match replace:
        case "directory":
            path.mkdir()
        case "link":
            aside = state.parent / "aside.cast"
            aside.write_bytes(whole)
            path.symlink_to(aside)
        case "pipe":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "torn":
            path.write_bytes(whole[:-1])
        case _:
            pass
    found = report(state)
    assert [(f.what, f.record) for f in found.findings] == [(What.RECORDING, 3)]


def test_tokens_are_dropped_and_swapped(state: Path) -> None:
    """A token that is gone is found; the order in which tokens stand proves nothing (I8)."""
    path = state / TOKENS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert report(state).good
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert [(f.what, f.record) for f in report(state).findings] == [(What.TOKEN, 5)]


def test_a_forged_token_is_no_evidence(state: Path) -> None:
    """A token that no record names is counted and said, and isn't taken for evidence."""
    path = state / TOKENS
    line = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(path.read_bytes() + line.replace(b"tibet_", b"forged_") + line)
    found = report(state)
    assert found.good
    assert found.counts.unclaimed_tokens == 2


def test_the_last_text_is_cut(state: Path) -> None:
    """A file of texts that ends within a line is found, be it by its line end alone (I8)."""
    path = state / TEXTS
    data = path.read_bytes()
    for cut in (1, 2, 50):
        path.write_bytes(data[:-cut])
        found = report(state).findings
        assert [(f.what, f.record) for f in found] == [(What.PAYLOAD, 17)]
        assert found[0].reason == "the last line is incomplete"


@pytest.mark.parametrize(
    ("token", "alter", "what", "reason"),
    [
        (
            lambda line: line.replace(b"an operator", b"no operator"),
            lambda outcome: outcome,
            What.TOKEN,
            "the content hash isn't that of the content",
        ),
        (
            lambda line: line.replace(b'"state": "resolved"', b'"state": "unheard of"'),
            lambda outcome: outcome,
            What.TOKEN,
            "not a TIBET token of the twelve keys (ValidationError)",
        ),
        (
            lambda line: line,
            lambda outcome: msgspec.structs.replace(outcome, recording="../../etc/passwd"),
            What.RECORDING,
            "the record names another file",
        ),
        (
            lambda line: line,
            lambda outcome: msgspec.structs.replace(outcome, output_bytes=1),
            What.RECORDING,
            "the record says that more was recorded than printed",
        ),
    ],
    ids=["content hash", "state", "recording's name", "lengths"],
)
def test_the_executor_itself_is_wrong(
    tmp_path: Path,
    token: Callable[[bytes], bytes],
    alter: Callable[[Outcome], Outcome],
    what: What,
    reason: str,
) -> None:
    """What the executor signed is checked all the same."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("id"), b"uid=0", token=token, alter=alter)
    found = report(tmp_path).findings
    assert [(f.record, f.what, f.reason) for f in found] == [(2, what, reason)]


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
