# SPDX-License-Identifier: MIT
"""Making proofs: one command, or the growth of the chain, for somebody who doesn't get the rest.

One pass over the lines before the checkpoint gives the digests of all proofs and the root, in
memory that doesn't grow with the chain. The root must be the checkpoint's, or the files are not
what the executor signed and nothing is made.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tibet_nc_audit import anchors, payloads
from tibet_nc_audit.errors import AuditError, DisagreementError
from tibet_nc_audit.keys import since
from tibet_nc_audit.locate import Command, locate
from tibet_nc_audit.reader import State
from tibet_nc_protocol import proofs
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import NoteError, ProofError
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, PAYLOADS_CODEC, Payload, segment_name
from tibet_nc_protocol.merkle import (
    Frontier,
    RangeRoots,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
)
from tibet_nc_protocol.note import Checkpoint, split_note
from tibet_nc_protocol.records import Intent, Refusal
from tibet_nc_protocol.signing import PublicKey

_NOTE_BYTES: Final = 64 * 1024


def latest_note(state: State, key: PublicKey | None = None) -> str:
    """Return the note of the chain's latest checkpoint, signed by the chain's key.

    ``key`` is the first of the chain, or a later one; without it the one that the chain itself
    names is taken. Whether the records are the checkpoint's isn't looked at. Raises
    DisagreementError when it isn't so signed, AuditError.
    """
    first = _first(state, key)
    note, checkpoint = _checkpoint(state, None)
    genesis, keys = _identity(state, checkpoint.size)
    try:
        known = proofs.read_keys(genesis, keys, first)
        known.checkpoint(note)
        _lead_to(known, key)
    except (NoteError, ProofError) as error:
        raise DisagreementError(CHAIN, f"the latest checkpoint: {error}") from None
    return note


def prove_command(
    state: State,
    number: int,
    *,
    key: PublicKey | None = None,
    note: str | None = None,
    text: bool = True,
) -> proofs.CommandProof:
    """Return the proof of one record, or of a command with its end.

    It is under the chain's latest checkpoint, or under ``note``, which may carry cosignatures.
    ``key`` is the first of the chain, or a later one; without it the one that the chain itself
    names is taken. Raises DisagreementError when the chain isn't the checkpoint's, AuditError when
    there is no such record or no checkpoint after it.
    """
    first = _first(state, key)
    command = locate(state, number)
    places = [place for place in (command.begin, command.end) if place is not None]
    if any(place.record is None for place in places):
        raise AuditError(f"record {number}: not a record")
    note, checkpoint = _checkpoint(state, note)
    places = [place for place in places if place.number < checkpoint.size]
    if not places:
        raise AuditError(
            f"record {number}: after the checkpoint of {counted(checkpoint.size, 'record')};"
            " the executor makes another one soon, and when it stops"
        )
    paths = _roots(
        state, checkpoint, [inclusion_ranges(place.number, checkpoint.size) for place in places]
    )
    genesis, keys = _identity(state, checkpoint.size)
    made = proofs.CommandProof(
        format=1,
        genesis=genesis,
        keys=keys,
        records=[
            proofs.Shown(line=_text(place.line), proof=proofs.tlog_proof(place.number, path, note))
            for place, path in zip(places, paths, strict=True)
        ],
        text=_payload(state, command) if text else None,
    )
    try:
        shown = proofs.verify_command(made, first)  # as whoever gets it does
        _lead_to(shown.keys, key)
    except ProofError as error:
        raise DisagreementError(CHAIN, f"no proof can be made: {error}") from None
    return made


def prove_growth(
    state: State, old: str, *, key: PublicKey | None = None, note: str | None = None
) -> proofs.GrowthProof:
    """Return the proof that the chain has grown from an earlier checkpoint, given by its note.

    ``key`` is the first of the chain, or a later one. Raises DisagreementError when it hasn't,
    AuditError.
    """
    first = _first(state, key)
    before = _read(old)
    if not before.size:
        raise AuditError("the earlier checkpoint is of no records: every chain has grown from that")
    note, checkpoint = _checkpoint(state, note)
    if before.size > checkpoint.size:
        raise DisagreementError(
            CHAIN,
            "the latest checkpoint is of fewer records than the earlier one",
            expected=f"at least {counted(before.size, 'record')}\n{old}",
            found=f"{counted(checkpoint.size, 'record')}\n{note}",
        )
    (path,) = _roots(
        state, checkpoint, [consistency_ranges(before.size, checkpoint.size)], (before, old)
    )
    genesis, keys = _identity(state, checkpoint.size)
    made = proofs.GrowthProof(
        format=1,
        genesis=genesis,
        keys=keys,
        old=old,
        new=note,
        path=[base64.b64encode(step).decode() for step in path],
    )
    try:
        _lead_to(proofs.verify_growth(made, first).keys, key)
    except ProofError as error:
        raise DisagreementError(CHAIN, f"no proof can be made: {error}") from None
    return made


def read_note(path: Path) -> str:
    """Return the note in a file; raises AuditError."""
    try:
        with path.open("rb") as file:
            text = file.read(_NOTE_BYTES).decode()
        _read(text)
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise AuditError(f"{path}: not a checkpoint's note") from None
    except AuditError as error:
        raise AuditError(f"{path}: {error}") from None
    return text


def _checkpoint(state: State, note: str | None) -> tuple[str, Checkpoint]:
    if note is not None:
        return note, _read(note)
    note = anchors.latest_checkpoint(state).note
    try:
        return note, _read(note)
    except AuditError as error:
        raise DisagreementError(CHAIN, f"the latest checkpoint: {error}") from None


def _read(note: str) -> Checkpoint:
    try:
        return Checkpoint.from_text(split_note(note)[0])
    except NoteError as error:
        raise AuditError(f"not a checkpoint's note: {error}") from None


def _roots(
    state: State,
    checkpoint: Checkpoint,
    wanted: Sequence[list[range]],
    before: tuple[Checkpoint, str] | None = None,
) -> list[list[bytes]]:
    """Return the roots over each list of ranges, if the chain is the checkpoints'."""
    tree = Frontier()
    parts = [RangeRoots(ranges) for ranges in wanted]
    for number, line in state.records_from(0):
        if number >= checkpoint.size:
            break
        leaf = leaf_hash(line)
        tree.append(leaf)
        for part in parts:
            part.append(number, leaf)
        if before is not None and tree.size == before[0].size:
            _compare(tree, before[0], before[1])
    if tree.size != checkpoint.size:
        raise DisagreementError(
            CHAIN,
            "the chain is shorter than its checkpoint",
            expected=counted(checkpoint.size, "record"),
            found=counted(tree.size, "record"),
        )
    _compare(tree, checkpoint, "")
    try:
        return [part.roots() for part in parts]
    except ProofError as error:
        raise DisagreementError(CHAIN, str(error)) from None


def _compare(tree: Frontier, checkpoint: Checkpoint, note: str) -> None:
    if tree.root() != checkpoint.root:
        raise DisagreementError(
            CHAIN,
            f"it does not begin with the checkpoint's {counted(checkpoint.size, 'record')}"
            " (verify says more)",
            expected=f"root {checkpoint.root.hex()}" + (f"\n{note}" if note else ""),
            found=f"root {tree.root().hex()}",
        )


def _first(state: State, key: PublicKey | None) -> PublicKey | None:
    return None if key is None else since(state, key).first


def _lead_to(keys: proofs.Keys, key: PublicKey | None) -> None:
    """Raise ProofError unless a key is among those of a proof, whose chain can be another by now.

    Then what it signed is in the proof: the next key's record, or the checkpoint.
    """
    if key is not None and all(key != known for _, known in keys.changes):
        raise ProofError(f"another executor's chain than a moment ago: not of the key {key.hex}")


def _identity(state: State, before: int) -> tuple[str, list[str]]:
    """Return the lines that say whose chain it is, and with which keys it went on."""
    keys = [_text(line) for line in anchors.key_lines(state, before)]
    return _text(anchors.genesis_line(state)), keys


def _text(line: bytes) -> str:
    """Return a line as text; what is no record is found when the proof is checked."""
    return line.decode(errors="replace")


def _payload(state: State, command: Command) -> Payload | None:
    """Return the payload that a command's record commits to, if it is still there."""
    number, record = command.begin.number, command.begin.record
    if not isinstance(record, Intent | Refusal) or record.command is None:
        return None
    name = segment_name(state.segment_of(number))
    other = ""
    with state.open_if_there(name, payloads.LINE_BYTES, PAYLOADS) as file:
        for line in file or ():
            item = payloads.read_payload(line)
            if item is None or item.key != number:
                continue
            if item.digest == record.command:
                return PAYLOADS_CODEC.decode(line)
            other = item.digest
    if other:
        raise DisagreementError(
            f"{PAYLOADS}/{name}",
            "not the text that the record commits to",
            expected=record.command,
            found=other,
        )
    return None
