# SPDX-License-Identifier: MIT
"""Ciphertexts are remembered on disk."""

import os
from pathlib import Path

import pytest

from tibet_nc_agent.matrix_errors import StoreDamaged
from tibet_nc_agent.replay import ReplayGuard, ciphertext_digest

DIGEST = ciphertext_digest("key", "session", 0)


def test_first_event_keeps_its_ciphertext(tmp_path: Path) -> None:
    """The same event may come again; another one is told whose the ciphertext is (I3)."""
    guard = ReplayGuard.open(tmp_path / "replay.db")
    assert guard.first_event(DIGEST, "$1") == "$1"
    assert guard.first_event(DIGEST, "$1") == "$1"
    assert guard.first_event(DIGEST, "$2") == "$1"
    guard.close()


def test_committed_is_remembered(tmp_path: Path) -> None:
    """What was committed is known after a restart (I3); what wasn't is as if it never came."""
    guard = ReplayGuard.open(tmp_path / "replay.db")
    guard.first_event(DIGEST, "$1")
    guard.commit()
    later = ciphertext_digest("key", "session", 1)
    guard.first_event(later, "$2")
    guard.close()
    guard = ReplayGuard.open(tmp_path / "replay.db")
    assert guard.first_event(DIGEST, "$3") == "$1"
    assert guard.first_event(later, "$4") == "$4"
    guard.close()


def test_file_is_private(tmp_path: Path) -> None:
    """Nobody else can read the table or its journal."""
    guard = ReplayGuard.open(tmp_path / "replay.db")
    guard.first_event(DIGEST, "$1")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    guard.close()


def test_garbage_is_no_table(tmp_path: Path) -> None:
    """A file that isn't a table is an error, and is left as it is."""
    file = tmp_path / "replay.db"
    file.write_bytes(b"garbage " * 1_000)
    with pytest.raises(StoreDamaged, match="move it away"):
        ReplayGuard.open(file)
    assert file.read_bytes() == b"garbage " * 1_000


def test_what_can_not_be_opened_is_our_error(tmp_path: Path) -> None:
    """What isn't even opened as a table, as a named pipe, is an error of the same kind."""
    os.mkfifo(tmp_path / "replay.db", 0o600)
    with pytest.raises(StoreDamaged, match="disk I/O error; move it away"):
        ReplayGuard.open(tmp_path / "replay.db")


@pytest.mark.parametrize(
    "other", [("key2", "session", 0), ("key", "session2", 0), ("key", "session", 1)]
)
def test_every_part_names_the_message(other: tuple[str, str, int]) -> None:
    """Another key, session or index is another message."""
    assert ciphertext_digest(*other) != DIGEST


def test_full_disk_is_our_error(tmp_path: Path) -> None:
    """When the table can't grow, that is an error, and what was committed stays (I7)."""
    guard = ReplayGuard.open(tmp_path / "replay.db")
    guard.first_event(DIGEST, "$1")
    guard.commit()
    guard._database.execute("pragma max_page_count = 2")
    with pytest.raises(StoreDamaged, match="full"):  # noqa: PT012 - one of many fills it
        for index in range(1_000):
            guard.first_event(ciphertext_digest("key", "session", index), "$" + "x" * 200)
            guard.commit()
    guard.close()
    guard = ReplayGuard.open(tmp_path / "replay.db")
    assert guard.first_event(DIGEST, "$2") == "$1"
    guard.close()
