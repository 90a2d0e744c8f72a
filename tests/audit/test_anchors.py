# SPDX-License-Identifier: MIT
"""Where a chain can be held is found by the place of a record, and nothing else is taken for it."""

import json
from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, LATER, STRANGER, Chain
from tests.audit.program import within
from tests.audit.verdicts import lines_of, put
from tibet_nc_audit.anchors import checkpoint_at, genesis_line, key_lines
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.reader import State
from tibet_nc_protocol.merkle import tree_root
from tibet_nc_protocol.note import Checkpoint, sign_note


def test_a_proof_shows_no_key_record_after_its_checkpoint(tmp_path: Path) -> None:
    """Key records up to the checkpoint are in a proof, and of what comes later there is nothing."""
    chain = Chain(tmp_path / "state")
    number = chain.command("id")
    first = chain.rotate(LATER)
    chain.checkpoint()
    chain.rotate(STRANGER)
    done = within("checkpoint", "--state", chain.root, "--prove", str(number))
    assert done.status == 0
    lines = chain.lines
    assert json.loads(done.out)["keys"] == [lines[first].decode()]
    with State(chain.root) as state:
        assert list(key_lines(state, before=first)) == []
        assert list(key_lines(state, before=first + 1)) == [lines[first]]


def test_what_only_has_the_words_of_a_key_record(tmp_path: Path) -> None:
    """A line that is no key record isn't taken for one, whatever it holds."""
    chain = Chain(tmp_path)
    number = chain.rotate(LATER)
    genuine = chain.lines[number]
    put(tmp_path, [*lines_of(tmp_path), b'"kind":"key"', genuine.replace(b'"seq":1', b'"seq":"1"')])
    with State(tmp_path) as state:
        assert list(key_lines(state, before=100)) == [genuine]


def test_a_checkpoint_is_known_by_its_place(tmp_path: Path) -> None:
    """Where files are gone, the first checkpoint that is left isn't given out for another."""
    chain = Chain(tmp_path, segment_records=1)
    chain.session()
    number = chain.checkpoint()
    with State(tmp_path) as state:
        assert checkpoint_at(state, number).size == number
        for path in chain.segments[:number]:
            path.unlink()
        assert checkpoint_at(state, number).size == number
        for other in range(number):
            with pytest.raises(AuditError, match=f"record {other}: not a checkpoint"):
                checkpoint_at(state, other)


def test_growth_from_nothing(tmp_path: Path) -> None:
    """An earlier checkpoint of no records holds nothing: one clear error, be the chain empty too.

    No executor makes one, but anybody can write one into a file.
    """
    chain = Chain(tmp_path / "state")
    chain.checkpoint()
    text = Checkpoint(origin=EXECUTOR.id, size=0, root=tree_root([])).text()
    note = tmp_path / "note"
    note.write_text(sign_note(text, EXECUTOR.id, EXECUTOR))
    grown = ("checkpoint", "--state", chain.root, "--grown-from", note)
    for options in ((), ("--note", note)):
        done = within(*grown, *options)
        assert (done.status, done.out) == (2, "")
        assert "of no records" in done.err
        put(chain.root, [])
    with State(chain.root) as state, pytest.raises(AuditError, match="the chain is empty"):
        genesis_line(state)
