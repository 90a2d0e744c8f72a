# SPDX-License-Identifier: MIT
"""A chain has grown from an earlier checkpoint, or both notes show that it hasn't (I8)."""

import json
from pathlib import Path

from tests.audit.chains import EXECUTOR, Chain
from tests.audit.program import KEY, check, checkpoint, within
from tests.audit.verdicts import lines_of, put
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.note import Checkpoint, sign_note


def test_growth_is_shown(chain: Chain, tmp_path: Path) -> None:
    """That the chain only grew since a checkpoint is shown to whoever holds that."""
    held = tmp_path / "held.note"
    checkpoint(chain, "--output", held)
    chain.command("id")
    chain.checkpoint()
    path = tmp_path / "growth.json"
    for old in (held, "18"):
        assert checkpoint(chain, "--grown-from", old, "--output", path).status == 0
        done = check(path, "--key", KEY)
        assert done.status == 0
        assert "(18 records) are the first ones" in done.out
        assert "(21 records)" in done.out


def test_a_chain_that_did_not_grow_is_told_with_both_notes(chain: Chain, tmp_path: Path) -> None:
    """A chain that is shorter or another is refused, and the two notes are printed as evidence."""
    held = tmp_path / "held.note"
    chain.command("id")
    chain.checkpoint()
    checkpoint(chain, "--output", held)
    put(chain.root, lines_of(chain.root)[:19])
    done = checkpoint(chain, "--grown-from", held)
    assert (done.status, done.out) == (1, "")
    assert done.err.count(f"— {EXECUTOR.id} ") == 2
    other = Chain(tmp_path / "other")
    while other.length < 30:
        other.security()
    other.checkpoint()
    assert checkpoint(other, "--grown-from", held).status == 1


def test_verify_prints_both_notes(chain: Chain, tmp_path: Path) -> None:
    """A chain shorter than a checkpoint that is held is refused, and both notes are shown (I8)."""
    held = tmp_path / "held.note"
    head = tmp_path / "head.json"
    chain.command("id")
    chain.checkpoint()
    checkpoint(chain, "--output", held)
    assert within("--state", chain.root, "verify", "--key", KEY, "--save-head", head).status == 0
    put(chain.root, lines_of(chain.root)[:19])
    for against in (held, head):
        done = within("--state", chain.root, "verify", "--against", against)
        assert done.status == 1
        for size in (18, 21):
            assert f"    {EXECUTOR.id}\n    {size}\n" in done.out
        plain = json.loads(
            within("--state", chain.root, "verify", "--against", against, "--json").out
        )
        assert plain["disputes"] == [
            {"held": held.read_text(), "now": checkpoint(chain).out},
        ]


def test_from_nothing_no_growth_is_shown(chain: Chain, tmp_path: Path) -> None:
    """Every chain has grown from none: that a signature is to an empty one shows nothing."""
    held = tmp_path / "empty.note"
    text = Checkpoint(origin=EXECUTOR.id, size=0, root=Frontier().root()).text()
    held.write_text(sign_note(text, EXECUTOR.id, EXECUTOR))
    done = checkpoint(chain, "--grown-from", held)
    assert (done.status, done.out) == (2, "")
    assert "every chain has grown from that" in done.err


def test_what_is_no_note(chain: Chain, tmp_path: Path) -> None:
    """A file that holds no checkpoint's note, or can't be read, is one clear error."""
    for content in (b"", b"\xff", b"a note\n", b"\0" * 100_000):
        path = tmp_path / "held.note"
        path.write_bytes(content)
        for option in (("--grown-from", path), ("--prove", "2", "--note", path)):
            done = checkpoint(chain, *option)
            assert (done.status, done.out) == (2, "")
            assert f"{path}: not a checkpoint's note" in done.err
    assert checkpoint(chain, "--grown-from", tmp_path).err.endswith(f"{tmp_path}: Is a directory\n")
