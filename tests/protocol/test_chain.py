# SPDX-License-Identifier: MIT
"""Chains: however one is altered, the first bad record is named (I8)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.strategies import struct_of
from tests.vectors import samples
from tests.vectors.every_kind import all_kinds
from tibet_nc_protocol import note
from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.errors import RecordError
from tibet_nc_protocol.records import (
    FIRST_PREV,
    Aborted,
    Intent,
    Outcome,
    Record,
    Refusal,
    Remainder,
    Security,
    Session,
    digest,
)

KEY = samples.EXECUTOR.public_key


@dataclass(frozen=True)
class Chain:
    """A good chain: its lines, and its head after each."""

    lines: tuple[bytes, ...]

    @property
    def head(self) -> str:
        """The digest of the last line."""
        return digest(self.lines[-1])


UNSIGNED = st.just("")
FREE = st.one_of(*(struct_of(cls, sig=UNSIGNED) for cls in (Refusal, Security, Session)))
ENDING = struct_of(Outcome, sig=UNSIGNED) | struct_of(Aborted, sig=UNSIGNED)


@st.composite
def chains(draw: st.DrawFn, *, at_least: int = 1) -> Chain:
    """Make a good chain: commands begin, end and overlap, and everything else happens between."""
    lines = [samples.genesis().line]
    running: dict[int, str] = {}
    left: dict[int, str] = {}
    for seq in range(1, draw(st.integers(at_least, 9))):
        kind = draw(st.sampled_from(["begin", "end", "rest", "checkpoint", "other"]))
        record: Record
        if kind == "begin":
            record = draw(struct_of(Intent, sig=UNSIGNED))
            running[seq] = record.run
        elif kind == "end" and running:
            opened = draw(st.sampled_from(sorted(running)))
            run = running.pop(opened)
            record = msgspec.structs.replace(draw(ENDING), intent=opened, run=run)
            if isinstance(record, Outcome) and record.leftover:
                left[opened] = run
        elif kind == "rest" and left:
            opened = draw(st.sampled_from(sorted(left)))
            record = draw(struct_of(Remainder, sig=UNSIGNED))
            record = msgspec.structs.replace(record, intent=opened, run=left.pop(opened))
        elif kind == "checkpoint":
            record = samples.checkpoint(lines)
        else:
            record = draw(FREE)
        record = msgspec.structs.replace(record, seq=seq, prev=digest(lines[-1]))
        lines.append(samples.signed(record).line)
    return Chain(tuple(lines))


def verify(lines: list[bytes], *, signatures: bool = True) -> ChainVerifier:
    """Verify lines with the executor's key and return the verifier; raises RecordError."""
    chain = (
        ChainVerifier(KEY) if signatures else ChainVerifier(KEY, verify=lambda _record, _key: None)
    )
    for line in lines:
        chain.feed(line)
    return chain


def first_bad(lines: list[bytes]) -> int:
    """Return the number of the first bad record of a chain that must have one."""
    with pytest.raises(RecordError) as caught:
        verify(lines)
    return caught.value.position


@given(chain=chains())
def test_a_good_chain_is_accepted(chain: Chain) -> None:
    """Every record of a good chain is returned, and length and head are those of its lines."""
    verifier = ChainVerifier(KEY)
    for place, line in enumerate(chain.lines):
        record = verifier.feed(line)
        assert record.seq == place
        assert (verifier.length, verifier.head) == (place + 1, digest(line))


@given(chain=chains(), data=st.data())
def test_a_flipped_bit_is_found_in_its_record(chain: Chain, data: st.DataObject) -> None:
    """I8: One bit changed anywhere is found, and it is that record that is named."""
    place = data.draw(st.integers(0, len(chain.lines) - 1))
    bit = data.draw(st.integers(0, 8 * len(chain.lines[place]) - 1))
    altered = bytearray(chain.lines[place])
    altered[bit // 8] ^= 1 << bit % 8
    lines = list(chain.lines)
    lines[place] = bytes(altered)
    assert first_bad(lines) == place


@given(chain=chains(at_least=2), data=st.data())
def test_a_dropped_record_is_found(chain: Chain, data: st.DataObject) -> None:
    """I8: A record taken out is named by the number that is missing."""
    place = data.draw(st.integers(0, len(chain.lines) - 2))
    lines = list(chain.lines)
    del lines[place]
    assert first_bad(lines) == place


@given(chain=chains(at_least=3), data=st.data())
def test_exchanged_records_are_found(chain: Chain, data: st.DataObject) -> None:
    """I8: Of two records that changed places, the first place is named."""
    places = st.integers(0, len(chain.lines) - 1)
    one, two = sorted(data.draw(st.lists(places, min_size=2, max_size=2, unique=True)))
    lines = list(chain.lines)
    lines[one], lines[two] = lines[two], lines[one]
    assert first_bad(lines) == one


@given(chain=chains(), data=st.data())
def test_a_doubled_record_is_found(chain: Chain, data: st.DataObject) -> None:
    """I8: A record that stands a second time, anywhere, is named where it stands."""
    copied = data.draw(st.integers(0, len(chain.lines) - 1))
    place = data.draw(st.integers(0, len(chain.lines)))
    lines = list(chain.lines)
    lines.insert(place, lines[copied])
    # A copy put just before the record itself is that record; the second of them is too many.
    assert first_bad(lines) == (place + 1 if place == copied else place)


@given(chain=chains(), record=FREE, data=st.data())
def test_an_inserted_record_is_found(chain: Chain, record: Record, data: st.DataObject) -> None:
    """I8: A record that fits its place perfectly, but is signed by another, is named."""
    place = data.draw(st.integers(1, len(chain.lines)))
    lines = list(chain.lines)
    fitting = msgspec.structs.replace(record, seq=place, prev=digest(lines[place - 1]))
    lines.insert(place, samples.signed(fitting, samples.STRANGER).line)
    assert first_bad(lines) == place


@given(chain=chains(), record=FREE, data=st.data())
def test_a_record_replaced_by_the_executor_is_found_by_the_next(
    chain: Chain, record: Record, data: st.DataObject
) -> None:
    """I8: Even with the executor's key a record can't be exchanged under those after it."""
    place = data.draw(st.integers(1, len(chain.lines)))
    lines = list(chain.lines)
    prev = digest(lines[place - 1])
    lines[place : place + 1] = [
        samples.signed(msgspec.structs.replace(record, seq=place, prev=prev)).line
    ]
    if lines == list(chain.lines):
        return
    if place + 1 < len(lines):
        assert first_bad(lines) == place + 1
    else:
        assert verify(lines).head != chain.head  # only who holds the head can tell


@given(chain=chains(), data=st.data())
def test_a_cut_chain_is_told_by_a_held_head(chain: Chain, data: st.DataObject) -> None:
    """I8: A chain cut at its end is good in itself, but shorter than the head that is held."""
    rest = data.draw(st.integers(0, len(chain.lines) - 1))
    verifier = verify(list(chain.lines[:rest]))
    assert (verifier.length, verifier.head) != (len(chain.lines), chain.head)
    assert verifier.length == rest


@given(chain=chains(), data=st.data())
def test_without_signatures_no_alteration_keeps_the_head(chain: Chain, data: st.DataObject) -> None:
    """I8: The links alone, without any signature, already bind every byte to the head."""
    place = data.draw(st.integers(0, len(chain.lines) - 1))
    bit = data.draw(st.integers(0, 8 * len(chain.lines[place]) - 1))
    altered = bytearray(chain.lines[place])
    altered[bit // 8] ^= 1 << bit % 8
    lines = list(chain.lines)
    lines[place] = bytes(altered)
    with suppress(RecordError):
        assert verify(lines, signatures=False).head != chain.head


@given(chain=chains(at_least=2), line=st.binary(max_size=60))
@settings(max_examples=50)
def test_after_an_error_the_verifier_is_as_it_was(chain: Chain, line: bytes) -> None:
    """A line that is refused changes nothing: the right one is accepted after it."""
    verifier = ChainVerifier()
    wrong = [line, chain.lines[-1][:-1], samples.signed(samples.outcome(1, FIRST_PREV, of=5)).line]
    for good in chain.lines:
        before = (verifier.length, verifier.head, verifier.key, dict(verifier.open))
        for bad in wrong:
            with pytest.raises(RecordError):
                verifier.feed(bad)
        assert (verifier.length, verifier.head, verifier.key, verifier.open) == before
        verifier.feed(good)
    assert verifier.head == chain.head


@given(chain=chains(), data=st.data())
@settings(max_examples=50)
def test_a_checkpoint_is_of_the_lines_before_it(chain: Chain, data: st.DataObject) -> None:
    """I8: A checkpoint over other lines than those before it, though signed, is named."""
    lines = list(chain.lines)
    verify([*lines, samples.signed(samples.checkpoint(lines)).line])
    place = data.draw(st.integers(0, len(lines) - 1))
    others = [*lines]
    others[place] = data.draw(st.binary(max_size=20))
    root = samples.checkpoint(others).root
    wrong = msgspec.structs.replace(samples.checkpoint(lines), root=root)
    assert first_bad([*lines, samples.signed(wrong).line]) == len(lines)


@pytest.mark.parametrize("roots", [True, False])
def test_a_checkpoint_of_another_tree_agrees_with_itself(roots: bool) -> None:
    """I8: One of other records, in root and note, is named by the tree; without it, it passes."""
    lines = [line.line for line in samples.three_records()]
    other = samples.checkpoint([lines[0], lines[2], lines[1]])
    wrong = msgspec.structs.replace(other, seq=3, prev=digest(lines[-1]))
    verifier = ChainVerifier(KEY)
    if not roots:  # by itself it has them
        verifier.roots = False
    for line in lines:
        verifier.feed(line)
    if not roots:
        assert verifier.feed(samples.signed(wrong).line).seq == 3
        return
    with pytest.raises(RecordError, match="another root") as caught:
        verifier.feed(samples.signed(wrong).line)
    assert (caught.value.expected, caught.value.found) == (
        samples.checkpoint(lines).root,
        other.root,
    )


@pytest.mark.parametrize("roots", [True, False])
def test_a_checkpoint_counts_the_records_before_it(roots: bool) -> None:
    """I8: An older checkpoint, in itself good, is refused at a later place, tree or no tree."""
    lines = [line.line for line in samples.three_records()]
    older = msgspec.structs.replace(samples.checkpoint(lines[:2]), seq=3, prev=digest(lines[2]))
    verifier = ChainVerifier(KEY)
    if not roots:  # by itself it has them
        verifier.roots = False
    for line in lines:
        verifier.feed(line)
    with pytest.raises(RecordError, match="another size") as caught:
        verifier.feed(samples.signed(older).line)
    assert caught.value.position == 3


def test_a_checkpoint_s_note_is_of_this_chain() -> None:
    """I8: A note that names another chain is refused, though this chain's key has signed it."""
    lines = [line.line for line in samples.three_records()]
    good = samples.checkpoint(lines)
    other = note.Checkpoint(origin="did:jis:other", size=3, root=bytes.fromhex(good.root))
    signed = note.sign_note(other.text(), samples.EXECUTOR.id, samples.EXECUTOR)
    wrong = msgspec.structs.replace(good, note=signed)
    verifier = verify(lines)
    with pytest.raises(RecordError, match="says something else"):
        verifier.feed(samples.signed(wrong).line)
    assert verifier.feed(samples.signed(good).line).seq == 3


@given(records=st.lists(FREE, min_size=1, max_size=4), data=st.data())
@settings(max_examples=50)
def test_after_a_change_of_the_key_only_the_new_one_counts(
    records: list[Record], data: st.DataObject
) -> None:
    """I8: What follows a key record is signed with the key that it names, and nothing else is."""
    lines = [line.line for line in samples.three_records()]
    lines.append(samples.signed(samples.new_key(3, digest(lines[-1]))).line)
    old = data.draw(st.integers(0, len(records)))
    for place, record in enumerate(records):
        fitting = msgspec.structs.replace(record, seq=len(lines), prev=digest(lines[-1]))
        signer = samples.EXECUTOR if place == old else samples.NEXT
        lines.append(samples.signed(fitting, signer).line)
    if old < len(records):
        assert first_bad(lines) == 4 + old
    else:
        verifier = verify(lines)
        assert verifier.key == samples.NEXT.public_key
        checkpoint = samples.checkpoint(lines, samples.NEXT)
        verifier.feed(samples.signed(checkpoint, samples.NEXT).line)


def test_open_commands_are_those_without_an_end() -> None:
    """What is kept of a chain is where it ends and which commands are open, not its length."""
    verifier = ChainVerifier(KEY)
    expected: list[dict[int, str]] = []
    left: list[dict[int, str]] = []
    for line in all_kinds():
        verifier.feed(line.line)
        expected.append(dict(verifier.open))
        left.append(dict(verifier.left))
    other = samples.intent(0, FIRST_PREV, event=samples.OTHER_EVENT).run
    third = samples.intent(0, FIRST_PREV, event=samples.THIRD_EVENT).run
    opened = {1: {1: samples.RUN}, 8: {8: other}, 10: {10: third}}
    assert expected == [opened.get(seq, {}) for seq in range(15)]
    assert left == [{10: third} if seq == 11 else {} for seq in range(15)]


@pytest.mark.parametrize("pinned", [True, False])
def test_a_chain_of_another_executor_needs_another_key(pinned: bool) -> None:
    """With a pinned key a stranger's whole chain is refused; without, it agrees with itself."""
    line = samples.genesis(samples.STRANGER).line
    verifier = ChainVerifier(KEY if pinned else None)
    if not pinned:
        verifier.feed(line)
        assert verifier.key == samples.STRANGER.public_key
        return
    with pytest.raises(RecordError, match="another executor's chain") as caught:
        verifier.feed(line)
    assert caught.value.expected == KEY.hex
    assert caught.value.found == samples.STRANGER.public_key.hex


Ending = Callable[[int, str], Record]


ENDINGS: list[tuple[Ending, str]] = [
    (lambda seq, prev: samples.outcome(seq, prev, of=1), "ends a command that is not open"),
    (lambda seq, prev: samples.outcome(seq, prev, of=0), "ends a command that is not open"),
    (lambda seq, prev: samples.outcome(seq, prev, of=3), "ends a command that is not open"),
    (lambda seq, prev: samples.outcome(seq, prev, of=99), "ends a command that is not open"),
    (
        lambda seq, prev: Aborted(
            seq=seq, prev=prev, time=samples.time(seq), intent=1, run=samples.RUN, detail=""
        ),
        "ends a command that is not open",
    ),
    (
        lambda seq, prev: samples.remainder(seq, prev, of=1),
        "ends what no command has left running",
    ),
    (
        lambda seq, prev: samples.remainder(seq, prev, of=3),
        "ends what no command has left running",
    ),
]


@pytest.mark.parametrize(("ending", "reason"), ENDINGS)
def test_a_command_ends_once_and_only_if_it_began(ending: Ending, reason: str) -> None:
    """I1: No outcome stands without its intent, nor a second one, however well it is signed.

    What belongs in its place is accepted after it.
    """
    lines = [line.line for line in samples.three_records()]
    lines.append(samples.signed(ending(3, digest(lines[-1]))).line)
    verifier = verify(lines[:3])
    with pytest.raises(RecordError, match=reason) as caught:
        verifier.feed(lines[3])
    assert caught.value.position == 3
    assert verifier.feed(samples.signed(samples.intent(3, digest(lines[2]))).line).seq == 3


def test_nothing_is_followed_without_a_key() -> None:
    """Whoever goes on within a chain has to know its key: without one no record is accepted."""
    first, second, _ = samples.three_records()
    verifier = ChainVerifier()
    verifier.length, verifier.head = 1, first.digest
    with pytest.raises(RecordError, match="no key to check this record with"):
        verifier.feed(second.line)
    verifier.key = KEY
    assert verifier.feed(second.line) == second.record


def test_errors_carry_the_evidence() -> None:
    """What was expected and what was found are in the error, for the report."""
    first, _, third = samples.three_records()
    verifier = ChainVerifier(KEY)
    verifier.feed(first.line)
    with pytest.raises(RecordError) as caught:
        verifier.feed(third.line)
    assert (caught.value.position, caught.value.expected, caught.value.found) == (1, "1", "2")
    assert str(caught.value) == "record 1: wrong number: expected 1, found 2"
