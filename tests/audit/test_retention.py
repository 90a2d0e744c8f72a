# SPDX-License-Identifier: MIT
"""Recordings that a host keeps no longer: accepted exactly as far as the chain says (SPEC §9)."""

from collections.abc import Callable
from copy import copy
from pathlib import Path

import pytest

from tests.audit.chains import LATER, STRANGER, Chain
from tests.audit.program import KEY, within
from tibet_nc_protocol.layout import RECORDINGS, recording_name, remainder_name


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return a chain of three commands that printed something, of which the first left something.

    Their numbers are 1, 3 and 5; the remainder of the first is record 7.
    """
    made = Chain(tmp_path / "state", segment_records=4)
    first = made.intent("make &")
    made.outcome(first, b"early\n", leftover=1)
    made.command("df", b"full\n")
    made.command("uptime", b"up\n")
    made.remainder(first, b"late\n")
    return made


def _delete(chain: Chain, *names: str) -> None:
    for name in names:
        (chain.root / RECORDINGS / name).unlink()


def test_what_is_on_record_as_deleted_is_no_fault(chain: Chain) -> None:
    """Recordings up to the number on record may be gone, a remainder's too, and are counted."""
    chain.retention(3)
    _delete(chain, recording_name(1), remainder_name(1), recording_name(3))
    done = within("verify", "--state", chain.root)
    assert done.status == 0, done.out
    assert "1 agree" in done.out
    assert "0 [erased], 3 deleted by retention" in done.out
    assert "\nerasures " not in done.out


def test_without_a_record_it_is_a_fault(chain: Chain) -> None:
    """Recordings after the number on record may not be gone: the first missing one is named."""
    chain.retention(3)
    _delete(chain, recording_name(3), recording_name(5))
    done = within("verify", "--state", chain.root)
    assert done.status == 1
    assert "first bad record 6" in done.out
    assert recording_name(5) in done.out


def test_a_record_from_before_the_recording_excuses_nothing(chain: Chain) -> None:
    """What ended after the record can't have been deleted by it, whatever number it names."""
    chain.retention(1_000)
    number = chain.command("id", b"uid\n")
    _delete(chain, recording_name(number))
    assert within("verify", "--state", chain.root).status == 1
    chain.retention(number - 1)
    assert within("verify", "--state", chain.root).status == 1
    chain.retention(number)
    assert within("verify", "--state", chain.root).status == 0


def test_what_is_still_there_must_agree(chain: Chain) -> None:
    """A recording that a crash left is checked like any other, though it is on record as gone."""
    chain.retention(3)
    assert within("verify", "--state", chain.root).status == 0
    path = chain.root / RECORDINGS / recording_name(3)
    path.write_bytes(path.read_bytes().replace(b"full", b"null"))
    assert "first bad record 4" in within("verify", "--state", chain.root).out


@pytest.mark.parametrize("verb", ["show", "replay"])
def test_it_is_told_of_the_command(chain: Chain, verb: str) -> None:
    """Asked for such a command, the auditor's tool says which record says so."""
    number = chain.retention(3)
    _delete(chain, recording_name(3))
    done = within(verb, "--state", chain.root, "3")
    assert f"deleted by retention, record {number}" in done.out + done.err
    assert done.status == (0 if verb == "show" else 2)


def test_an_altered_record_is_a_fault_itself(chain: Chain) -> None:
    """Who raises the number on record to take more away is found by the record's signature."""
    number = chain.retention(1)
    _delete(chain, recording_name(1), recording_name(3))
    path = chain.segments[-1]
    path.write_bytes(path.read_bytes().replace(b'"number":1,', b'"number":3,'))
    done = within("verify", "--state", chain.root)
    assert done.status == 1
    assert f"record {number}: " in done.out


@pytest.mark.parametrize("key", [(), ("--key", KEY)])
@pytest.mark.parametrize("say", [Chain.retention, Chain.erased])
def test_only_the_executors_own_record_excuses(
    chain: Chain, say: Callable[[Chain, int], int], key: tuple[str, ...]
) -> None:
    """Who deletes a recording, and adds a line that would excuse it, has not excused it (I8)."""
    _delete(chain, recording_name(3))
    forger = copy(chain)
    forger.identity = STRANGER
    say(forger, 3)
    done = within("show", "--state", chain.root, "3", *key)
    assert done.status == 1
    assert "BAD  recording: not there" in done.out
    forger.segments[-1].unlink()
    say(chain, 3)
    assert within("show", "--state", chain.root, "3", *key).status == 0


@pytest.mark.parametrize("key", [(), ("--key", KEY), ("--key", LATER.public_key.hex)])
def test_a_later_key_excuses_too(chain: Chain, key: tuple[str, ...]) -> None:
    """A record that the key of its time signed excuses, whichever key the reader holds."""
    _delete(chain, recording_name(3), recording_name(5))
    chain.retention(3)
    chain.rotate(LATER)
    chain.erased(5)
    for number in ("3", "5"):
        assert "recording: not there" not in within("show", "--state", chain.root, number, *key).out
    assert within("verify", "--state", chain.root, *key).status == 0
