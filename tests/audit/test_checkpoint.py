# SPDX-License-Identifier: MIT
"""``tibet-nc-audit checkpoint``: the latest one, and what goes with what."""

from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, STRANGER, Chain
from tests.audit.program import KEY, checkpoint, process, safe, terminal
from tests.audit.verdicts import put
from tibet_nc_protocol.merkle import leaf_hash, tree_root
from tibet_nc_protocol.note import Verifier, open_checkpoint
from tibet_nc_protocol.signing import Identity


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
def test_a_terminal_gets_what_is_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Whatever an executor calls itself, a terminal shows it and does nothing else."""
    hostile = Identity(bytes(range(32)))
    monkeypatch.setattr(hostile, "id", "did:jis:\x9b2J\u202e")  # an executor that lies
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
        (["--cosign", "key", "--name", ""], "--name goes with --new-key"),
        (["--new-key", "/nowhere/a", "--key", KEY], "--key does not go with --new-key"),
        (["--new-key", "/nowhere/a", "--output", "file"], "--output does not go with --new-key"),
        (["--check", "proof", "--output", "file"], "--output does not go with --check"),
    ],
)
def test_what_would_be_passed_over(chain: Chain, arguments: list[str], reason: str) -> None:
    """An option that what is done knows nothing of is refused, so that nobody relies on it."""
    done = checkpoint(chain, *arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


def test_the_program_makes_and_checks(chain: Chain, tmp_path: Path) -> None:
    """All of it works as a program of its own, by pipes."""
    made = process("--state", chain.root, "checkpoint", "--prove", "2")
    assert made.status == 0
    path = tmp_path / "proof.json"
    path.write_text(made.out)
    assert process("checkpoint", "--check", path, "--key", KEY).status == 0
