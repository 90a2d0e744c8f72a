# SPDX-License-Identifier: MIT
"""Chains that begin or go on as none does: the walks still find the first bad record (I8)."""

from copy import copy
from pathlib import Path

import msgspec
import pytest

from tests.audit.chains import EXECUTOR, STRANGER, Chain, sample
from tests.audit.verdicts import CHAIN_ONLY, EACH, lines_of, put, report
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, held
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.records import FIRST_PREV, RECORDS, Aborted, Key, digest, sign
from tibet_nc_protocol.signing import Identity

PINNED = pytest.mark.parametrize("pinned", [False, True])


def _relinked(lines: list[bytes], identity: Identity) -> list[bytes]:
    """Give the records of lines new numbers, links and signatures."""
    made: list[bytes] = []
    head = FIRST_PREV
    for seq, line in enumerate(lines):
        record = msgspec.structs.replace(RECORDS.decode(line), seq=seq, prev=head)
        made.append(RECORDS.encode(sign(record, identity)))
        head = digest(made[-1])
    return made


@EACH
@PINNED
def test_a_chain_without_a_genesis(tmp_path: Path, depth: Depth, pinned: bool) -> None:
    """Records that are numbered, linked and signed well are no chain without a genesis before."""
    chain = Chain(tmp_path)
    chain.session()
    chain.security()
    put(tmp_path, _relinked(lines_of(tmp_path)[1:], EXECUTOR))
    first = report(tmp_path, depth=depth, pinned=pinned).first_bad
    assert first is not None
    assert (first.record, first.reason) == (
        0,
        "the genesis is the first record, and only that",
    )


@EACH
def test_a_second_genesis(tmp_path: Path, depth: Depth) -> None:
    """Not even the executor can begin its chain a second time, with a key of its own choice."""
    chain = Chain(tmp_path)
    chain.security()
    other = Chain(tmp_path / "other", identity=STRANGER)
    put(tmp_path, _relinked([*lines_of(tmp_path), other.lines[0], lines_of(tmp_path)[1]], EXECUTOR))
    first = report(tmp_path, depth=depth, pinned=True).first_bad
    assert first is not None
    assert (first.record, first.line) == (2, 3)


@EACH
def test_a_second_genesis_brings_no_key(tmp_path: Path, depth: Depth) -> None:
    """What a stranger wrote behind the chain is no better for a genesis before it (I8)."""
    chain = Chain(tmp_path)
    chain.security()
    other = Chain(tmp_path / "other", identity=STRANGER)
    for _ in range(3):
        other.security()
    put(tmp_path, [*lines_of(tmp_path), *other.lines])
    found = report(tmp_path, depth=depth)
    assert [finding.line for finding in found.findings] == [3, 4, 5, 6]


@EACH
def test_heads_hold_a_chain_whose_key_nobody_knows(tmp_path: Path, depth: Depth) -> None:
    """Where only the links can be checked, what is held is still compared (I8)."""
    sample(tmp_path)
    lines = lines_of(tmp_path)[1:]
    put(tmp_path, lines)
    head = digest(lines[-1])
    for text, said in ((f"18:{head}", []), (f"17:{head}", [17]), (f"19:{head}", [19])):
        found = report(tmp_path, depth=depth, heads=[held(text)])
        wrong = [(finding.what, finding.record) for finding in found.findings]
        assert wrong == [(What.RECORD, 0), *((What.HEAD, number) for number in said)]


@EACH
def test_numbers_that_do_not_count(tmp_path: Path, depth: Depth) -> None:
    """A record with another number than its place's is bad, though it is linked and signed."""
    chain = Chain(tmp_path)
    for _ in range(3):
        chain.security()
    chain.length += 1
    for _ in range(3):
        chain.security()
    found = report(tmp_path, depth=depth, pinned=True)
    assert [(f.record, f.reason, f.expected, f.found) for f in found.findings] == [
        (4, "wrong number", "4", "5")
    ]


@EACH
def test_a_genesis_that_comes_late(tmp_path: Path, depth: Depth) -> None:
    """A genesis after another record is found, though it is linked and signed, and so is that."""
    chain = Chain(tmp_path)
    chain.session()
    genesis, session = lines_of(tmp_path)
    put(tmp_path, _relinked([session, genesis, session, session], EXECUTOR))
    found = report(tmp_path, depth=depth)
    assert [finding.record for finding in found.findings] == [0, 1]


@EACH
@PINNED
def test_a_checkpoint_of_another_origin(tmp_path: Path, depth: Depth, pinned: bool) -> None:
    """A checkpoint is of this chain by its name, too, whoever signed it."""
    chain = Chain(tmp_path)
    chain.checkpoint()
    chain.origin = STRANGER.id
    number = chain.checkpoint()
    chain.origin = ""
    chain.checkpoint()
    found = report(tmp_path, depth=depth, pinned=pinned)
    assert [finding.record for finding in found.findings] == [number]
    assert found.executor == EXECUTOR.id


@EACH
def test_without_a_genesis_the_first_checkpoint_names_the_chain(
    tmp_path: Path, depth: Depth
) -> None:
    """Where the genesis is lost, checkpoints are good by what the first one says, and only then."""
    chain = Chain(tmp_path, segment_records=2)
    chain.security()
    chain.checkpoint()
    chain.checkpoint()
    chain.origin = STRANGER.id
    other = chain.checkpoint()
    chain.segments[0].unlink()
    found = report(tmp_path, depth=depth, pinned=True)
    assert [(f.what, f.record) for f in found.findings] == [
        (What.SEGMENT, 0),
        (What.RECORD, other),
    ]
    assert found.executor == EXECUTOR.id


@EACH
def test_a_checkpoint_of_another_tree(tmp_path: Path, depth: Depth) -> None:
    """The executor's own checkpoint must be of the records before it (I8)."""
    chain = Chain(tmp_path)
    chain.command("id")
    chain.checkpoint(root=bytes(32))
    chain.security()
    found = report(tmp_path, depth=depth)
    assert [(finding.record, finding.reason) for finding in found.findings] == [
        (3, "a checkpoint of another root")
    ]


def test_after_a_fault_checkpoints_are_not_held_against_it(tmp_path: Path) -> None:
    """One record altered or dropped makes one finding, though every later root is another."""
    chain = Chain(tmp_path)
    for _ in range(4):
        chain.command("id")
        chain.security()
        chain.checkpoint()
    good = lines_of(tmp_path)
    altered = good[5].replace(b'"device":"DEVICE"', b'"device":"FORGED"')
    for lines, number in (([*good[:5], altered, *good[6:]], 5), (good[:3] + good[4:], 3)):
        put(tmp_path, lines)
        assert [finding.record for finding in report(tmp_path).findings] == [number]


def test_without_a_genesis_checkpoints_are_still_checked(tmp_path: Path) -> None:
    """With a key, a chain that lost its beginning has one finding: that."""
    chain = sample(tmp_path, segment_records=5)
    chain.checkpoint()
    chain.segments[0].unlink()
    found = report(tmp_path, pinned=True)
    # Record 5 ends a command whose beginning is lost, too.
    assert [finding.record for finding in found.findings] == [0, 5]


@EACH
def test_without_a_genesis_the_links_are_checked(tmp_path: Path, depth: Depth) -> None:
    """Without a key there is still something to check, and the report says how little."""
    sample(tmp_path)
    lines = lines_of(tmp_path)[1:]
    lines[9] = lines[9].replace(b"example.org", b"example.com")
    put(tmp_path, lines)
    found = report(tmp_path, depth=depth)
    assert found.depth is CHAIN_ONLY
    assert [finding.record for finding in found.findings] == [0, 11]


@EACH
def test_a_genesis_of_another_format(tmp_path: Path, depth: Depth) -> None:
    """The key that it names is still what the records after it are verified with."""
    chain = Chain(tmp_path)
    for _ in range(3):
        chain.command("id")
    first, *rest = lines_of(tmp_path)
    lines = _relinked([first.replace(b'"format":1', b'"format":99'), *rest], EXECUTOR)
    lines[3] = lines[3].replace(b'"device":"DEVICE"', b'"device":"FORGED"')
    put(tmp_path, lines)
    found = report(tmp_path, depth=depth)
    assert [finding.record for finding in found.findings] == [0, 3]
    assert found.key == EXECUTOR.public_key.hex


@EACH
def test_a_number_left_out_after_a_forged_record(tmp_path: Path, depth: Depth) -> None:
    """That a record's link is to a forged one excuses no wrong number (I8)."""
    chain = Chain(tmp_path)
    for _ in range(8):
        chain.security()
    lines = lines_of(tmp_path)
    lines[5] = lines[5].replace(b'"time":"2026', b'"time":"2025')
    put(tmp_path, [*lines[:6], *lines[7:]])
    found = report(tmp_path, depth=depth)
    assert [finding.record for finding in found.findings] == [5, 6]


@EACH
def test_a_new_key_that_is_none(tmp_path: Path, depth: Depth) -> None:
    """A key record that names no good key is bad, and the records after it are still checked."""
    chain = Chain(tmp_path)
    number = chain.append(
        lambda seq, prev, time: Key(
            seq=seq, prev=prev, time=time, executor=EXECUTOR.id, key="01" + "00" * 31
        )
    )
    chain.security()
    chain.identity = STRANGER
    chain.security()
    found = report(tmp_path, depth=depth)
    assert [finding.record for finding in found.findings] == [number, number + 2]


def test_links_far_behind_a_fault(tmp_path: Path) -> None:
    """However far behind a fault a record is altered, its link is looked at (I8)."""
    chain = Chain(tmp_path)
    while chain.length < 150:
        chain.security()
    lines = lines_of(tmp_path)
    lines[5] = b"{}"
    for number in range(126, 142):
        altered = lines[number].replace(b'"time":"2026', b'"time":"2025')
        put(tmp_path, [*lines[:number], altered, *lines[number + 1 :]])
        found = report(tmp_path, depth=CHAIN_ONLY)
        assert [finding.record for finding in found.findings] == [5, number]


@EACH
def test_a_forged_beginning_is_one_finding(tmp_path: Path, depth: Depth) -> None:
    """The command that it began still ends rightly."""
    chain = Chain(tmp_path)
    chain.security()
    number = chain.command("id")
    chain.command("df -h")
    chain.checkpoint()
    lines = lines_of(tmp_path)
    lines[number] = lines[number].replace(b'"device":"DEVICE"', b'"device":"FORGED"')
    put(tmp_path, lines)
    found = report(tmp_path, depth=depth)
    assert [finding.record for finding in found.findings] == [number]


@pytest.mark.parametrize("depth", [Depth.RECORDS, Depth.DEEP])
def test_what_is_wrong_with_a_record_after_a_forged_one(tmp_path: Path, depth: Depth) -> None:
    """That its link is to a forged one isn't its fault; what it says itself is."""
    chain = Chain(tmp_path)
    forged = chain.security()
    number = chain.append(
        lambda seq, prev, time: Aborted(
            seq=seq, prev=prev, time=time, intent=0, run="0" * 32, detail="nothing began"
        )
    )
    lines = lines_of(tmp_path)
    lines[forged] = lines[forged].replace(b'"time":"2026', b'"time":"2025')
    put(tmp_path, lines)
    found = report(tmp_path, depth=depth).findings
    assert [finding.record for finding in found] == [forged, number]
    assert found[1].reason == "ends a command that is not open"


@EACH
def test_what_is_put_back_meanwhile_is_a_fault_all_the_same(tmp_path: Path, depth: Depth) -> None:
    """Lines that nobody signed were read, whatever stands there when their signer is looked for.

    Where a file ends, nothing else vouches for its last ones (I8).
    """
    chain = Chain(tmp_path)
    chain.security()
    good = lines_of(tmp_path)
    forger = copy(chain)
    forger.length, forger.head, forger.identity = 1, digest(good[0]), STRANGER
    put(tmp_path, good[:1])
    forger.security("nothing")
    forger.security("nothing at all")
    with State(tmp_path) as state:
        found = verify(
            state,
            key=EXECUTOR.public_key,
            depth=depth,
            report=lambda _bytes, _lines: put(tmp_path, good),
        )
    assert found.records == 3
    assert not found.good
