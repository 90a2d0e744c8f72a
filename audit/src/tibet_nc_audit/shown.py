# SPDX-License-Identifier: MIT
"""What a proof shows, for its reader: who asked for what, what came of it, and who vouches."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.visible import visible
from tibet_nc_protocol import proofs
from tibet_nc_protocol.cosignature import Cosigner, verify_cosignature
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import NoteError, ProofError
from tibet_nc_protocol.limits import PROOF_BYTES
from tibet_nc_protocol.note import Checkpoint, split_note
from tibet_nc_protocol.records import Record
from tibet_nc_protocol.signing import PublicKey


class Vouched(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who cosigned the checkpoint, with a key that the reader knows."""

    name: str
    time: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a proof shows; ``reason`` says why it shows nothing."""

    good: bool
    file: str
    reason: str = ""
    host: str = ""
    executor: str = ""
    key: str = ""
    pinned: bool = False
    records: list[Record] = []
    command: str | None = None
    checkpoints: list[str] = []
    cosigned: list[Vouched] = []
    others: list[str] = []
    """Names under which the note is signed as well, with keys that the reader didn't give."""


def check(path: Path, key: PublicKey | None, cosigners: Sequence[Cosigner]) -> Verdict:
    """Check a proof by itself; raises AuditError when the file can't be read.

    Every cosigner that is given must have signed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(PROOF_BYTES + 1)
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    try:
        proof = proofs.decode(data)
        if isinstance(proof, proofs.CommandProof):
            command = proofs.verify_command(proof, key)
            keys, note, records = command.keys, command.note, list(command.records)
            text, checkpoints = command.text, [command.checkpoint]
        else:
            growth = proofs.verify_growth(proof, key)
            keys, note, records = growth.keys, proof.new, []
            text, checkpoints = None, [growth.old, growth.new]
        cosigned = [_vouched(note, cosigner) for cosigner in cosigners]
    except (ProofError, NoteError) as error:
        return Verdict(good=False, file=str(path), reason=str(error))
    known = {keys.genesis.executor, *(cosigner.name for cosigner in cosigners)}
    return Verdict(
        good=True,
        file=str(path),
        host=keys.genesis.host,
        executor=keys.genesis.executor,
        key=keys.first.hex,
        pinned=key is not None,
        records=records,
        command=text,
        checkpoints=[_size(checkpoint) for checkpoint in checkpoints],
        cosigned=cosigned,
        others=sorted({name for name, _ in split_note(note)[1]} - known),
    )


def lines(verdict: Verdict) -> Iterator[str]:
    """Yield the verdict as lines for people, safe for a terminal."""
    if not verdict.good:
        yield f"BAD: {visible(verdict.file)}: {visible(verdict.reason)}"
        return
    yield _line("host", f"{visible(verdict.host)}, executor {visible(verdict.executor)}")
    pinned = "as --key says" if verdict.pinned else "NOT PINNED: the file names it itself; --key"
    yield _line("key", f"{verdict.key}, {pinned}")
    for record in verdict.records:
        kind = str(record.__struct_config__.tag)
        yield _line("record", f"#{record.seq}, {kind}")
        for name in msgspec.structs.fields(type(record)):
            value = getattr(record, name.name)
            if name.name not in {"seq", "prev", "sig"} and value not in {None, "", ()}:
                yield _line(f"  {name.name}", visible(str(value)))
    if verdict.command is not None:
        yield _line("text", visible(verdict.command))
    elif verdict.records:
        yield _line("text", "not in the file")
    for checkpoint in verdict.checkpoints:
        yield _line("checkpoint", checkpoint)
    for vouched in verdict.cosigned:
        yield _line("cosigned", f"by {visible(vouched.name)}, {vouched.time}")
    if verdict.others:
        yield _line("signed by", ", ".join(map(visible, verdict.others)) + ": keys not given")
    yield ""
    if verdict.records:
        numbers = " and ".join(f"#{record.seq}" for record in verdict.records)
        yield f"GOOD: {numbers} stood in the chain as shown when the checkpoint was signed"
    else:
        old, new = verdict.checkpoints
        yield f"GOOD: the records of the first checkpoint ({old.split(',')[0]}) are the first ones"
        yield f"of the second ({new.split(',')[0]})"


def _vouched(note: str, cosigner: Cosigner) -> Vouched:
    seconds = verify_cosignature(note, cosigner)
    try:
        time = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        raise NoteError(f"the cosignature of {cosigner.name} has no possible time") from None
    return Vouched(name=cosigner.name, time=time)


def _size(checkpoint: Checkpoint) -> str:
    return f"{counted(checkpoint.size, 'record')}, root {checkpoint.root.hex()}"


def _line(name: str, value: str) -> str:
    return f"{name:17} {value}"
