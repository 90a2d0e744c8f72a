# SPDX-License-Identifier: MIT
"""What a verification says about files that nobody tampered with."""

from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, Chain, sample
from tests.audit.verdicts import EACH, SEGMENT, report
from tibet_nc_audit.heads import Depth
from tibet_nc_audit.reader import BLOCK_BYTES, State
from tibet_nc_audit.report import Pinned
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import TOKENS


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


def test_files_that_are_begun_meanwhile(tmp_path: Path) -> None:
    """The first text and token of a chain may be written while it is verified already."""
    chain = Chain(tmp_path)
    while chain.segments[0].stat().st_size < 2 * BLOCK_BYTES:
        chain.security()
    chain.command("df")
    files = [tmp_path / TOKENS, chain.texts]
    for file in files:
        file.rename(file.with_suffix(".later"))

    def begin(_bytes: int, _lines: int) -> None:
        for file in files:
            if not file.exists():
                file.with_suffix(".later").rename(file)

    with State(tmp_path) as state:
        found = verify(state, report=begin)
    assert found.findings == []
    assert (found.counts.texts, found.counts.missing_texts, found.counts.tokens) == (1, 0, 1)
