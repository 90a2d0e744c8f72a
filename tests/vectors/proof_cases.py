# SPDX-License-Identifier: MIT
"""Vectors of proofs: one command, or the growth of a chain, shown without the rest (SPEC §7)."""

import base64
from collections.abc import Iterator

from msgspec.structs import replace

from tests.vectors import samples
from tests.vectors.case import Case, Layer, Reads
from tests.vectors.trees import consistency_proof, inclusion_proof
from tibet_nc_protocol import proofs
from tibet_nc_protocol.cosignature import cosignature_line
from tibet_nc_protocol.layout import Payload
from tibet_nc_protocol.merkle import leaf_hash
from tibet_nc_protocol.note import split_note
from tibet_nc_protocol.signing import Identity, PublicKey

COSIGNER = Identity(b"a cosigner for the test vectors.")
COSIGNED_AT = 1_795_564_800


def cases() -> Iterator[Case]:
    """Return the vectors of proofs."""
    lines = [line.line for line in samples.three_records()]
    command, growth = _command(lines), _growth(lines)
    yield _case("of_a_command", "A command, its end and its text, under a checkpoint.", command)
    alone = replace(command, records=command.records[:1], text=None)
    yield _case("of_one_record", "One record, without its text.", alone)
    yield _case("of_growth", "A checkpoint of three records begins with that of two.", growth)
    text, _ = split_note(growth.new)
    cosigned = growth.new + cosignature_line(text, "example.org/audit", COSIGNER, COSIGNED_AT)
    yield _case(
        "cosigned",
        "Somebody else has cosigned the checkpoint; who doesn't know them passes over it.",
        replace(growth, new=cosigned),
    )
    other = Payload(seq=1, salt=samples.SALT.hex(), command="reboot")
    yield _case("with_another_text", "The text is another.", replace(command, text=other), bad=True)
    moved = replace(command.records[0], proof=_shown(lines, 2, command.records[1].proof).proof)
    yield _case(
        "of_another_place",
        "The proof is that of the record after.",
        replace(command, records=[moved]),
        bad=True,
    )
    cut = command.records[0].proof.split("\n")
    cut = [*cut[:2], *cut[3:]]
    short = replace(command.records[0], proof="\n".join(cut))
    yield _case(
        "without_a_step", "A digest is missing.", replace(command, records=[short]), bad=True
    )
    yield _case(
        "of_two_ends",
        "The records are not a command and its end.",
        replace(command, records=[command.records[1]] * 2),
        bad=True,
    )
    yield _case(
        "of_shrinking",
        "The later checkpoint is of fewer records.",
        replace(growth, old=growth.new, new=growth.old),
        bad=True,
    )
    written = proofs.encode(alone)
    yield _written("with_another_key", "The file has one more key.", b'{"more":1,' + written[1:])
    fact = "The file doesn't say that it has no text."
    nothing = written[: written.rindex(b",")].rstrip() + b"\n}\n"
    yield _written("without_its_text_key", fact, nothing)
    yield from _whose(replace(command, text=None), lines)
    yield from _changed_key(replace(command, text=None), lines)


def _whose(command: proofs.CommandProof, lines: list[bytes]) -> Iterator[Case]:
    """Yield proofs of what is not, or is not all, of the executor whose key the reader holds."""
    stranger = samples.STRANGER

    def bad(name: str, fact: str, **changes: object) -> Case:
        return _case(name, fact, replace(command, **changes), bad=True)

    fact = "A good proof, of another executor than the reader holds the key of."
    yield _case("of_another_executor", fact, command, bad=True, key=stranger.public_key)
    forged = samples.signed(samples.genesis().record, stranger).line.decode()
    fact = "The genesis isn't signed with the key that it names."
    yield bad("genesis_forged", fact, genesis=forged)
    intent = samples.signed(samples.intent(1, samples.genesis().digest), stranger).line
    record = _under([lines[0], intent], 1)
    yield bad("record_forged", "The record is signed with another key.", records=[record])
    signed = _under(lines, 1, stranger)
    yield bad("checkpoint_forged", "The checkpoint is signed with another key.", records=[signed])
    two = [_under(lines[:2], 1), _under(lines, 2)]
    yield bad("by_two_checkpoints", "Each record is shown by another checkpoint.", records=two)


def _changed_key(command: proofs.CommandProof, lines: list[bytes]) -> Iterator[Case]:
    """Yield proofs of a record after the executor's key was changed."""
    change = samples.signed(samples.new_key(3, samples.three_records()[2].digest))
    after = samples.signed(samples.intent(4, change.digest), samples.NEXT)
    shown = [_under([*lines, change.line, after.line], 4, samples.NEXT)]
    proof = replace(command, keys=[change.line.decode()], records=shown)
    yield _case("after_a_change_of_key", "The old key has signed the one that signs now.", proof)
    itself = samples.signed(change.record, samples.NEXT).line.decode()
    yield _case(
        "key_changed_by_itself",
        "The new key signs its own key record.",
        replace(proof, keys=[itself]),
        bad=True,
    )


def _command(lines: list[bytes]) -> proofs.CommandProof:
    note = samples.checkpoint(lines).note
    leaves = [leaf_hash(line) for line in lines]
    return proofs.CommandProof(
        format=1,
        genesis=lines[0].decode(),
        keys=[],
        records=[
            _shown(lines, number, proofs.tlog_proof(number, inclusion_proof(leaves, number), note))
            for number in (1, 2)
        ],
        text=Payload(seq=1, salt=samples.SALT.hex(), command="uname"),
    )


def _growth(lines: list[bytes]) -> proofs.GrowthProof:
    path = consistency_proof([leaf_hash(line) for line in lines], 2)
    return proofs.GrowthProof(
        format=1,
        genesis=lines[0].decode(),
        keys=[],
        old=samples.checkpoint(lines[:2]).note,
        new=samples.checkpoint(lines).note,
        path=[base64.b64encode(step).decode() for step in path],
    )


def _under(lines: list[bytes], number: int, identity: Identity = samples.EXECUTOR) -> proofs.Shown:
    """Show a line by a checkpoint over these lines, whatever they are."""
    path = inclusion_proof([leaf_hash(line) for line in lines], number)
    note = samples.checkpoint(lines, identity).note
    return _shown(lines, number, proofs.tlog_proof(number, path, note))


def _shown(lines: list[bytes], number: int, proof: str) -> proofs.Shown:
    return proofs.Shown(line=lines[number].decode(), proof=proof)


def _written(name: str, fact: str, written: bytes) -> Case:
    """Return a file that is bad, as it stands."""
    return Case(
        name=f"proof_{name}",
        fact=fact,
        reads=Reads.PROOF,
        files={"input.json": written},
        refused_by=Layer.PROOF,
        facts={"key": samples.EXECUTOR.public_key.hex},
    )


def _case(
    name: str,
    fact: str,
    proof: proofs.Proof,
    *,
    bad: bool = False,
    key: PublicKey = samples.EXECUTOR.public_key,
) -> Case:
    return Case(
        name=f"proof_{name}",
        fact=fact,
        reads=Reads.PROOF,
        files={"input.json": proofs.encode(proof)},
        refused_by=Layer.PROOF if bad else None,
        facts={"key": key.hex},
    )
