# SPDX-License-Identifier: MIT
"""Proofs that leave the host: one command, or the growth of a chain, shown without the rest.

Each is one JSON object in a file, and holds all that is needed to check it but the key that the
reader trusts (SPEC §7). What is shown of a record is its line; where it stands is shown by a C2SP
tlog-proof, which other tools check as well.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tibet_nc_protocol.errors import DecodeError, NoteError, ProofError, SignatureError
from tibet_nc_protocol.layout import Payload
from tibet_nc_protocol.limits import PROOF_BYTES
from tibet_nc_protocol.merkle import DIGEST_BYTES, leaf_hash, verify_consistency, verify_inclusion
from tibet_nc_protocol.note import Checkpoint, Verifier, open_checkpoint, read_base64, split_note
from tibet_nc_protocol.records import (
    FORMAT,
    RECORDS,
    Aborted,
    Genesis,
    Intent,
    Key,
    Outcome,
    Record,
    Refusal,
    commitment,
    verify_signature,
)
from tibet_nc_protocol.signing import PublicKey

TLOG_PROOF: Final = "c2sp.org/tlog-proof@v1"

_INDEX: Final = re.compile(r"\Aindex (0|[1-9][0-9]{0,15})\Z")
_STEPS: Final = 64
"""Most digests in a proof: a tree has fewer levels."""


class Shown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record's line, and the C2SP tlog-proof that it stands in the chain."""

    line: str
    proof: str


class CommandProof(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="proof",
    tag="record",
):
    """One record of a chain, or a command with the record of its end."""

    format: Literal[1]
    genesis: str
    keys: list[str]
    records: Annotated[list[Shown], Meta(min_length=1, max_length=2)]
    text: Payload | None


class GrowthProof(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="proof",
    tag="consistency",
):
    """A later checkpoint of a chain is of the same records as an earlier one, and more."""

    format: Literal[1]
    genesis: str
    keys: list[str]
    old: str
    new: str
    path: list[str]


type Proof = CommandProof | GrowthProof

_DECODER: Final[msgspec.json.Decoder[Proof]] = msgspec.json.Decoder(Proof.__value__)


def decode(data: bytes) -> Proof:
    """Return the proof in a file; raises ProofError."""
    if len(data) > PROOF_BYTES:
        raise ProofError(f"{len(data)} bytes; a proof has at most {PROOF_BYTES}")
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ProofError("not a proof of tibet-nc") from None


def encode(proof: Proof) -> bytes:
    """Return the file of a proof."""
    return msgspec.json.format(msgspec.json.encode(proof), indent=1) + b"\n"


def tlog_proof(index: int, path: Sequence[bytes], note: str) -> str:
    """Return a proof of inclusion in its public form (C2SP tlog-proof)."""
    steps = "".join(f"{base64.b64encode(step).decode()}\n" for step in path)
    return f"{TLOG_PROOF}\nindex {index}\n{steps}\n{note}"


def read_tlog_proof(text: str) -> tuple[int, list[bytes], str]:
    """Return index, digests and checkpoint note of a C2SP tlog-proof; raises ProofError."""
    head, separator, note = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != TLOG_PROOF:
        raise ProofError("not a tlog-proof")
    rest = lines[2:] if lines[1:] and lines[1].startswith("extra ") else lines[1:]
    index = _INDEX.match(rest[0]) if rest else None
    if index is None:
        raise ProofError("a tlog-proof names the index of its entry")
    return int(index[1]), _path(rest[1:]), note


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Whose chain a proof is of, and which key signs from which record on."""

    genesis: Genesis
    changes: tuple[tuple[int, PublicKey], ...]

    @property
    def first(self) -> PublicKey:
        """The key to know from elsewhere."""
        return self.changes[0][1]

    def at(self, number: int) -> PublicKey:
        """Return the key that signs the record with this number."""
        return next(key for first, key in reversed(self.changes) if first <= number)

    def checkpoint(self, note: str) -> Checkpoint:
        """Return the checkpoint in a note, if the executor signed it; raises NoteError."""
        said = Checkpoint.from_text(split_note(note)[0])
        verifier = Verifier(name=self.genesis.executor, key=self.at(said.size))
        checkpoint = open_checkpoint(note, verifier)
        if checkpoint.origin != self.genesis.executor:
            raise NoteError("a checkpoint of another chain")
        return checkpoint


def read_keys(genesis: str, keys: Sequence[str], pinned: PublicKey | None) -> Keys:
    """Return the keys of a chain by its genesis and key records; raises ProofError.

    ``pinned`` is the first key if the reader knows it; without it the genesis is believed.
    """
    first = _record(genesis)
    if not isinstance(first, Genesis) or first.seq != 0 or first.format != FORMAT:
        raise ProofError("no genesis record of a known format")
    try:
        key = PublicKey.from_hex(first.key)
        if pinned is not None and key != pinned:
            later = any(f'"key":"{pinned.hex}"' in line for line in keys)
            hint = "; that is a later one, and a proof is checked with the first" if later else ""
            raise ProofError(
                f"another executor's chain: its key is {key.hex}, not {pinned.hex}{hint}"
            )
        verify_signature(first, key)
        changes = [(0, key)]
        for line in keys:
            change = _record(line)
            if not isinstance(change, Key) or change.seq < changes[-1][0]:
                raise ProofError("not the key records of a chain, in their order")
            verify_signature(change, key)
            key = PublicKey.from_hex(change.key)
            changes.append((change.seq + 1, key))
    except SignatureError as error:
        raise ProofError(f"genesis and key records: {error}") from None
    return Keys(genesis=first, changes=tuple(changes))


@dataclass(frozen=True, kw_only=True)
class CommandShown:
    """What a proof of a record shows, once it was checked."""

    keys: Keys
    records: tuple[Record, ...]
    text: str | None
    checkpoint: Checkpoint
    note: str


def verify_command(proof: CommandProof, pinned: PublicKey | None = None) -> CommandShown:
    """Return what a proof of a record shows; raises ProofError.

    The numbers are the steps of SPEC §7, Proofs.
    """
    keys = read_keys(proof.genesis, proof.keys, pinned)  # a
    records: list[Record] = []
    notes: list[str] = []
    checkpoint: Checkpoint | None = None
    for shown in proof.records:
        record = _record(shown.line)
        index, path, note = read_tlog_proof(shown.proof)
        if index != record.seq:
            raise ProofError(f"record {record.seq}: the proof is for record {index}")
        try:
            verify_signature(record, keys.at(record.seq))  # b
            checkpoint = keys.checkpoint(note)  # c
        except (SignatureError, NoteError) as error:
            raise ProofError(f"record {record.seq}: {error}") from None
        leaf = leaf_hash(shown.line.encode())
        verify_inclusion(leaf, index, checkpoint.size, path, checkpoint.root)  # d
        records.append(record)
        notes.append(note)
    begin, *end = records
    if end and not _ends(begin, end[0]):  # e
        raise ProofError("the second record is not of the end of the first's command")
    if checkpoint is None or len(set(notes)) > 1:
        raise ProofError("the records are shown by different checkpoints")
    text = None if proof.text is None else _opened(begin, proof.text)  # f
    return CommandShown(
        keys=keys, records=tuple(records), text=text, checkpoint=checkpoint, note=notes[0]
    )


@dataclass(frozen=True, kw_only=True)
class GrowthShown:
    """What a proof of growth shows, once it was checked."""

    keys: Keys
    old: Checkpoint
    new: Checkpoint


def verify_growth(proof: GrowthProof, pinned: PublicKey | None = None) -> GrowthShown:
    """Return what a proof of growth shows; raises ProofError."""
    keys = read_keys(proof.genesis, proof.keys, pinned)
    try:
        old, new = keys.checkpoint(proof.old), keys.checkpoint(proof.new)
    except NoteError as error:
        raise ProofError(str(error)) from None
    verify_consistency(old.size, new.size, _path(proof.path), old.root, new.root)
    return GrowthShown(keys=keys, old=old, new=new)


def _record(line: str) -> Record:
    try:
        return RECORDS.decode(line.encode())
    except (DecodeError, UnicodeEncodeError) as error:
        raise ProofError(f"not a record: {error}") from None


def _ends(begin: Record, end: Record) -> bool:
    return (
        isinstance(begin, Intent)
        and isinstance(end, Outcome | Aborted)
        and (end.intent, end.run) == (begin.seq, begin.run)
    )


def _opened(record: Record, text: Payload) -> str:
    """Return the text that a record commits to; raises ProofError when it is another."""
    committed = record.command if isinstance(record, Intent | Refusal) else None
    found = commitment(bytes.fromhex(text.salt), text.command)
    if text.seq != record.seq or committed != found:
        raise ProofError("the text is not the one that the record commits to")
    return text.command


def _path(lines: Sequence[str]) -> list[bytes]:
    if len(lines) > _STEPS:
        raise ProofError("a proof with more digests than a tree has levels")
    try:
        path = [read_base64(line) for line in lines]
    except NoteError as error:
        raise ProofError(str(error)) from None
    if any(len(step) != DIGEST_BYTES for step in path):
        raise ProofError(f"a digest has {DIGEST_BYTES} bytes")
    return path
