# SPDX-License-Identifier: MIT
"""Checkpoints and proofs of a real executor in the hands of Go's own verifiers.

Go's note package knows Ed25519 notes, which checkpoints are. Of cosignatures it reads the note
around them; the check of their signature, whose type it doesn't know, is in our Go program.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.audit.program import within
from tests.executor.rig import Client, Executor
from tests.harness import gonote
from tibet_nc_agent.canonical import Json
from tibet_nc_audit import cosigning
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.note import Verifier
from tibet_nc_protocol.records import RECORDS, Checkpoint, Genesis

COMMANDS = 5


@dataclass(frozen=True, kw_only=True)
class Chain:
    """An executor's chain with some checkpoints, and Go's verifier of it."""

    program: Path
    state: Path
    vkey: str
    key: str
    checkpoints: list[int]
    work: Path

    def says(self, kind: str, text: str, *more: str) -> bool:
        """Tell whether Go finds a note or proof good."""
        path = self.work / "asked"
        path.write_text(text)
        done = subprocess.run(
            [self.program, self.vkey, *more, kind, path], capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) in {(0, b"good\n"), (1, b"")}, done.stderr
        assert (done.returncode == 0) != done.stderr.startswith(b"bad: ")
        return done.returncode == 0

    def checkpoint(self, *arguments: str | Path) -> str:
        """Return what ``checkpoint`` prints."""
        done = within("checkpoint", "--state", self.state, *arguments)
        assert done.status == 0, done.err
        return done.out


async def _run(executor: Executor) -> None:
    with executor:
        client = await Client.connect(executor)
        for _ in range(COMMANDS):
            assert isinstance(await client.run("echo größer"), Finished)
        await client.close()


@pytest.fixture(scope="module")
def program() -> Iterator[Path]:
    """Build Go's verifier."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-go-") as name:
        yield gonote.build(Path(name))


@pytest.fixture
async def chain(program: Path, tmp_path: Path) -> Chain:
    """Let an executor run some commands, stop twice in between, and rest."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        Path(name).chmod(0o755)
        executor = Executor(Path(name))
        for _ in range(3):
            await _run(executor)
        state = tmp_path / "state"
        subprocess.run(["cp", "-r", executor.state, state], check=True)
    data = b"".join(path.read_bytes() for path in sorted((state / "chain").iterdir()))
    records = [RECORDS.decode(line) for line in data.splitlines()]
    first = records[0]
    assert isinstance(first, Genesis)
    return Chain(
        program=program,
        state=state,
        vkey=Verifier(name=first.executor, key=executor.key).vkey,
        key=executor.key.hex,
        checkpoints=[record.seq for record in records if isinstance(record, Checkpoint)],
        work=tmp_path,
    )


def _swap(text: str, at: int) -> str:
    """Alter one digit of a text."""
    return text[:at] + ("B" if text[at] != "B" else "C") + text[at + 1 :]


async def test_a_checkpoint_opens_in_go(chain: Chain, tmp_path: Path) -> None:
    """Go opens our checkpoint, plain and cosigned; with anything altered, it doesn't."""
    note = chain.checkpoint()
    assert chain.says("note", note)
    text, _, signature = note.partition("\n\n")
    for altered in (
        note.replace(text.split("\n")[1], "1", 1),
        _swap(note, len(text) - 9),
        _swap(note, len(note) - 9),
        text + "\n",
        f"{text}\nmore\n\n{signature}",
    ):
        assert altered != note
        assert not chain.says("note", altered)
    mine = cosigning.make_key(tmp_path / "audit.key", "example.org/audit")
    vkey = mine.cosigner.vkey
    cosigned = chain.checkpoint("--cosign", tmp_path / "audit.key", "--key", chain.key)
    assert chain.says("note", cosigned)
    assert chain.says("note", cosigned, vkey)
    assert not chain.says("note", note, vkey)
    assert not chain.says("note", _swap(cosigned, len(cosigned) - 9), vkey)


type Alter = Callable[[dict[str, object]], None]


def _each(
    value: Json,
    parent: Any,  # noqa: ANN401 - an object or an array
    key: str | int,
) -> Iterator[tuple[Any, str | int, str]]:
    """Yield where each text in a file is."""
    if isinstance(value, str):
        yield parent, key, value
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from _each(item, value, name)
    for number, item in enumerate(value) if isinstance(value, list) else ():
        yield from _each(item, value, number)


def _altered(proof: str, *passed_over: str) -> Iterator[tuple[object, str]]:
    """Yield a proof with each of its texts altered at some places."""
    whole = json.loads(proof)
    for name in passed_over:
        whole.pop(name, None)
    for parent, key, text in list(_each(whole, None, "")):
        for at in {0, len(text) // 3, len(text) // 2, len(text) - 9}:
            if not text[at].isalnum():
                continue
            parent[key] = _swap(text, at)
            yield key, json.dumps(whole)
        parent[key] = text


async def test_one_command_is_shown_to_go(chain: Chain) -> None:
    """Go finds a command in the tree of a checkpoint; not if it or its path is altered."""
    for number in (4, 10):
        proof = chain.checkpoint("--prove", str(number), "--without-text")
        assert chain.says("record", proof)
        # What identifies the chain is not in the form that Go knows.
        for where, altered in _altered(proof, "proof", "genesis", "keys"):
            assert not chain.says("record", altered), (where, altered)


async def test_growth_is_shown_to_go(chain: Chain) -> None:
    """Go finds each checkpoint within every later one; with anything altered, it doesn't."""
    notes = chain.checkpoints
    assert len(notes) >= 3
    for old in notes[:-1]:
        proof = chain.checkpoint("--grown-from", str(old))
        assert chain.says("consistency", proof)
        for where, altered in _altered(proof, "proof", "genesis", "keys"):
            assert not chain.says("consistency", altered), (where, altered)
