# SPDX-License-Identifier: MIT
"""A record is proved to somebody who gets no other one of the chain."""

import json
from pathlib import Path

import pytest

from tests.audit.chains import LATER, STRANGER, Chain, sample
from tests.audit.program import KEY, check, checkpoint
from tests.audit.verdicts import lines_of, put, report
from tibet_nc_audit.heads import Depth
from tibet_nc_protocol.layout import PAYLOADS, segment_name
from tibet_nc_protocol.signing import Identity


@pytest.mark.parametrize("segment_records", [1, 5, 1000])
def test_one_command_is_shown_without_the_others(tmp_path: Path, segment_records: int) -> None:
    """A proof checks where there is no chain, and holds nothing of any other command."""
    chain = sample(tmp_path / "state", segment_records=segment_records)
    path = tmp_path / "proof.json"
    done = checkpoint(chain, "--prove", "2", "--output", path)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert "uptime" not in path.read_text()
    assert "exit 42" not in path.read_text()
    done = check(path, "--key", KEY)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "text              df -h" in lines
    assert "  exit            0" in lines
    assert "  sender          @alice:example.org" in lines
    assert f"key               {KEY}, as --key says" in lines
    assert lines[-1] == "GOOD: #2 and #3 stood in the chain as shown when the checkpoint was signed"


def test_every_record_can_be_shown(chain: Chain, tmp_path: Path) -> None:
    """Whatever kind of record, and by either number of a command, a proof can be made of it."""
    path = tmp_path / "proof.json"
    for number in range(18):
        assert checkpoint(chain, "--prove", str(number), "--output", path).status == 0
        done = check(path, "--key", KEY, "--json")
        assert done.status == 0
        shown = json.loads(done.out)
        assert number in [record["seq"] for record in shown["records"]]
    assert checkpoint(chain, "--prove", "18").status == 2  # the checkpoint itself: none covers it
    assert checkpoint(chain, "--prove", "19").status == 2


def test_the_text_can_be_left_out(chain: Chain, tmp_path: Path) -> None:
    """Without the text only its commitment is shown; an erased one is shown so, too."""
    path = tmp_path / "proof.json"
    checkpoint(chain, "--prove", "2", "--without-text", "--output", path)
    assert "df -h" not in path.read_text()
    assert "text              not in the file" in check(path).out
    (chain.root / PAYLOADS / segment_name(0)).unlink()
    checkpoint(chain, "--prove", "2", "--output", path)
    assert "text              not in the file" in check(path).out


def test_a_text_that_was_erased_among_others(chain: Chain, tmp_path: Path) -> None:
    """Where only the texts of others are left, a proof is made without one; by no other text."""
    path = tmp_path / "proof.json"
    texts = chain.root / PAYLOADS / segment_name(0)
    first, *others = texts.read_bytes().splitlines(keepends=True)
    texts.write_bytes(b"".join(others))
    assert checkpoint(chain, "--prove", "2", "--output", path).status == 0
    assert "text              not in the file" in check(path).out
    texts.write_bytes(first.replace(b"df -h", b"df -i") + b"".join(others))
    done = checkpoint(chain, "--prove", "2")
    assert (done.status, done.out) == (1, "")
    assert "not the text that the record commits to" in done.err


def test_a_proof_is_made_for_the_key_that_is_given(chain: Chain) -> None:
    """With the key of another executor no proof is made."""
    for arguments in (("--prove", "2"), ("--grown-from", "18")):
        assert checkpoint(chain, *arguments, "--key", KEY).status == 0
        done = checkpoint(chain, *arguments, "--key", STRANGER.public_key.hex)
        assert (done.status, done.out) == (1, "")
        assert "another executor's chain" in done.err


def test_an_unpinned_proof_says_so(chain: Chain, tmp_path: Path) -> None:
    """Without a key the reader is told whose word it is; with another's, the proof is bad."""
    path = tmp_path / "proof.json"
    checkpoint(chain, "--prove", "2", "--output", path)
    assert "NOT PINNED" in check(path).out
    done = check(path, "--key", STRANGER.public_key.hex)
    assert done.status == 1
    assert "another executor's chain" in done.out


def test_over_changes_of_keys(tmp_path: Path) -> None:
    """The key to hold stays the first, whichever keys the chain went on with."""
    chain = Chain(tmp_path / "state")
    early = chain.command("early")
    chain.rotate(LATER)
    late = chain.command("late")
    chain.rotate(STRANGER)
    chain.checkpoint()
    path = tmp_path / "proof.json"
    for number in (early, late):
        assert checkpoint(chain, "--prove", str(number), "--output", path).status == 0
        assert check(path, "--key", KEY).status == 0
        assert check(path, "--key", LATER.public_key.hex).status == 1


def test_over_changes_of_keys_right_after_one_another(tmp_path: Path) -> None:
    """A key that signed nothing but the change to the next one is a step like any other."""
    chain = Chain(tmp_path / "state")
    chain.rotate(LATER)
    chain.rotate(STRANGER)
    chain.command("early")
    held = str(chain.checkpoint())
    for seed in range(3):
        chain.rotate(Identity(bytes([seed]) * 32))
    last = chain.command("late") + 2
    assert chain.checkpoint() == last
    path = tmp_path / "proof.json"
    for depth in Depth:
        assert report(chain.root, depth=depth, pinned=True).good
    for number in range(last):
        assert checkpoint(chain, "--prove", str(number), "--output", path).status == 0
        assert check(path, "--key", KEY).status == 0
        _each_other_row_of_keys_is_refused(path)
    assert checkpoint(chain, "--grown-from", held, "--output", path).status == 0
    assert check(path, "--key", KEY).status == 0
    _each_other_row_of_keys_is_refused(path)


def _each_other_row_of_keys_is_refused(path: Path) -> None:
    proof = json.loads(path.read_text())
    keys: list[str] = proof["keys"]
    assert len(keys) == 5
    rows = [keys[:at] + keys[at + 1 :] for at in range(5)]
    rows += [keys[: at + 1] + keys[at:] for at in range(5)]
    rows += [[*keys[:at], keys[at + 1], keys[at], *keys[at + 2 :]] for at in range(4)]
    rows += [[], keys[::-1]]
    for row in rows:
        path.write_text(json.dumps(proof | {"keys": row}))
        done = check(path, "--key", KEY)
        assert (done.status, done.out.startswith("BAD")) == (1, True)


def test_of_an_altered_chain_there_is_no_proof(chain: Chain, tmp_path: Path) -> None:
    """Nothing is made from files that are not what the executor signed, the text included."""
    path = tmp_path / "proof.json"
    good = lines_of(chain.root)
    for number in (0, 2, 9):
        lines = list(good)
        lines[number] = lines[number].replace(b'"time":"2026', b'"time":"2025')
        put(chain.root, lines)
        done = checkpoint(chain, "--prove", "2", "--output", path)
        assert done.status == 1
        assert not path.exists()
    put(chain.root, good)
    texts = chain.root / PAYLOADS / segment_name(0)
    texts.write_bytes(texts.read_bytes().replace(b"df -h", b"df -k"))
    assert checkpoint(chain, "--prove", "2", "--output", path).status == 1
    assert checkpoint(chain, "--prove", "4", "--output", path).status == 0


def test_what_is_no_proof(tmp_path: Path) -> None:
    """Any file is checked, found bad, or can't be read."""
    path = tmp_path / "proof.json"
    for content in (b"", b"{}", b"\xff", b"[" * 10_000, b'{"proof":"record"}'):
        path.write_bytes(content)
        done = check(path)
        assert (done.status, done.out.startswith("BAD")) == (1, True)
    assert check(tmp_path / "nowhere").status == 2
