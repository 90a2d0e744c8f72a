# SPDX-License-Identifier: MIT
"""Files of the chain: missing, swapped, still written, something else, or none of it (I8)."""

import os
from pathlib import Path

import pytest

from tests.audit.chains import add, sample
from tests.audit.verdicts import EACH, SEGMENT, report
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth, held
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name


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
def test_files_that_are_begun_meanwhile(tmp_path: Path, depth: Depth) -> None:
    """A file of the chain that the executor begins while we read isn't told to be a stranger."""
    chain = sample(tmp_path, segment_records=19)
    begun: list[int] = []

    def grow(_bytes: int, _lines: int) -> None:
        begun.append(chain.command("df -h"))

    with State(tmp_path) as state:
        found = verify(state, depth=depth, report=grow)
    assert (found.good, found.records, found.notes) == (True, 19, [])
    assert len(chain.segments) == 2
    assert begun == [19]


@EACH
@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_a_segment_that_is_no_file(tmp_path: Path, depth: Depth, kind: str) -> None:
    """What isn't a regular file is never read, followed or waited for, and is no chain."""
    sample(tmp_path)
    path = tmp_path / SEGMENT
    path.rename(tmp_path / "aside")
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "aside")
        case _:
            os.mkfifo(path)
    found = report(tmp_path, depth=depth)
    assert (found.good, found.records, found.findings_total) == (False, 0, 0)
    assert found.unread == [f"{SEGMENT}: not a regular file"]


@EACH
def test_there_is_no_chain(tmp_path: Path, depth: Depth) -> None:
    """Where no file of a chain is, or its folder is a link, there is no verdict at all."""
    sample(tmp_path)
    (tmp_path / CHAIN).rename(tmp_path / "aside")
    with pytest.raises(AuditError, match="no chain here"):
        report(tmp_path, depth=depth)
    (tmp_path / CHAIN).symlink_to(tmp_path / "aside")
    with pytest.raises(AuditError, match="not a directory"):
        report(tmp_path, depth=depth)


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


def test_a_line_that_is_cut_off_meanwhile(tmp_path: Path) -> None:
    """Of a torn line that its writer cuts off, nothing is left before the line that follows."""
    sample(tmp_path)
    lines = (tmp_path / SEGMENT).read_bytes().splitlines(keepends=True)
    (tmp_path / SEGMENT).write_bytes(b"".join(lines[:5]) + b"torn")
    with State(tmp_path) as state, state.open(segment_name(0), 10_000, CHAIN) as file:
        first = list(file)
        assert file.torn == 4
        (tmp_path / SEGMENT).write_bytes(b"".join(lines[:6]))
        assert [*first, *file] == [line[:-1] for line in lines[:6]]
        assert file.torn == 0
