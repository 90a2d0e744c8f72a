# SPDX-License-Identifier: MIT
"""What a verification says about files that nobody tampered with, and about what it can't read."""

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from tests.audit.chains import ALICE, EXECUTOR, LATER, STRANGER, Chain, add, cast, sample
from tests.audit.verdicts import CHAIN_ONLY, lines_of, put, report, saved_head
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, Held, held, save
from tibet_nc_audit.keys import Since, since
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import Pinned, verify
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, RECORDINGS, TOKENS, segment_name
from tibet_nc_protocol.records import ERASED_TEXT, RECORDS, Checkpoint, digest

EACH = pytest.mark.parametrize("depth", list(Depth))
SEGMENT = Path(CHAIN) / segment_name(0)
TEXTS = Path(PAYLOADS) / segment_name(0)


@EACH
@pytest.mark.parametrize("segment_records", [1, 2, 5, 1000])
def test_a_good_chain(tmp_path: Path, depth: Depth, segment_records: int) -> None:
    """A chain that an executor wrote is good, however it is cut into files."""
    chain = sample(tmp_path, segment_records=segment_records)
    found = report(tmp_path, depth=depth, pinned=True)
    assert found.findings == []
    assert found.good
    assert (found.records, found.length, found.head) == (19, 19, chain.head)
    assert found.segments == len(chain.segments)
    assert (found.host, found.key) == ("db1.example.org", EXECUTOR.public_key.hex)
    assert found.pinned is Pinned.GIVEN
    assert found.notes == []


def test_everything_is_counted(tmp_path: Path) -> None:
    """The report says how much was checked, so that nobody takes less for more."""
    sample(tmp_path)
    counts = report(tmp_path).counts
    assert counts.kinds == {
        "genesis": 1,
        "session": 1,
        "intent": 7,
        "outcome": 5,
        "refusal": 2,
        "security": 1,
        "aborted": 1,
        "checkpoint": 1,
    }
    assert (counts.texts, counts.missing_texts, counts.unclaimed_texts) == (8, 0, 0)
    assert (counts.recordings, counts.capped, counts.silent) == (3, 1, 1)
    assert (counts.tokens, counts.unclaimed_tokens) == (5, 0)


def test_a_command_that_still_runs_is_no_fault(tmp_path: Path) -> None:
    """A command without an outcome is named as running or interrupted, and is not bad."""
    sample(tmp_path)
    found = report(tmp_path)
    assert (found.good, found.open, found.open_total) == (True, [17], 1)


def test_without_a_pinned_key_the_report_says_so(tmp_path: Path) -> None:
    """A key that is taken from the chain itself is never called pinned."""
    sample(tmp_path)
    assert report(tmp_path).pinned is Pinned.NOT


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


@pytest.mark.parametrize(
    "text",
    ["17", "17:", "17:abc", "x:" + "a" * 64, ":" + "a" * 64, "17:" + "g" * 64, "17:" + "a" * 65],
)
def test_what_is_no_head(text: str) -> None:
    """What is neither SEQ:HEAD nor a head file is refused, never ignored."""
    with pytest.raises(AuditError):
        held(text)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10_000, b'{"record":1}'])
def test_what_is_no_head_file(tmp_path: Path, content: bytes) -> None:
    """A file that is no head file is refused with one error."""
    path = tmp_path / "head"
    path.write_bytes(content)
    with pytest.raises(AuditError, match="neither"):
        held(str(path))


# --- texts that are gone --------------------------------------------------------------------------


def test_an_erased_text(tmp_path: Path) -> None:
    """Erasing a text leaves the chain verifying; that it is gone is counted."""
    sample(tmp_path)
    path = tmp_path / TEXTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    found = report(tmp_path)
    assert (found.good, found.counts.texts, found.counts.missing_texts) == (True, 7, 1)


def test_an_erasure_on_record(tmp_path: Path) -> None:
    """A text and a recording that are on record as erased are no fault when they are gone."""
    chain = sample(tmp_path)
    chain.erased(2)
    undone = report(tmp_path)
    assert (undone.good, undone.counts.erasures, undone.counts.undone_erasures) == (True, 1, 1)
    path = tmp_path / TEXTS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path)
    assert found.findings == []
    assert (found.counts.missing_texts, found.counts.erased_recordings) == (1, 1)
    assert (found.counts.erasures, found.counts.undone_erasures) == (1, 0)


def test_an_erasure_of_another_command(tmp_path: Path) -> None:
    """A recording that is gone without a record of its own erasure is a fault (I8)."""
    chain = sample(tmp_path)
    chain.erased(4)
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path)
    assert [(finding.record, finding.reason) for finding in found.findings] == [(3, "not there")]


def test_an_erasure_of_the_text_alone(tmp_path: Path) -> None:
    """That a command's text was erased is no excuse for a recording that is gone (I8)."""
    chain = sample(tmp_path)
    chain.erased(2, ERASED_TEXT)
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path)
    assert [(finding.record, finding.reason) for finding in found.findings] == [(3, "not there")]


@EACH
@pytest.mark.parametrize("segment_records", [1, 3, 100])
def test_a_chain_that_goes_on_with_another_key(
    tmp_path: Path, depth: Depth, segment_records: int
) -> None:
    """A key record that the old key signed hands the chain over; the first key stays the pin."""
    chain = Chain(tmp_path, segment_records=segment_records)
    chain.command("before")
    for identity in (LATER, STRANGER):
        chain.rotate(identity)
        assert report(tmp_path, depth=depth, pinned=True).good
        chain.command("after")
        chain.checkpoint()
        found = report(tmp_path, depth=depth, pinned=True)
        assert found.findings == []
        assert found.key == EXECUTOR.public_key.hex
        assert found.last_key == identity.public_key.hex


@EACH
@pytest.mark.parametrize("segment_records", [1, 3, 100])
def test_a_chain_by_a_later_key(tmp_path: Path, depth: Depth, segment_records: int) -> None:
    """A key that the chain went on with proves all of it by what it has signed."""
    chain = Chain(tmp_path, segment_records=segment_records)
    chain.command("before")
    for identity in (LATER, STRANGER):
        begins = chain.rotate(identity) + 1
        key = identity.public_key
        with State(tmp_path) as state, pytest.raises(AuditError, match="nothing is signed with it"):
            verify(state, key=key, depth=depth)
        chain.command("after")
        with State(tmp_path) as state:
            found = verify(state, key=key, depth=depth)
        assert (found.findings, found.pinned) == ([], Pinned.GIVEN)
        assert found.key == EXECUTOR.public_key.hex
        assert [f"since record {begins}" in note for note in found.notes] == [True]
    with State(tmp_path) as state:
        assert verify(state, key=LATER.public_key, depth=depth).good


@EACH
@pytest.mark.parametrize("drop", [1, 2, 3])
def test_a_made_up_beginning(tmp_path: Path, depth: Depth, drop: int) -> None:
    """Whoever only names a later key, and goes on with its own records, is found out (I8)."""
    true = Chain(tmp_path / "true")
    true.command("before")
    true.rotate(LATER)
    true.command("after")
    forged = Chain(tmp_path / "forged", identity=STRANGER)
    for _ in range(3):
        forged.session()
    forged.rotate(LATER)
    assert forged.length == true.length - 1
    put(tmp_path / "forged", [*forged.lines, *true.lines[-drop:]])
    with State(tmp_path / "forged") as state:
        assert not verify(state, key=LATER.public_key, depth=depth).good


def test_a_later_key_that_signed_nothing(tmp_path: Path) -> None:
    """A key that a chain names vouches for nothing while others sign what follows (I8)."""
    chain = Chain(tmp_path)
    chain.rotate(LATER)
    chain.identity = EXECUTOR
    chain.session()
    with State(tmp_path) as state:
        assert since(state, LATER.public_key).first == LATER.public_key
        first = verify(state, key=LATER.public_key).first_bad
    assert first is not None
    assert (first.record, first.reason) == (0, "another executor's chain")


def test_a_later_key_that_somebody_else_named(tmp_path: Path) -> None:
    """A key is of a chain only if each key record up to it is signed by the key before (I8)."""
    chain = Chain(tmp_path)
    chain.identity = STRANGER
    chain.rotate(LATER)
    chain.session()
    with State(tmp_path) as state:
        assert since(state, LATER.public_key) == Since(first=LATER.public_key, record=0)
        assert not verify(state, key=LATER.public_key).good


@EACH
def test_a_key_record_that_the_old_key_did_not_sign(tmp_path: Path, depth: Depth) -> None:
    """Nobody but the executor can hand its chain to another key (I8)."""
    chain = Chain(tmp_path)
    chain.command("before")
    chain.identity = STRANGER
    number = chain.rotate(STRANGER)
    chain.command("after")
    first = report(tmp_path, depth=depth).first_bad
    assert first is not None
    assert first.record == number


@EACH
def test_a_fault_after_a_change_of_keys(tmp_path: Path, depth: Depth) -> None:
    """A record is named rightly whichever key signed it and the one before it (I8)."""
    chain = Chain(tmp_path)
    chain.command("before")
    key = chain.rotate(LATER)
    chain.command("after")
    chain.security()
    good = lines_of(tmp_path)
    for number in range(1, len(good)):
        lines = list(good)
        lines[number] = lines[number].replace(b'"time":"2026', b'"time":"2025')
        put(tmp_path, lines)
        first = report(tmp_path, depth=depth).first_bad
        assert first is not None
        assert (first.record, first.line) == (number, number + 1)
    assert key == 3


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
    assert report(chain.root, depth=depth, heads=[head]).good
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


def test_no_texts_at_all(tmp_path: Path) -> None:
    """A host that keeps no texts has a good chain."""
    sample(tmp_path)
    shutil.rmtree(tmp_path / PAYLOADS)
    found = report(tmp_path)
    assert (found.good, found.counts.texts, found.counts.missing_texts) == (True, 0, 8)


def test_what_a_crash_leaves(tmp_path: Path) -> None:
    """Texts and tokens whose records a crash prevented are counted, and harm nothing."""
    chain = Chain(tmp_path)
    for _ in range(3):
        lost = Chain.__new__(Chain)
        lost.__dict__.update(chain.__dict__)
        before = (tmp_path / SEGMENT).read_bytes()
        for number in range(3):
            lost.command(f"lost {number}")
        (tmp_path / SEGMENT).write_bytes(before)
        chain.command("kept")
        chain.security()
    found = report(tmp_path)
    assert found.findings == []
    assert (found.counts.texts, found.counts.unclaimed_texts) == (3, 9)
    assert (found.counts.tokens, found.counts.unclaimed_tokens) == (3, 9)


def test_a_recording_that_could_not_be_written(tmp_path: Path) -> None:
    """A full disk ends the recording; an empty file of which nothing was kept is no fault."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("df -h"), b"output", cap=0)
    (tmp_path / RECORDINGS / "000000000001.cast").write_bytes(b"")
    found = report(tmp_path)
    assert (found.good, found.counts.capped) == (True, 1)


def test_a_recording_longer_than_recorded(tmp_path: Path) -> None:
    """Of a capped recording the length is checked."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("yes"), b"y\n" * 100, cap=10)
    (tmp_path / RECORDINGS / "000000000001.cast").write_bytes(cast(b"y\n" * 6, "0"))
    found = report(tmp_path)
    assert found.first_bad is not None
    assert (found.first_bad.expected, found.first_bad.found) == ("10 bytes", "12 bytes")


# --- what is beside and what can't be read --------------------------------------------------------


def test_strangers_are_named(tmp_path: Path) -> None:
    """Files that are not of the chain are named and not read."""
    sample(tmp_path)
    (tmp_path / CHAIN / "000000000000.jsonl.bak").write_text("x")
    (tmp_path / PAYLOADS / segment_name(7)).write_text("x")
    found = report(tmp_path)
    assert found.good
    assert found.notes == [
        "chain/: not of this chain and not read: 000000000000.jsonl.bak",
        "payloads/: not of this chain and not read: 000000000007.jsonl",
    ]


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
@pytest.mark.parametrize("kind", ["missing", "directory", "link", "pipe"])
def test_a_segment_that_is_no_file(tmp_path: Path, depth: Depth, kind: str) -> None:
    """What isn't a regular file is never read, followed or waited for: one clear error."""
    sample(tmp_path)
    path = tmp_path / SEGMENT
    path.rename(tmp_path / "aside")
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "aside")
        case "pipe":
            os.mkfifo(path)
        case _:
            pass
    with pytest.raises(AuditError, match=r"no chain here|not a regular file"):
        report(tmp_path, depth=depth)


@pytest.mark.parametrize("folder", [CHAIN, PAYLOADS, TOKENS])
def test_a_folder_that_is_a_link(tmp_path: Path, folder: str) -> None:
    """A symbolic link below the state directory is never followed."""
    sample(tmp_path)
    (tmp_path / folder).rename(tmp_path / "aside")
    (tmp_path / folder).symlink_to(tmp_path / "aside")
    with pytest.raises(AuditError, match="not a"):
        report(tmp_path)


def test_a_writer_at_work(tmp_path: Path) -> None:
    """A line that is being written while we read is not taken for a torn one."""
    sample(tmp_path)
    data = (tmp_path / SEGMENT).read_bytes()
    (tmp_path / SEGMENT).write_bytes(data[:-10])
    with State(tmp_path) as state, state.open(segment_name(0), 10_000, CHAIN) as file:
        first = list(file)
        add(tmp_path / SEGMENT, data[-10:])
        assert [*first, *file] == data.split(b"\n")[:-1]
        assert file.torn == 0


# --- memory ---------------------------------------------------------------------------------------


def _peak(root: Path, depth: Depth) -> int:
    tracemalloc.start()
    try:
        assert report(root, depth=depth).good
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@EACH
def test_memory_does_not_grow_with_the_chain(tmp_path: Path, depth: Depth) -> None:
    """Ten times the records need no more memory."""
    chain = Chain(tmp_path / "small", segment_records=1_000)
    peaks = []
    for records in (2_000, 20_000):
        while chain.length < records:
            chain.command("true") if chain.length % 10 == 1 else chain.refusal("x", sender=ALICE)
        peaks.append(_peak(chain.root, depth))
    small, big = peaks
    assert big < small * 1.2 + 100_000


def test_memory_does_not_grow_with_a_line(tmp_path: Path) -> None:
    """A line of a hundred megabytes is read through and refused, in little memory."""
    chain = Chain(tmp_path)
    with (tmp_path / SEGMENT).open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.truncate(file.tell() + 100_000_000)
    add(tmp_path / SEGMENT, b"\n")
    tracemalloc.start()
    try:
        found = report(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    assert found.first_bad is not None
    assert found.first_bad.record == chain.length == 1


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
