# SPDX-License-Identifier: MIT
"""``tibet-nc-audit checkpoint``: the latest, proofs for somebody else, the auditor's signature."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, LATER, STRANGER, Chain, sample
from tests.audit.program import Done, process, safe, terminal, within
from tests.audit.verdicts import lines_of, put, report
from tibet_nc_audit.cosigning import cosign, load_key
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.heads import Depth
from tibet_nc_protocol.cosignature import Cosigner, verify_cosignature
from tibet_nc_protocol.layout import PAYLOADS, segment_name
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.note import Checkpoint, Verifier, open_checkpoint, sign_note
from tibet_nc_protocol.signing import Identity

KEY = EXECUTOR.public_key.hex
NAME = "example.org/audit"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return a chain with a bit of everything, a checkpoint at its end."""
    return sample(tmp_path / "state")


def checkpoint(chain: Chain, *arguments: str | Path) -> Done:
    """Run the verb on a chain."""
    return within("--state", chain.root, "checkpoint", *arguments)


def check(path: Path, *arguments: str | Path) -> Done:
    """Check a proof, where there is no chain."""
    return within("--state", "/nonexistent", "checkpoint", "--check", path, *arguments)


def test_the_latest_is_printed(chain: Chain) -> None:
    """The latest checkpoint comes out as the note that it is, over the lines before it."""
    chain.security()
    chain.checkpoint()
    chain.security()
    done = checkpoint(chain)
    assert (done.status, done.err) == (0, "")
    found = open_checkpoint(done.out, Verifier(name=EXECUTOR.id, key=EXECUTOR.public_key))
    assert found.size == 20
    assert found.root == tree_root([leaf_hash(line) for line in chain.lines[:20]])


def test_a_chain_without_one(tmp_path: Path) -> None:
    """Where there is no checkpoint yet, that is said."""
    chain = Chain(tmp_path)
    number = chain.command("id")
    for arguments in ((), ("--prove", str(number)), ("--grown-from", "0")):
        done = checkpoint(chain, *arguments)
        assert (done.status, done.out) == (2, "")
        assert "checkpoint" in done.err


def test_the_latest_is_held_against_the_key(chain: Chain) -> None:
    """What is printed as a checkpoint is signed, by the key that was given if one was."""
    assert checkpoint(chain, "--key", KEY).status == 0
    done = checkpoint(chain, "--key", STRANGER.public_key.hex)
    assert (done.status, done.out) == (1, "")
    assert "another executor's chain" in done.err
    genuine = chain.lines[18]
    for forged in (genuine.replace(b"n18", b"n17"), genuine.replace(b"did:", b"\\u001b[2J", 3)):
        put(chain.root, [*chain.lines[:18], forged])
        done = checkpoint(chain)
        assert (done.status, done.out) == (1, ""), forged
        assert "the latest checkpoint" in done.err


@pytest.mark.parametrize("arguments", [(), ("--prove", "1"), ("--grown-from", "2")])
def test_a_terminal_gets_what_is_visible(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Whatever an executor calls itself, a terminal shows it and does nothing else."""
    hostile = Identity(bytes(range(32)))
    hostile.id = "did:jis:\x9b2J\u202e"  # type: ignore[misc]  # an executor that lies
    chain = Chain(tmp_path, identity=hostile)
    chain.security("\x9b2J\u202e")
    chain.checkpoint()
    chain.checkpoint()
    for options in ((), ("--key", KEY)):
        status, shown = terminal("checkpoint", "--state", tmp_path, *options, *arguments)
        assert status == 0, shown
        assert safe(shown)
        assert r"did:jis:\x9b2J\u202e" in shown
    assert hostile.id in checkpoint(chain, *arguments).out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--cosigner", "a+b+c"], "--cosigner goes with --check"),
        (["--prove", "2", "--json"], "--json goes with --check"),
        (["--check", "proof", "--note", "note"], "--note goes with --prove or --grown-from"),
        (["--without-text"], "--without-text goes with --prove"),
        (["--cosign", "key", "--name", "example.org"], "--name goes with --new-key"),
    ],
)
def test_what_would_be_passed_over(chain: Chain, arguments: list[str], reason: str) -> None:
    """An option that what is done knows nothing of is refused, so that nobody relies on it."""
    done = checkpoint(chain, *arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


# --- proofs of single records ---------------------------------------------------------------------


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
    keys = proof["keys"]
    assert len(keys) == 5
    rows = [keys[:at] + keys[at + 1 :] for at in range(5)]
    rows += [keys[: at + 1] + keys[at:] for at in range(5)]
    rows += [[*keys[:at], keys[at + 1], keys[at], *keys[at + 2 :]] for at in range(4)]
    for row in (*rows, [], keys[::-1]):
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


# --- growth ---------------------------------------------------------------------------------------


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


# --- the auditor's signature ----------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Make an auditor's key."""
    path = tmp_path / "audit.key"
    done = within("checkpoint", "--new-key", path, "--name", NAME)
    assert (done.status, done.err) == (0, "")
    return path


def vkey(path: Path) -> str:
    """Return the verifier key of a key file."""
    return load_key(path).cosigner.vkey


def test_a_key_is_private(tmp_path: Path, mine: Path) -> None:
    """The key's file is its owner's alone, is never overwritten, and its secret is never shown."""
    assert stat.S_IMODE(mine.stat().st_mode) == 0o600
    before = mine.read_text()
    secret = before.strip().split("+", 4)[4]  # which may have a + of its own
    again = within("checkpoint", "--new-key", mine, "--name", NAME)
    assert (again.status, mine.read_text()) == (2, before)
    for done in (again, within("checkpoint", "--new-key", tmp_path / "x", "--name", "a b")):
        assert secret not in done.out + done.err
    assert Cosigner.from_vkey(vkey(mine)).name == NAME


def test_the_key_file_has_the_public_form(mine: Path) -> None:
    """It is written as Go's note package writes private keys, so others can load it."""
    prefix, middle, name, key_id, encoded = mine.read_text().strip().split("+", 4)
    assert (prefix, middle, name) == ("PRIVATE", "KEY", NAME)
    data = base64.b64decode(encoded)
    assert (data[:1], len(data)) == (b"\x01", 33)
    public = Verifier(name=NAME, key=load_key(mine).identity.public_key)
    assert key_id == public.key_id.hex()


def test_a_checkpoint_is_cosigned(chain: Chain, mine: Path, tmp_path: Path) -> None:
    """The chain is verified, and its latest checkpoint comes out with one more signature."""
    note = tmp_path / "cosigned.note"
    done = checkpoint(chain, "--cosign", mine, "--key", KEY, "--output", note)
    assert (done.status, done.out, done.err) == (0, "", "")
    text = note.read_text()
    assert text.startswith(checkpoint(chain).out)
    assert verify_cosignature(text, load_key(mine).cosigner) > 1_700_000_000
    # A proof under it says so to whoever knows the auditor.
    proof = tmp_path / "proof.json"
    assert checkpoint(chain, "--prove", "2", "--note", note, "--output", proof).status == 0
    done = check(proof, "--key", KEY, "--cosigner", vkey(mine))
    assert done.status == 0
    assert f"cosigned          by {NAME}, " in done.out
    assert f"signed by         {NAME}: keys not given" in check(proof, "--key", KEY).out
    plain = tmp_path / "plain.json"
    checkpoint(chain, "--prove", "2", "--output", plain)
    assert check(plain, "--key", KEY, "--cosigner", vkey(mine)).status == 1


def test_a_bad_chain_is_not_cosigned(chain: Chain, mine: Path) -> None:
    """Nothing is signed that doesn't verify with the given key."""
    assert checkpoint(chain, "--cosign", mine).status == 2
    done = checkpoint(chain, "--cosign", mine, "--key", STRANGER.public_key.hex)
    assert (done.status, done.out) == (1, "")
    lines = lines_of(chain.root)
    put(chain.root, lines[:5] + lines[6:])
    done = checkpoint(chain, "--cosign", mine, "--key", KEY)
    assert (done.status, done.out) == (1, "")
    assert "not cosigned" in done.err
    assert not mine.with_name("audit.key.seen").exists()


def test_never_less_than_before(chain: Chain, mine: Path) -> None:
    """A chain that is shorter than what was cosigned, or another one, is never cosigned (I8)."""
    chain.command("id")
    chain.checkpoint()
    first = checkpoint(chain, "--cosign", mine, "--key", KEY)
    assert first.status == 0
    assert checkpoint(chain, "--cosign", mine, "--key", KEY).status == 0
    good = lines_of(chain.root)
    put(chain.root, good[:19])
    done = checkpoint(chain, "--cosign", mine, "--key", KEY)
    assert (done.status, done.out) == (1, "")
    assert done.err.count(f"— {EXECUTOR.id} ") == 2
    put(chain.root, good)
    chain.security()
    chain.checkpoint()
    assert checkpoint(chain, "--cosign", mine, "--key", KEY).status == 0


def test_the_key_refuses_by_itself(mine: Path) -> None:
    """Whatever was verified, a key never signs a smaller checkpoint, or another of one size."""

    def note(size: int, root: bytes) -> str:
        text = Checkpoint(origin="example.org/log", size=size, root=root).text()
        return sign_note(text, "example.org/log", EXECUTOR)

    key = load_key(mine)
    one, other = bytes(32), b"\1" * 32
    cosign(key, note(7, one), 1_800_000_000)
    cosign(key, note(7, one), 1_800_000_001)
    for refused in (note(6, one), note(7, other)):
        with pytest.raises(AuditError, match="cosigned before"):
            cosign(key, refused, 1_800_000_002)
    cosign(key, note(8, other), 1_800_000_003)


def test_a_rollback_that_grew_on_is_not_cosigned(mine: Path, tmp_path: Path) -> None:
    """An older copy that grew on past the size that was cosigned is another chain (I8)."""
    chain, older = Chain(tmp_path / "one"), Chain(tmp_path / "two")
    chain.command("rm -rf /srv/data")
    chain.checkpoint()
    assert checkpoint(chain, "--cosign", mine, "--key", KEY).status == 0
    for _ in range(5):
        older.command("true")
    older.checkpoint()
    assert checkpoint(older, "--cosign", mine, "--key", KEY).status == 1


def test_a_key_by_another_name_is_the_same(mine: Path, tmp_path: Path) -> None:
    """Named by a symbolic link, a key remembers what it cosigned, too."""
    link = tmp_path / "link"
    link.symlink_to(mine)
    origin, one, other = "did:jis:one", leaf_hash(b"one"), leaf_hash(b"other")
    notes = [
        sign_note(Checkpoint(origin=origin, size=7, root=root).text(), origin, EXECUTOR)
        for root in (one, other)
    ]
    cosign(load_key(link), notes[0], 1_800_000_000)
    with pytest.raises(AuditError, match="cosigned before"):
        cosign(load_key(mine), notes[1], 1_800_000_001)


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"PRIVATE+KEY+a+b+c", b"PRIVATE+KEY+x", b"-----BEGIN PRIVATE KEY"]
)
def test_what_is_no_key_file(chain: Chain, mine: Path, content: bytes) -> None:
    """A file that is no such key, or that others can read, is one clear error."""
    good = mine.read_bytes()
    mine.write_bytes(content)
    done = checkpoint(chain, "--cosign", mine, "--key", KEY)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    mine.write_bytes(good)
    mine.chmod(0o640)
    done = checkpoint(chain, "--cosign", mine, "--key", KEY)
    assert done.status == 2
    assert "others may read" in done.err


def test_a_key_file_that_was_altered_is_none(mine: Path) -> None:
    """With any character of name, id, type or key altered, a key file is no key any more."""
    good = mine.read_text()
    for at in range(len("PRIVATE+KEY+"), len(good) - 1):
        other = "B" if good[at] != "B" else "C"
        mine.write_text(f"{good[:at]}{other}{good[at + 1 :]}")
        with pytest.raises(AuditError, match="not a private key"):
            load_key(mine)
    mine.write_text(good)
    assert load_key(mine).name == NAME


def test_what_was_cosigned_must_be_readable(chain: Chain, mine: Path) -> None:
    """If what was cosigned before can't be known, nothing is."""
    seen = mine.with_name("audit.key.seen")
    for content in (b"", b"{}x", b'{"a":"b"}', b"[]"):
        seen.write_bytes(content)
        done = checkpoint(chain, "--cosign", mine, "--key", KEY)
        assert (done.status, done.out) == (2, "")
    os.unlink(seen)
    assert checkpoint(chain, "--cosign", mine, "--key", KEY).status == 0


def test_the_program_makes_and_checks(chain: Chain, tmp_path: Path) -> None:
    """All of it works as a program of its own, by pipes."""
    made = process("--state", chain.root, "checkpoint", "--prove", "2")
    assert made.status == 0
    path = tmp_path / "proof.json"
    path.write_text(made.out)
    assert process("checkpoint", "--check", path, "--key", KEY).status == 0
