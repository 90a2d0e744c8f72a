# SPDX-License-Identifier: MIT
"""Files that are long, or made so by an enemy: each fault is found, read once, in little space."""

import os
import re
import tracemalloc
from pathlib import Path
from typing import Final

import pytest

from tests.audit.chains import ALICE, EXECUTOR, Chain, add
from tests.audit.verdicts import EACH, SEGMENT, TEXTS, lines_of, put, report, saved_head
from tibet_nc_audit.heads import Depth
from tibet_nc_audit.lookahead import WINDOW
from tibet_nc_audit.reader import State
from tibet_nc_protocol.layout import RECORDINGS, TOKENS, recording_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import digest
from tibet_nc_protocol.signing import Purpose, signed_text


@EACH
def test_faults_far_apart(tmp_path: Path, depth: Depth) -> None:
    """After a fault every record is checked, however many good ones follow it."""
    chain = Chain(tmp_path)
    for _ in range(700):
        chain.refusal(None)
    lines = lines_of(tmp_path)
    altered = [10, 300, 301, 650]
    put(tmp_path, [line[:-3] + b"0}" if at in altered else line for at, line in enumerate(lines)])
    found = report(tmp_path, depth=depth)
    assert [finding.record for finding in found.findings] == altered


_SIGNATURE = re.compile(rb'"sig":"[0-9a-f]{128}",')


@EACH
@pytest.mark.parametrize("more", [1, 20_000, 64_000, 200_000])
def test_a_record_over_the_limit(tmp_path: Path, depth: Depth, more: int) -> None:
    """A line that is too long is no record, though the executor itself signed and linked it."""
    chain = Chain(tmp_path)
    chain.security("long")
    long = b'"detail":"' + b"x" * (RECORD_BYTES + more) + b'"'
    line = _SIGNATURE.sub(b"", lines_of(tmp_path)[1].replace(b'"detail":"long"', long))
    signature = EXECUTOR.sign(signed_text(Purpose.RECORD, line)).hex().encode()
    line = line.replace(b'"time":', b'"sig":"%s","time":' % signature)
    put(tmp_path, [lines_of(tmp_path)[0], line])
    chain.head = digest(line)
    chain.security()
    found = report(tmp_path, depth=depth, pinned=True)
    assert found.first_bad is not None
    assert found.first_bad.record == 1


def test_many_faults_are_read_over_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To name each wrong record, little of its file is read again, wherever in it that stands."""
    chain = Chain(tmp_path)
    for _ in range(2_000):
        chain.refusal(None)
    lines = lines_of(tmp_path)
    put(tmp_path, [line if at % 2 == 0 else b"x" for at, line in enumerate(lines)])
    reads = 0

    def counting(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        return pread(descriptor, length, offset)

    pread = os.pread
    monkeypatch.setattr(os, "pread", counting)
    for depth in (Depth.CHAIN, Depth.RECORDS):
        reads = 0
        assert report(tmp_path, depth=depth).findings_total == 1_000
        assert reads < 3 * 1_000


@pytest.mark.parametrize("orphans", [WINDOW - 1, 3 * WINDOW])
def test_a_row_of_tokens_that_no_record_names(tmp_path: Path, orphans: int) -> None:
    """However many tokens without a record stand in a row, those that have one are found."""
    chain = Chain(tmp_path)
    chain.command("id")
    add(tmp_path / TOKENS, b"".join(b'{"token_id":"%d"}\n' % number for number in range(orphans)))
    chain.command("pwd")
    chain.command("date")
    found = report(tmp_path)
    assert (found.good, found.counts.tokens, found.counts.unclaimed_tokens) == (True, 3, orphans)
    resumed = report(tmp_path, resume=saved_head(tmp_path))
    assert resumed.good
    text = tmp_path / TOKENS
    text.write_bytes(text.read_bytes().replace(b'"nc.command.execute"', b'"nc.command.nothing"'))
    assert [finding.record for finding in report(tmp_path).findings] == [2, 4, 6]


def test_tokens_that_are_all_out_of_place(tmp_path: Path) -> None:
    """A token that wasn't looked for any more isn't said to be missing, but to be out of place."""
    chain = Chain(tmp_path)
    for _ in range(40):
        chain.command("id")
    orphans = b"".join(b'{"token_id":"%d"}\n' % number for number in range(WINDOW))
    tokens = (tmp_path / TOKENS).read_bytes().splitlines(keepends=True)
    (tmp_path / TOKENS).write_bytes(orphans + b"".join(reversed(tokens)))
    found = report(tmp_path)
    assert not found.good
    assert f"isn't within {WINDOW} lines of its place" in found.findings[-1].reason


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
    peaks: list[int] = []
    for records in (2_000, 20_000):
        while chain.length < records:
            chain.command("true") if chain.length % 10 == 1 else chain.refusal("x", sender=ALICE)
        peaks.append(_peak(chain.root, depth))
    small, big = peaks
    assert big < small * 1.2 + 100_000


def test_memory_does_not_grow_with_texts(tmp_path: Path) -> None:
    """However many texts stand beside one that is on record as erased, few are held."""
    chain = Chain(tmp_path)
    number = chain.command("df")
    chain.erased(number)
    peaks: list[int] = []
    for texts in (1_000, 50_000):
        more = b"".join(
            b'{"command":"x","salt":"%s","seq":%d}\n' % (b"0" * 32, 1_000_000 + seq)
            for seq in range(texts)
        )
        add(chain.texts, more)
        peaks.append(_peak(tmp_path, Depth.RECORDS))
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


RECORDING: Final = Path(RECORDINGS) / recording_name(1)


@EACH
@pytest.mark.parametrize("where", [SEGMENT, TEXTS, TOKENS, RECORDING])
@pytest.mark.parametrize("ended", [False, True])
def test_files_that_are_longer_than_any_disk(
    tmp_path: Path, depth: Depth, where: str | Path, ended: bool
) -> None:
    """A file that is a hole of terabytes is judged like any other, and nobody waits for zeros."""
    chain = Chain(tmp_path)
    number = chain.command("before", b"it printed\n")
    assert RECORDING.name == recording_name(number)
    with (tmp_path / where).open("r+b") as file:
        length = file.seek(0, os.SEEK_END) + (1 << 43)
        file.truncate(length)
        if ended:
            file.seek(length)
            file.write(b"\n")
    found = report(tmp_path, depth=depth)
    # Tokens that no record names can be of a command whose end was never written.
    asked = where == SEGMENT or (depth is not Depth.CHAIN and where != TOKENS)
    assert found.good != asked
    assert not found.unread


def test_lines_that_are_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line that is incomplete for a moment is looked at twice, not only the first."""
    path = tmp_path / "lines"
    path.write_bytes(b"one\ntw")
    coming = iter([b"o\nthr", b"ee\n"])

    def written_meanwhile(_seconds: float) -> None:
        with path.open("ab") as file:
            file.write(next(coming))

    monkeypatch.setattr("tibet_nc_audit.reader.time.sleep", written_meanwhile)
    with State(tmp_path) as state, state.open("lines", 100) as file:
        assert list(file) == [b"one", b"two", b"three"]
        assert file.torn == 0
