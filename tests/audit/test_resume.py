# SPDX-License-Identifier: MIT
"""Verification that goes on where an earlier one ended, and verification on many cores."""

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.audit.chains import ALICE, EXECUTOR, LATER, STRANGER, Chain, sample
from tests.audit.program import process
from tests.audit.verdicts import CHAIN_ONLY, DEEP, EACH, SEGMENT, lines_of, put, report, saved_head
from tibet_nc_audit import signatures
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, SavedHead, held
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import RECORDINGS, TOKENS
from tibet_nc_protocol.records import digest


def _grow(chain: Chain) -> None:
    chain.outcome(17, b"it ended later\n")
    chain.command("df -h", b"20G\n")
    chain.security()
    chain.checkpoint()


@EACH
@pytest.mark.parametrize("segment_records", [1, 4, 7, 1000])
def test_what_is_new_is_verified(tmp_path: Path, depth: Depth, segment_records: int) -> None:
    """Going on from a head gives the head, tree and open commands that a whole run gives (I8)."""
    chain = sample(tmp_path, segment_records=segment_records)
    saved = saved_head(tmp_path, depth=depth)
    nothing = report(tmp_path, depth=depth, resume=saved)
    assert (nothing.findings, nothing.records, nothing.length) == ([], 0, 19)
    _grow(chain)
    found = report(tmp_path, depth=depth, resume=saved, pinned=True)
    assert found.findings == []
    assert (found.records, found.length, found.head) == (5, 24, chain.head)
    assert found.counts.unclaimed_tokens == 0
    assert saved_head(tmp_path, depth=depth, resume=saved) == saved_head(tmp_path, depth=depth)


@EACH
def test_every_record_can_be_gone_on_from(tmp_path: Path, depth: Depth) -> None:
    """Wherever the earlier run ended, what is altered after it is found in its record (I8)."""
    for kept in range(1, 24):
        chain = Chain(tmp_path / str(kept))
        while chain.length < kept:
            chain.refusal("x", sender=ALICE)
        saved = saved_head(chain.root, depth=depth)
        chain.command("one", b"1")
        number = chain.command("two", b"2")
        chain.checkpoint()
        assert report(chain.root, depth=depth, resume=saved).good
        lines = lines_of(chain.root)
        lines[number] = lines[number].replace(b"DEVICE", b"FORGED")
        put(chain.root, lines)
        first = report(chain.root, depth=depth, resume=saved).first_bad
        assert first is not None
        assert (first.record, first.line) == (number, number + 1)


@EACH
def test_the_record_it_goes_on_from_is_looked_at(tmp_path: Path, depth: Depth) -> None:
    """A chain that was cut before the head, or is another one, is not gone on with (I8)."""
    chain = sample(tmp_path / "state", segment_records=5)
    saved = saved_head(chain.root, depth=depth)
    chain.segments[-1].unlink()
    cut = report(chain.root, depth=depth, resume=saved).first_bad
    assert cut is not None
    assert (cut.what, cut.record) == (What.HEAD, 15)
    other = sample(tmp_path / "other")
    lines = lines_of(other.root)
    lines[18] = lines[18].replace(b'"time":"2026', b'"time":"2025')
    put(other.root, lines)
    first = report(other.root, depth=depth, resume=saved).first_bad
    assert first is not None
    assert (first.what, first.record) == (What.HEAD, 18)


@EACH
def test_what_is_bad_after_the_head_is_named_with_its_line(tmp_path: Path, depth: Depth) -> None:
    """Gone on from a head, a fault has the file and the line that it has for anybody (I8)."""
    chain = sample(tmp_path)
    saved = saved_head(tmp_path, depth=depth)
    number = chain.session()
    chain.session()
    lines = lines_of(tmp_path)
    lines[number] = lines[number].replace(b'"time":"2026', b'"time":"2025')
    put(tmp_path, lines)
    first = report(tmp_path, depth=depth, resume=saved).first_bad
    assert first is not None
    assert (first.record, first.file, first.line) == (number, str(SEGMENT), number + 1)


def test_what_was_verified_before_is_not_read_again(tmp_path: Path) -> None:
    """A change before the head isn't seen by going on, as the page says, and is by --against."""
    chain = sample(tmp_path)
    saved = saved_head(tmp_path)
    lines = lines_of(tmp_path)
    lines[5] = lines[5].replace(b'"time":"2026', b'"time":"2025')
    put(tmp_path, lines)
    assert report(tmp_path, resume=saved).good
    assert not report(tmp_path).good
    # The tree was saved, so the next checkpoint is still compared with what was verified.
    chain.checkpoint()
    first = report(tmp_path, resume=saved).first_bad
    assert first is not None
    assert (first.record, first.reason) == (19, "a checkpoint of another root")


def test_going_on_over_a_change_of_keys(tmp_path: Path) -> None:
    """The key that signs now is not the one to hold; both are in the head file."""
    chain = Chain(tmp_path)
    chain.rotate(LATER)
    chain.command("id")
    saved = saved_head(tmp_path)
    chain.checkpoint()
    chain.rotate(STRANGER)
    chain.command("id")
    found = report(tmp_path, resume=saved, pinned=True)
    assert found.findings == []
    assert (found.key, found.last_key) == (EXECUTOR.public_key.hex, STRANGER.public_key.hex)


def test_what_a_command_left_running_ends_later(tmp_path: Path) -> None:
    """What had been left running when the head was saved may end after it, once (I8)."""
    chain = Chain(tmp_path)
    number = chain.intent("make &")
    chain.outcome(number, b"begun\n", leftover=1)
    saved = saved_head(tmp_path)
    chain.remainder(number, b"done\n")
    assert report(tmp_path, resume=saved).findings == []
    again = saved_head(tmp_path, resume=saved)
    assert (list(saved.left), list(again.left)) == ([number], [])


def test_evidence_of_what_is_new(tmp_path: Path) -> None:
    """Texts, recordings and tokens of the new records are checked, those of the old ones aren't."""
    chain = sample(tmp_path)
    saved = saved_head(tmp_path)
    number = chain.command("cat /etc/hostname", b"db1\n")
    (tmp_path / RECORDINGS / "000000000002.cast").unlink()
    found = report(tmp_path, resume=saved)
    assert found.good
    assert (found.counts.texts, found.counts.recordings, found.counts.tokens) == (1, 1, 1)
    (tmp_path / RECORDINGS / f"{number:012d}.cast").unlink()
    tokens = (tmp_path / TOKENS).read_bytes().splitlines(keepends=True)
    (tmp_path / TOKENS).write_bytes(b"".join(tokens[:-1]))
    kinds = {finding.what for finding in report(tmp_path, resume=saved).findings}
    assert kinds == {What.RECORDING, What.TOKEN}


def test_less_than_before_is_said(tmp_path: Path) -> None:
    """A head that only the chain was checked for isn't the start of a check of more."""
    chain = sample(tmp_path)
    saved = saved_head(tmp_path, depth=CHAIN_ONLY)
    with pytest.raises(AuditError, match="chain-only"):
        report(tmp_path, resume=saved)
    deep = saved_head(tmp_path, depth=DEEP)
    chain.security()
    assert saved_head(tmp_path, resume=deep).depth is Depth.RECORDS


def test_a_head_of_another_executor(tmp_path: Path) -> None:
    """With --key, a head file that was verified with another key is no start."""
    sample(tmp_path)
    saved = saved_head(tmp_path)
    with State(tmp_path) as state, pytest.raises(AuditError, match="is of another key"):
        verify(state, key=STRANGER.public_key, resume=saved)


def test_more_than_before_is_not_claimed(tmp_path: Path) -> None:
    """A head says how much was checked of all before it, not only of what was new."""
    chain = sample(tmp_path)
    saved = saved_head(tmp_path)
    chain.security()
    saved = saved_head(tmp_path, depth=DEEP, resume=saved)
    assert saved.depth is Depth.RECORDS
    chain.security()
    saved = saved_head(tmp_path, depth=CHAIN_ONLY, resume=saved)
    assert saved.depth is Depth.CHAIN


def test_the_program_goes_on(tmp_path: Path) -> None:
    """The file of --save-head serves --resume-from, and the report says what wasn't read."""
    chain = sample(tmp_path / "state")
    head = tmp_path / "head.json"
    verify = ("verify", "--state", chain.root, "--key", EXECUTOR.public_key.hex)
    assert process(*verify, "--save-head", head).status == 0
    _grow(chain)
    done = process(*verify, "--resume-from", head, "--save-head", head)
    assert done.status == 0
    assert "before       record 0 to 18 were verified earlier (records), not again" in done.out
    assert "records      5 in 1 file" in done.out
    assert json.loads(head.read_text())["record"] == 23
    for damage in (b"{}", b"", head.read_bytes().replace(b'"tree": [', b'"tree": ["aa",')):
        head.write_bytes(damage)
        done = process(*verify, "--resume-from", head)
        assert (done.status, len(done.err.splitlines())) == (2, 1)


def test_nothing_is_gone_on_from_a_bad_chain(tmp_path: Path) -> None:
    """Where a chain is bad nobody is told where the next verification could begin."""
    chain = sample(tmp_path)
    kept: list[SavedHead] = []
    put(tmp_path, [*chain.lines[:5], *chain.lines[6:]])
    with State(tmp_path) as state:
        assert not verify(state, key=EXECUTOR.public_key, keep=kept.append).good
    assert kept == []


def test_what_is_held_of_before_is_not_passed_over(tmp_path: Path) -> None:
    """A head of a record that isn't read any more is an error, whatever it says."""
    chain = sample(tmp_path)
    saved = saved_head(tmp_path)
    good = digest(chain.lines[5])
    for text in (f"5:{good}", f"5:{'0' * 64}", f"#4:{good}"):
        with pytest.raises(AuditError, match="record 5 is before the head file's"):
            report(tmp_path, heads=[held(text)], resume=saved)


@EACH
@pytest.mark.parametrize("segment_records", [1, 4])
def test_where_it_ended_is_gone(tmp_path: Path, depth: Depth, segment_records: int) -> None:
    """A chain without the segment that the head is in, and those before it, is bad (I8)."""
    chain = sample(tmp_path, segment_records=segment_records)
    saved = saved_head(tmp_path, depth=depth)
    _grow(chain)
    for segment in chain.segments[:-1]:
        segment.unlink()
    assert not report(tmp_path, depth=depth, resume=saved).good


# --- on many cores --------------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes for the smallest chain, and let batches be small."""
    monkeypatch.setattr(signatures, "WORTH_BYTES", 0)
    monkeypatch.setattr("tibet_nc_audit.reader.BLOCK_BYTES", 2000)


@pytest.mark.usefixtures("at_once")
def test_on_many_cores_the_verdict_is_the_same(tmp_path: Path) -> None:
    """The report doesn't depend on how many processes made it, good or bad, whatever the keys."""
    chain = sample(tmp_path, segment_records=12)
    chain.rotate(LATER)
    for _ in range(20):
        chain.command("id")
    chain.rotate(STRANGER)
    chain.command("id")
    chain.checkpoint()
    verdicts: list[bool] = []
    good = [path.read_bytes() for path in chain.segments]
    for altered in (None, (0, b"DEVICE"), (1, b"@alice"), (3, b'"exit":0')):
        if altered is not None:
            path = chain.segments[altered[0]]
            path.write_bytes(good[altered[0]].replace(altered[1], altered[1][::-1]))
        one, many = (report(tmp_path, depth=DEEP, jobs=jobs) for jobs in (1, 3))
        assert one.findings == many.findings
        assert (one.head, one.length, one.counts) == (many.head, many.length, many.counts)
        verdicts.append(many.good)
    assert verdicts == [True, False, False, False]


def test_a_signature_that_only_the_deep_check_sees(tmp_path: Path) -> None:
    """A record that the executor vouched for without having signed it is found by --deep (I8)."""
    chain = Chain(tmp_path)
    chain.identity = STRANGER
    number = chain.security()
    chain.identity = EXECUTOR
    chain.checkpoint()
    assert report(tmp_path).good
    found = report(tmp_path, depth=DEEP)
    assert [finding.record for finding in found.findings] == [number]


@pytest.mark.usefixtures("at_once")
def test_nothing_is_left_running(tmp_path: Path) -> None:
    """The processes end with the check."""
    sample(tmp_path)
    assert report(tmp_path, depth=DEEP, jobs=3).good
    end = time.monotonic() + 10
    while _children() and time.monotonic() < end:
        time.sleep(0.05)
    assert _children() == []


def _children() -> list[str]:
    """Return the command lines of our children that verify; the fork server itself stays."""
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (_said(task / "children") or "").split():
            text = _said(Path(f"/proc/{pid}/cmdline"))
            if text is not None and "forkserver" not in text and "resource_tracker" not in text:
                found.append(text)
    return found


def _said(path: Path) -> str | None:
    """Return what the kernel says of a process or thread, None if that has ended meanwhile."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text(errors="replace")
    return None


@EACH
def test_a_checkpoint_of_another_origin_after_the_head(tmp_path: Path, depth: Depth) -> None:
    """The chain's name is in the head file; a later checkpoint can't give it another one."""
    chain = Chain(tmp_path)
    chain.security()
    saved = saved_head(tmp_path, depth=depth)
    chain.origin = STRANGER.id
    number = chain.checkpoint()
    found = report(tmp_path, depth=depth, resume=saved)
    assert [finding.record for finding in found.findings] == [number]
