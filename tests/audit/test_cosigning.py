# SPDX-License-Identifier: MIT
"""The auditor's signature to a checkpoint: on a good chain, and never on less than before (I8)."""

import base64
import errno
import fcntl
import os
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, STRANGER, Chain
from tests.audit.program import KEY, PROGRAM, check, checkpoint, within
from tests.audit.verdicts import SEGMENT, lines_of, put
from tibet_nc_audit import anchors
from tibet_nc_audit.cosigning import cosign, load_key, seen
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.reader import State
from tibet_nc_protocol import records
from tibet_nc_protocol.cosignature import Cosigner, verify_cosignature
from tibet_nc_protocol.merkle import leaf_hash
from tibet_nc_protocol.note import Checkpoint, Verifier, sign_note

NAME = "example.org/audit"
LOCKS = Path("/proc/locks")


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


def test_a_key_that_finds_no_room(tmp_path: Path) -> None:
    """Where a key can't be written, no empty file stays in the place of one."""
    path = tmp_path / "audit.key"
    arguments: list[str | Path] = [*PROGRAM, "checkpoint", "--new-key", path, "--name", NAME]
    full = 'ulimit -f 0; exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", full, "sh", *arguments], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"tibet-nc-audit: {path}: File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_on_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was told the public part finds the key after a power cut: its bytes and its name."""
    path = tmp_path / "audit.key"
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), path.stat().st_size))

    monkeypatch.setattr(os, "fsync", sync)
    assert within("checkpoint", "--new-key", path, "--name", NAME).status == 0
    size = path.stat().st_size
    assert synced == [(str(path), size), (str(tmp_path), size)]


def test_what_was_cosigned_is_on_disk_before_it_is_told(
    chain: Chain, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of the file that remembers it is on disk, too, when the cosignature is written."""
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((name, Path(f"{mine}.seen").exists()))

    monkeypatch.setattr(os, "fsync", sync)
    done = checkpoint(chain, "--cosign", mine, "--key", KEY)
    assert (done.status, done.err) == (0, "")
    assert synced[-1] == (str(tmp_path), True)


def test_what_may_not_be_on_disk_is_not_told(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the name of the file that remembers a checkpoint can't be kept, nothing is signed."""
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(AuditError, match="Input/output error"):
        cosign(load_key(mine), note(7, bytes(32)), 1_800_000_000)


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


def note(size: int, root: bytes, origin: str = "example.org/log") -> str:
    """Return the checkpoint of a chain that isn't there."""
    text = Checkpoint(origin=origin, size=size, root=root).text()
    return sign_note(text, origin, EXECUTOR)


def test_the_key_refuses_by_itself(mine: Path) -> None:
    """Whatever was verified, a key never signs a smaller checkpoint, or another of one size (I8).

    Not even when it has signed those of another chain meanwhile.
    """
    key = load_key(mine)
    one, other = bytes(32), b"\1" * 32
    cosign(key, note(7, one), 1_800_000_000)
    cosign(key, note(7, one), 1_800_000_001)
    cosign(key, note(3, one, "example.org/other"), 1_800_000_001)
    for refused in (note(6, one), note(7, other)):
        with pytest.raises(AuditError, match="cosigned before"):
            cosign(key, refused, 1_800_000_002)
    cosign(key, note(8, other), 1_800_000_003)


def test_who_cosigns_waits_for_who_cosigns_already(mine: Path) -> None:
    """Two at once would both look before either remembers, and sign two checkpoints (I8)."""
    key, ours = load_key(mine), f" {os.getpid()} "

    def waits() -> bool:
        return any(" -> " in line and ours in line for line in LOCKS.read_text().splitlines())

    end = time.monotonic() + 20
    with ThreadPoolExecutor(1) as pool, mine.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        signing = pool.submit(cosign, key, note(7, bytes(32)), 1_800_000_000)
        while not (signing.done() or waits()):
            assert time.monotonic() < end, LOCKS.read_text()
            time.sleep(0.01)
        assert seen(key, "example.org/log") is None
        fcntl.flock(other, fcntl.LOCK_UN)
        signed = signing.result()
    assert seen(key, "example.org/log") == signed


def _rolled_back(mine: Path, tmp_path: Path) -> Chain:
    """Cosign a chain, and return another of that name, which is longer."""
    chain, older = Chain(tmp_path / "one"), Chain(tmp_path / "two")
    chain.command("rm -rf /srv/data")
    chain.checkpoint()
    assert checkpoint(chain, "--cosign", mine, "--key", KEY).status == 0
    for _ in range(5):
        older.command("true")
    older.checkpoint()
    return older


def test_a_rollback_that_grew_on_is_not_cosigned(mine: Path, tmp_path: Path) -> None:
    """An older copy that grew on past the size that was cosigned is another chain (I8)."""
    older = _rolled_back(mine, tmp_path)
    assert checkpoint(older, "--cosign", mine, "--key", KEY).status == 1


@pytest.mark.parametrize("meanwhile", ["unreadable", "another"])
def test_what_changes_while_it_is_read_is_not_cosigned(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """Who hides for a moment which chain it is has no other one of that name cosigned (I8)."""
    older = _rolled_back(mine, tmp_path)
    stranger = Chain(tmp_path / "three", identity=STRANGER)
    stranger.checkpoint()
    aside = older.segments[0].rename(tmp_path / "aside")
    if meanwhile == "unreadable":
        (older.root / SEGMENT).mkdir()
    else:
        (older.root / SEGMENT).write_bytes(stranger.segments[0].read_bytes())
    latest = anchors.latest_checkpoint

    def look_and_change(state: State) -> records.Checkpoint:
        try:
            return latest(state)
        finally:
            if meanwhile == "unreadable":
                (older.root / SEGMENT).rmdir()
            aside.rename(older.root / SEGMENT)

    monkeypatch.setattr(anchors, "latest_checkpoint", look_and_change)
    done = checkpoint(older, "--cosign", mine, "--key", KEY)
    assert (done.status, done.out) == (2, "")
    assert "of another chain than a moment before" in done.err


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
    """With any character altered, or without its prefix, a key file is no key any more."""
    good = mine.read_text()
    altered = [
        f"{good[:at]}{'B' if good[at] != 'B' else 'C'}{good[at + 1 :]}"
        for at in range(len(good) - 1)
    ]
    for text in (*altered, good.removeprefix("PRIVATE+KEY+")):
        mine.write_text(text)
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
