# SPDX-License-Identifier: MIT
"""A chain that goes on with another key: by the old key's word, and by nobody else's (I8)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, override

import pytest

from tests.audit.chains import EXECUTOR, LATER, STRANGER, Chain
from tests.audit.verdicts import EACH, lines_of, put, report, saved_head
from tibet_nc_audit.dossier import Result, dossier
from tibet_nc_audit.errors import AuditError, DisagreementError
from tibet_nc_audit.heads import Depth
from tibet_nc_audit.keys import Since, since
from tibet_nc_audit.proving import latest_note, prove_command, prove_growth
from tibet_nc_audit.reader import State
from tibet_nc_audit.report import Pinned
from tibet_nc_audit.verify import verify


@EACH
@pytest.mark.parametrize("segment_records", [1, 3, 100])
def test_a_chain_that_goes_on_with_another_key(
    tmp_path: Path, depth: Depth, segment_records: int
) -> None:
    """A key record that the old key signed hands the chain over; the first key stays the pin."""
    chain = Chain(tmp_path, segment_records=segment_records)
    chain.command("before")
    for identity in (LATER, STRANGER):
        chain.rotate(identity)
        assert report(tmp_path, depth=depth, pinned=True).good
        chain.command("after")
        chain.checkpoint()
        found = report(tmp_path, depth=depth, pinned=True)
        assert found.findings == []
        assert found.key == EXECUTOR.public_key.hex
        assert found.last_key == identity.public_key.hex


@EACH
@pytest.mark.parametrize("segment_records", [1, 3, 100])
def test_a_chain_by_a_later_key(tmp_path: Path, depth: Depth, segment_records: int) -> None:
    """A key that the chain went on with proves all of it by what it has signed."""
    chain = Chain(tmp_path, segment_records=segment_records)
    chain.command("before")
    for identity in (LATER, STRANGER):
        begins = chain.rotate(identity) + 1
        key = identity.public_key
        with State(tmp_path) as state, pytest.raises(AuditError, match="nothing is signed with it"):
            verify(state, key=key, depth=depth)
        chain.command("after")
        with State(tmp_path) as state:
            found = verify(state, key=key, depth=depth)
        assert (found.findings, found.pinned) == ([], Pinned.GIVEN)
        assert found.key == EXECUTOR.public_key.hex
        assert [f"since record {begins}" in note for note in found.notes] == [True]
    with State(tmp_path) as state:
        assert verify(state, key=LATER.public_key, depth=depth).good


@EACH
@pytest.mark.parametrize("drop", [1, 2, 3])
def test_a_made_up_beginning(tmp_path: Path, depth: Depth, drop: int) -> None:
    """Whoever only names a later key, and goes on with its own records, is found out (I8)."""
    true = Chain(tmp_path / "true")
    true.command("before")
    true.rotate(LATER)
    true.command("after")
    forged = Chain(tmp_path / "forged", identity=STRANGER)
    for _ in range(3):
        forged.session()
    forged.rotate(LATER)
    assert forged.length == true.length - 1
    put(tmp_path / "forged", [*forged.lines, *true.lines[-drop:]])
    with State(tmp_path / "forged") as state:
        assert not verify(state, key=LATER.public_key, depth=depth).good


def test_a_later_key_that_signed_nothing(tmp_path: Path) -> None:
    """A key that a chain names vouches for nothing while others sign what follows (I8)."""
    chain = Chain(tmp_path)
    chain.rotate(LATER)
    chain.identity = EXECUTOR
    chain.session()
    with State(tmp_path) as state:
        assert since(state, LATER.public_key).first == LATER.public_key
        first = verify(state, key=LATER.public_key).first_bad
    assert first is not None
    assert (first.record, first.reason) == (0, "another executor's chain")


def test_a_later_key_that_somebody_else_named(tmp_path: Path) -> None:
    """A key is of a chain only if each key record up to it is signed by the key before (I8)."""
    chain = Chain(tmp_path)
    chain.identity = STRANGER
    chain.rotate(LATER)
    chain.session()
    with State(tmp_path) as state:
        assert since(state, LATER.public_key) == Since(first=LATER.public_key, record=0)
        assert not verify(state, key=LATER.public_key).good


@EACH
def test_a_key_record_that_the_old_key_did_not_sign(tmp_path: Path, depth: Depth) -> None:
    """Nobody but the executor can hand its chain to another key (I8)."""
    chain = Chain(tmp_path)
    chain.command("before")
    chain.identity = STRANGER
    number = chain.rotate(STRANGER)
    chain.command("after")
    first = report(tmp_path, depth=depth).first_bad
    assert first is not None
    assert first.record == number


@EACH
def test_a_fault_after_a_change_of_keys(tmp_path: Path, depth: Depth) -> None:
    """A record that is altered or gone is named, and nothing else, whichever key signed it (I8)."""
    chain = Chain(tmp_path)
    chain.command("before")
    key = chain.rotate(LATER)
    chain.command("after")
    chain.security()
    good = lines_of(tmp_path)
    for number in range(1, len(good)):
        lines = list(good)
        lines[number] = lines[number].replace(b'"time":"2026', b'"time":"2025')
        put(tmp_path, lines)
        first = report(tmp_path, depth=depth).first_bad
        assert first is not None
        assert (first.record, first.line) == (number, number + 1)
        if number in {key, len(good) - 1}:
            continue
        put(tmp_path, good[:number] + good[number + 1 :])
        assert [finding.record for finding in report(tmp_path, depth=depth).findings] == [number]
    assert key == 3


@EACH
def test_a_later_key_and_a_head_file(tmp_path: Path, depth: Depth) -> None:
    """With a later key a verification goes on from an earlier one by the first key."""
    chain = Chain(tmp_path)
    chain.rotate(LATER)
    chain.session()
    chain.session()
    saved = saved_head(tmp_path, depth=depth)
    chain.session()
    with State(tmp_path) as state:
        assert verify(state, key=LATER.public_key, depth=depth, resume=saved).good


class _Changing(State):
    """A directory in which somebody puts another chain each time that records were looked at."""

    def __init__(self, path: Path, *chains: list[bytes]) -> None:
        super().__init__(path)
        self._chains = list(chains)
        self.change()

    def change(self) -> None:
        if self._chains:
            put(self.path, self._chains.pop(0))

    @override
    def records_from(self, start: int, *, pass_over: bool = False) -> Iterator[tuple[int, bytes]]:
        try:
            yield from super().records_from(start, pass_over=pass_over)
        finally:
            self.change()


SHOWN: Final = 2
"""The number of that record."""


@pytest.fixture
def shown(tmp_path: Path) -> list[bytes]:
    """Return a beginning that somebody made up, and behind it what a later key has signed."""
    true = Chain(tmp_path / "true")
    true.rotate(LATER)
    assert true.session() == SHOWN
    made_up = Chain(tmp_path / "shown", identity=STRANGER)
    made_up.rotate(LATER)
    return [*made_up.lines, true.lines[-1]]


@pytest.fixture
def forged(tmp_path: Path) -> Chain:
    """Return a chain of the one who made it up, without it."""
    chain = Chain(tmp_path / "forged", identity=STRANGER)
    for _ in range(SHOWN):
        chain.session()
    return chain


@EACH
def test_a_chain_that_is_another_a_moment_later(
    shown: list[bytes], forged: Chain, depth: Depth
) -> None:
    """What a later key vouches for is the chain that is verified, not one shown before (I8)."""
    with _Changing(forged.root, shown, forged.lines) as state:
        found = verify(state, key=LATER.public_key, depth=depth)
    assert found.first_bad is not None
    assert found.first_bad.record == SHOWN
    assert "the record that is held (the key given has signed it" in found.first_bad.reason


def test_a_proof_of_a_chain_that_is_another_a_moment_later(
    shown: list[bytes], forged: Chain
) -> None:
    """Nor is anything proved of a chain that a later key doesn't vouch for (I8)."""
    key = LATER.public_key
    forged.checkpoint()
    with State(forged.root) as state:
        old = latest_note(state)
    make: list[Callable[[State], object]] = [
        lambda state: latest_note(state, key),
        lambda state: prove_command(state, SHOWN, key=key),
        lambda state: prove_growth(state, old, key=key),
    ]
    for what in make:
        with (
            _Changing(forged.root, shown, forged.lines) as state,
            pytest.raises(DisagreementError, match="another executor's chain than a moment ago"),
        ):
            what(state)


def test_a_record_of_a_chain_that_is_another_a_moment_later(
    shown: list[bytes], forged: Chain
) -> None:
    """Nor is a record of such a chain one that this key, or one after it, has signed (I8)."""
    with _Changing(forged.root, forged.lines, shown, forged.lines) as state:
        checks = dossier(state, SHOWN, LATER.public_key).checks
    assert [check.result for check in checks if "signature" in check.what] == [Result.BAD]
