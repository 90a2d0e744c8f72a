# SPDX-License-Identifier: MIT
"""The store of tokens is opened at its end alone, whatever a crash has left there."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tibet_core import Token

from tests.executor.injection import file_bytes_left, traced
from tibet_nc_executor import provenance
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.provenance import AppendStore


def token(number: int, parent: str | None, size: int) -> Token:
    """Return a token with a content of some size."""
    return provenance.resolved(
        token_id=f"tibet_{number:032x}",
        timestamp="2026-11-25T00:00:00+00:00",
        actor="jis:matrix:@op:example.org",
        content={"command": "c" * size},
        references=[],
        context={"seq": number},
        parent_id=parent,
    )


@example([10], b"t" * 20_000)  # longer than what is read at a time
@given(st.lists(st.integers(0, 40_000), max_size=4), st.binary(max_size=20_000))
def test_the_last_whole_token_is_found_and_what_is_torn_is_cut(
    sizes: list[int], torn: bytes
) -> None:
    """However long the lines: the next token's parent is the last whole one, the rest is cut."""
    torn = torn.replace(b"\n", b"")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "tokens.jsonl"
        store = AppendStore(path)
        for number, size in enumerate(sizes):
            store.add(token(number, store.last_id, size))
        store.close()
        whole = path.read_bytes()
        path.write_bytes(whole + torn)
        again = AppendStore(path)
        assert path.read_bytes() == whole
        assert again.last_id == (f"tibet_{len(sizes) - 1:032x}" if sizes else None)
        assert again.count() == len(again.all()) == len(sizes)
        again.close()


def test_the_tokens_are_tibet_cores_own_and_none_is_deleted(tmp_path: Path) -> None:
    """What was added is found by id, action and actor; clearing is refused."""
    store = AppendStore(tmp_path / "tokens.jsonl")
    for number in range(3):
        store.add(token(number, store.last_id, 1))
    middle = store.get(f"tibet_{1:032x}")
    assert middle is not None
    assert middle.parent_id == f"tibet_{0:032x}"
    assert store.get("tibet_none") is None
    assert [found.token_id for found in store.find(action=provenance.ACTION, limit=2)] == [
        f"tibet_{number:032x}" for number in (1, 2)
    ]
    everything = store.all()
    (made,) = {found.timestamp for found in everything}
    assert store.find() == store.find(
        action=provenance.ACTION, actor=everything[0].actor, since=made
    )
    assert store.find() == everything
    assert store.find(action="another") == []
    assert store.find(actor="jis:matrix:@nobody:example.org") == []
    assert store.find(since=made.replace("2026", "2027")) == []
    with pytest.raises(PermissionError):
        store.clear()
    assert store.count() == 3
    store.close()


def test_a_token_that_can_not_be_added_leaves_no_part_of_itself(tmp_path: Path) -> None:
    """On a full disk the store is as it was, and the next token's parent is the last whole one."""
    path = tmp_path / "tokens.jsonl"
    store = AppendStore(path)
    store.add(token(0, None, 1))
    whole = path.read_bytes()
    with file_bytes_left(len(whole) + 100), pytest.raises(OSError, match="File too large"):
        store.add(token(1, store.last_id, 1))
    assert path.read_bytes() == whole
    assert store.last_id == token(0, None, 1).token_id
    store.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
def test_what_can_not_be_taken_back_is_cut_off_by_the_next(tmp_path: Path) -> None:
    """A token of which a part was written, on a disk that took no more, spoils no other."""
    path = tmp_path / "tokens.jsonl"
    store = AppendStore(path)
    store.add(token(0, None, 1))
    whole = path.read_bytes()
    with (
        traced(os.getpid(), tmp_path / "trace", "inject=ftruncate:error=EROFS", [path]),
        file_bytes_left(len(whole) + 100),
        pytest.raises(OSError, match="File too large"),
    ):
        store.add(token(1, store.last_id, 1))
    assert path.read_bytes() != whole
    store.add(token(2, store.last_id, 1))
    assert [found.token_id[-1] for found in store.all()] == ["0", "2"]
    store.close()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
def test_what_was_not_synced_is_on_disk_before_it_is_gone_on_with(tmp_path: Path) -> None:
    """A start that can't get on disk what a killed executor has added goes no further (I1)."""
    path = tmp_path / "tokens.jsonl"
    AppendStore(path).close()
    with (
        traced(os.getpid(), tmp_path / "trace", "inject=fsync:error=EIO", [path]),
        pytest.raises(OSError, match="Input/output error"),
    ):
        AppendStore(path)


@pytest.mark.parametrize("line", [b"junk", b"\xff", b"[]", b"{}", b'{"token_id":"x"}'])
def test_a_last_line_that_is_no_token_is_told(tmp_path: Path, line: bytes) -> None:
    """A store whose end no crash has left so is refused in one line, and left alone."""
    path = tmp_path / "tokens.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(LedgerError, match="the last line is no token"):
        AppendStore(path)
    assert path.read_bytes() == line + b"\n"
