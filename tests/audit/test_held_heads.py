# SPDX-License-Identifier: MIT
"""A chain that was cut, rewritten or put back is refused by what somebody holds of it (I8)."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.audit.chains import STRANGER, Chain, sample
from tests.audit.verdicts import EACH, lines_of, prev_of, put, report, saved_head
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, Held, held, save
from tibet_nc_audit.report import Pinned
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import RECORDS, Checkpoint, Security, digest, sign


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
        lines[at] = lines[at].replace(prev_of(lines[at]), digest(lines[at - 1]).encode())
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
        line = 6 - (len(lines) - len(forged))
        assert head.line == line
        assert (head.expected, head.found) == (digest(lines[5]), digest(forged[line - 1]))


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
def test_a_head_file_pins_the_key(tmp_path: Path, depth: Depth) -> None:
    """A head that was saved holds the chain to its key, too (I8)."""
    chain = Chain(tmp_path / "state")
    save(tmp_path / "head", saved_head(chain.root))
    head = held(str(tmp_path / "head"))
    found = report(chain.root, depth=depth, heads=[head])
    assert (found.good, found.pinned) == (True, Pinned.HEAD)
    Chain(tmp_path / "other", identity=STRANGER)
    found = report(tmp_path / "other", depth=depth, heads=[head])
    assert found.first_bad is not None
    assert found.first_bad.reason == "another executor's chain"


def test_two_keys_that_contradict_each_other(tmp_path: Path) -> None:
    """A key and a head file of another key are a mistake of whoever asks."""
    chain = Chain(tmp_path)
    head = Held(record=0, head=chain.head, source="a file", key=STRANGER.public_key)
    with pytest.raises(AuditError, match="of another key"):
        report(tmp_path, heads=[head], pinned=True)


@EACH
def test_a_checkpoint_that_is_held(tmp_path: Path, depth: Depth) -> None:
    """A checkpoint's note from the journal or the room holds the chain to its root (I8)."""
    chain = Chain(tmp_path / "state")
    chain.command("id")
    number = chain.checkpoint()
    record = RECORDS.decode(chain.lines[number])
    assert isinstance(record, Checkpoint)
    (tmp_path / "note").write_text(record.note)
    head = held(str(tmp_path / "note"))
    whole = report(chain.root, depth=depth, heads=[head])
    assert (whole.good, whole.checkpoint) == (True, record.note)
    put(chain.root, lines_of(chain.root)[:number])
    cut = report(chain.root, depth=depth, heads=[head]).first_bad
    assert cut is not None
    assert (cut.record, cut.what) == (number, What.HEAD)
    assert record.root in cut.expected
    other = Chain(tmp_path / "other")
    other.command("rm -rf /")
    other.checkpoint()
    changed = report(other.root, depth=depth, heads=[head]).first_bad
    assert changed is not None
    assert (changed.record, changed.what, changed.expected) == (number, What.HEAD, record.root)


def test_a_head_is_compared_at_its_record(tmp_path: Path) -> None:
    """Every record's own digest is a head that the chain agrees with, in both walks."""
    sample(tmp_path, segment_records=7)
    heads = [
        held(f"{number}:{digest(line)[:12]}")
        for segment in sorted((tmp_path / CHAIN).iterdir())
        for number, line in enumerate(segment.read_bytes().splitlines(), int(segment.stem))
    ]
    assert len(heads) == 19
    for depth in Depth:
        assert report(tmp_path, depth=depth, heads=heads).good
        wrong = [*heads[:6], held("6:" + "0" * 12), *heads[7:]]
        first = report(tmp_path, depth=depth, heads=wrong).first_bad
        assert first is not None
        assert first.record == 6
