# SPDX-License-Identifier: MIT
"""What a command left running: its own record, its own recording, checked like a command's."""

import json
from pathlib import Path

import pytest

from tests.audit.chains import Chain, cast
from tests.audit.program import within
from tibet_nc_protocol.layout import RECORDINGS, remainder_name

LATE = b"late\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain of a command that left something running, which ended after another one."""
    chain = Chain(tmp_path)
    first = chain.intent("make &")
    chain.outcome(first, b"early\n", leftover=1)
    chain.outcome(chain.intent("uptime"), b"up\n")
    chain.remainder(first, LATE)
    return tmp_path


def test_it_is_verified(root: Path) -> None:
    """A chain with a remainder is good, and its recording counts."""
    done = within("verify", "--state", root)
    assert done.status == 0, done.out
    assert "3 agree" in done.out


@pytest.mark.parametrize("other", [b"lat\n", b"other\n"])
def test_another_recording_is_found(root: Path, other: bytes) -> None:
    """What was printed after the command's end can't be altered either (I8)."""
    (root / RECORDINGS / remainder_name(1)).write_bytes(cast(other, "0"))
    done = within("verify", "--state", root)
    assert done.status == 1
    assert "000000000001.remainder.cast" in done.out


def test_a_missing_recording_is_found(root: Path) -> None:
    """Nor can it be taken away without a record of that."""
    (root / RECORDINGS / remainder_name(1)).unlink()
    done = within("verify", "--state", root)
    assert done.status == 1
    assert "000000000001.remainder.cast" in done.out


def test_it_is_shown_and_played(root: Path) -> None:
    """By its own number it is shown with its check, listed, and played."""
    shown = json.loads(within("show", "--state", root, "--json", "5").out)
    assert {check["what"]: check["result"] for check in shown["checks"]}["recording"] == "agrees"
    assert (shown["entry"]["kind"], shown["entry"]["number"]) == ("remainder", 1)
    assert "what command 1 had left running has ended: killed" in within("log", "--state", root).out
    assert within("replay", "--state", root, "--no-wait", "--raw", "5").out == "late\n"
    assert within("replay", "--state", root, "--no-wait", "--raw", "1").out == "early\n"
