# SPDX-License-Identifier: MIT
"""Signed notes and checkpoints, as other tools read them (C2SP signed-note, C2SP tlog-checkpoint).

A note is a text, an empty line, and signature lines. A checkpoint is a note whose text is an
origin, the size of a tree and its root. Keys are written as verifier keys (``vkey``).
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from tibet_nc_protocol.errors import NoteError, SignatureError
from tibet_nc_protocol.limits import EXACT_INTEGER
from tibet_nc_protocol.merkle import DIGEST_BYTES
from tibet_nc_protocol.signing import SIGNATURE_BYTES, Identity, PublicKey

KEY_ID_BYTES: Final = 4
_NAME: Final = re.compile(r"\A[^\s+\ud800-\udfff]+\Z")
_SIGNATURE_LINE: Final = re.compile(r"\A— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\Z")
_SIZE: Final = re.compile(r"\A(0|[1-9][0-9]{0,15})\Z")
"""Bounded, since int() refuses thousands of digits with an error of its own."""

_MAX_SIGNATURES: Final = 100
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """A name with the key that signs under it."""

    TYPE: ClassVar[bytes] = b"\x01"
    """The signature type in key ids and verifier keys: Ed25519 (C2SP signed-note)."""

    name: str
    key: PublicKey

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise NoteError(f"{self.name!r} can't be the name of a key")

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        text = self.name.encode() + b"\n" + self.TYPE + self.key.data
        return hashlib.sha256(text).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The verifier key as text: name, key id, key."""
        key = base64.b64encode(self.TYPE + self.key.data).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def from_vkey(cls, text: str) -> Self:
        """Read a verifier key of this type; raises NoteError."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        try:
            data = read_base64(encoded)
            if data[:1] != cls.TYPE:
                raise NoteError("the verifier key is of another type than is wanted here")
            verifier = cls(name=name, key=PublicKey(data[1:]))
        except SignatureError as error:
            raise NoteError(f"not a verifier key: {error}") from None
        if verifier.key_id.hex() != key_id:
            raise NoteError("the verifier key's id does not fit its key")
        return verifier


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """How large a chain is and what its root is; ``origin`` names the chain."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_text(cls, text: str) -> "Checkpoint":
        """Read the text of a note; raises NoteError. Lines after the third are extensions."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:3]):
            raise NoteError("a checkpoint has an origin, a size and a root, a line each")
        origin, size, encoded = lines[:3]
        if not _SIZE.match(size) or int(size) > EXACT_INTEGER:
            raise NoteError("the size of a checkpoint is a decimal number without leading zeros")
        root = read_base64(encoded)
        if len(root) != DIGEST_BYTES:
            raise NoteError(f"the root of a checkpoint is {DIGEST_BYTES} bytes in base64")
        return cls(origin=origin, size=int(size), root=root)


def sign_note(text: str, name: str, identity: Identity) -> str:
    """Return a note over the text, signed under a name; raises NoteError.

    The signature is over the text itself, as the specification has it. It can't be taken for one
    of ours: those begin with a line that no origin of ours is.
    """
    if not text.endswith("\n") or "\n\n" in text:
        raise NoteError("the text of a note ends with one line end and has no empty line")
    return f"{text}\n{signature_line(text, name, identity)}"


def signature_line(text: str, name: str, identity: Identity) -> str:
    """Return one signature line over the text of a note."""
    verifier = Verifier(name=name, key=identity.public_key)
    encoded = base64.b64encode(verifier.key_id + identity.sign(text)).decode()
    return f"— {name} {encoded}\n"


def split_note(note: str) -> tuple[str, Sequence[tuple[str, bytes]]]:
    """Return the text of a note and its signatures as (name, key id and signature).

    Raises NoteError.
    """
    if _CONTROL.search(note):
        raise NoteError("a note has no control characters but line ends")
    text, separator, rest = note.rpartition("\n\n")
    if not separator or not rest.endswith("\n"):
        raise NoteError("a note is a text, an empty line and signature lines")
    signatures: list[tuple[str, bytes]] = []
    for line in rest[:-1].split("\n"):
        match = _SIGNATURE_LINE.match(line)
        if match is None:
            raise NoteError("a note's signature line is malformed")
        signatures.append((match[1], read_base64(match[2])))
    if len(signatures) > _MAX_SIGNATURES:
        raise NoteError(f"a note has more than {_MAX_SIGNATURES} signatures")
    return text + "\n", signatures


def open_note(note: str, verifier: Verifier) -> str:
    """Return the text of a note that this key has signed; raises NoteError.

    Signatures by unknown keys are passed over, as the specification demands; one that claims to be
    by this key and does not verify makes the note bad.
    """
    text, signatures = split_note(note)
    found = False
    for name, data in signatures:
        if name != verifier.name or data[:KEY_ID_BYTES] != verifier.key_id:
            continue
        if len(data) != KEY_ID_BYTES + SIGNATURE_BYTES:
            raise NoteError(f"the signature of {name} has the wrong length")
        try:
            verifier.key.verify(text, data[KEY_ID_BYTES:])
        except SignatureError:
            raise NoteError(f"the signature of {name} does not verify") from None
        found = True
    if not found:
        raise NoteError(f"the note is not signed by {verifier.name}")
    return text


def open_checkpoint(note: str, verifier: Verifier) -> Checkpoint:
    """Return the checkpoint in a note that this key has signed; raises NoteError."""
    return Checkpoint.from_text(open_note(note, verifier))


def read_base64(text: str) -> bytes:
    """Decode base64 in its one canonical form; decoders take others too (RFC 4648, §3.5).

    Raises NoteError.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise NoteError("something in a note that should be base64 is not") from None
    if base64.b64encode(data).decode() != text:
        raise NoteError("something in a note is not in the one form of base64")
    return data
