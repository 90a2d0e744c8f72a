# SPDX-License-Identifier: MIT
"""Heads that someone holds: what makes truncation and rollback show (I8).

A chain that was cut or replaced as a whole agrees with itself. It doesn't agree with the number
and the digest of a record that the journal, the room or an earlier verification has kept.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.output import replace_file
from tibet_nc_protocol.errors import ProtocolError
from tibet_nc_protocol.limits import EXACT_INTEGER
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.note import Checkpoint, split_note
from tibet_nc_protocol.signing import PublicKey
from tibet_nc_protocol.terms import Count, Digest, Text

SHORTEST_DIGITS: Final = 8
"""Fewest digits of a digest that count as one: the room shows so many."""

_FILE_BYTES: Final = 1024 * 1024
_NEITHER: Final = "neither SEQ:HEAD, nor a head file, nor a checkpoint"
_WRITTEN: Final = re.compile(r"\A(#?)([0-9]{1,15}):([0-9a-fA-F]{1,64})\Z")


@dataclass(frozen=True, kw_only=True)
class Held:
    """What someone holds of a record: its digest, or the digest's first digits, or the root in it.

    ``root`` is of a checkpoint, whose record's number is the size of its tree. ``command`` is the
    number of a command of whose end the head is: the room shows these two together.
    """

    record: int
    source: str
    head: str = ""
    root: str = ""
    command: int | None = None
    key: PublicKey | None = None
    note: str = ""
    """The checkpoint's note itself, to be shown as evidence."""
    chains_own: bool = False
    """Whether it is of this chain as it was a moment ago, and so asks nothing of a bad one."""

    @property
    def what(self) -> str:
        """What is held, in words."""
        which = f"record {self.record}" if self.command is None else f"the end of #{self.command}"
        return f"{which} with root {self.root}" if self.root else f"{which} with head {self.head}"


class Depth(StrEnum):
    """How much is checked of a chain."""

    CHAIN = "chain"
    """Every number, link, root and checkpoint; the signatures of the anchors."""
    RECORDS = "records"
    """What each record says as well, and all that it speaks of."""
    DEEP = "deep"
    """The signature of each record as well."""


class SavedHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head file: where a chain ended that was verified, whose it was and with which key.

    The rest is what it takes to go on from there: the key and the name of the chain then, its tree
    (RFC 6962), the commands that were open and those that left something running, with their runs,
    how many bytes of the tokens were claimed, the latest checkpoint's note, and how much of it all
    was checked.
    """

    record: Count
    head: Digest
    key: Digest
    host: Text
    time: Text
    last_key: Digest
    origin: Text
    tree: list[Digest]
    open: dict[int, str]
    left: dict[int, str]
    tokens: Count
    checkpoint: str
    depth: Depth


_SAVED: Final = msgspec.json.Decoder(SavedHead)


def held(text: str) -> Held:
    """Read ``SEQ:HEAD``, ``#SEQ:HEAD``, or the file of that name; raises AuditError.

    The file is one that ``save`` wrote, or a checkpoint as a signed note. The note's signature
    isn't asked for: whoever held the note knows where it is from.
    """
    match = _WRITTEN.match(text)
    if match is None:
        return _from_file(Path(text))
    if len(match[3]) < SHORTEST_DIGITS:
        raise AuditError(f"{text}: give at least {SHORTEST_DIGITS} digits of the head")
    number, head = int(match[2]), match[3].lower()
    if match[1]:
        return Held(record=EXACT_INTEGER, head=head, command=number, source="given")
    return Held(record=number, head=head, source="given")


def held_note(note: str, source: str) -> Held:
    """Return what a checkpoint's note holds; raises NoteError."""
    checkpoint = Checkpoint.from_text(split_note(note)[0])
    return Held(record=checkpoint.size, root=checkpoint.root.hex(), source=source, note=note)


def load(path: Path) -> SavedHead:
    """Read a head file to go on from; raises AuditError."""
    try:
        with path.open("rb") as file:
            saved = _SAVED.decode(file.read(_FILE_BYTES))
        PublicKey.from_hex(saved.key)
        PublicKey.from_hex(saved.last_key)
        Frontier(saved.record + 1, [bytes.fromhex(part) for part in saved.tree])
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    except (ProtocolError, ValueError):  # msgspec's are ValueErrors, too
        raise AuditError(f"{path}: not a head file as --save-head writes them") from None
    return saved


def save(path: Path, head: SavedHead) -> None:
    """Write a head file, replacing an older one at once; raises AuditError."""
    with replace_file(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(head), indent=2) + b"\n")


def _from_file(path: Path) -> Held:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES)
        if not data.startswith(b"{"):
            return held_note(data.decode(), str(path))
        saved = _SAVED.decode(data)
        key = PublicKey.from_hex(saved.key)
    except OSError as error:
        raise AuditError(f"{path}: {_NEITHER}: {error.strerror}") from None
    except (ProtocolError, ValueError):
        raise AuditError(f"{path}: {_NEITHER}") from None
    return Held(
        record=saved.record, head=saved.head, source=str(path), key=key, note=saved.checkpoint
    )
