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
from tibet_nc_protocol.signing import Identity

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


def _shown(lines: list[bytes], number: int, proof: str) -> proofs.Shown:
    return proofs.Shown(line=lines[number].decode(), proof=proof)


def _case(name: str, fact: str, proof: proofs.Proof, *, bad: bool = False) -> Case:
    return Case(
        name=f"proof_{name}",
        fact=fact,
        reads=Reads.PROOF,
        files={"input.json": proofs.encode(proof)},
        refused_by=Layer.PROOF if bad else None,
        facts={"key": samples.EXECUTOR.public_key.hex},
    )
