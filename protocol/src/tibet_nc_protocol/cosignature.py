# SPDX-License-Identifier: MIT
"""Signatures by somebody else on a checkpoint, with their time (C2SP tlog-cosignature, Ed25519).

A cosignature says: at this time, the largest checkpoint of this log that I have seen, each of them
consistent with those before it, is this one. So whoever makes one has to have checked that, and
must never cosign a smaller checkpoint than before.
"""

import base64
from dataclasses import dataclass
from typing import ClassVar, Final

from tibet_nc_protocol.errors import NoteError, SignatureError
from tibet_nc_protocol.note import KEY_ID_BYTES, Verifier, split_note
from tibet_nc_protocol.signing import SIGNATURE_BYTES, Identity

_TIME_BYTES: Final = 8
_LATEST: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Cosigner(Verifier):
    """A name with the key that cosigns under it; such keys have a signature type of their own."""

    TYPE: ClassVar[bytes] = b"\x04"


def cosignature_line(text: str, name: str, identity: Identity, seconds: int) -> str:
    """Return a cosignature line over the text of a checkpoint; ``seconds`` are since 1970."""
    cosigner = Cosigner(name=name, key=identity.public_key)
    signature = identity.sign(_message(text, seconds))
    data = cosigner.key_id + seconds.to_bytes(_TIME_BYTES, "big") + signature
    return f"— {name} {base64.b64encode(data).decode()}\n"


def verify_cosignature(note: str, cosigner: Cosigner) -> int:
    """Return when a note was cosigned with this key, the latest time if it was several times.

    The time is in seconds since 1970. Raises NoteError when it wasn't, or when a cosignature that
    claims to be by this key does not verify.
    """
    text, signatures = split_note(note)
    times: list[int] = []
    for name, data in signatures:
        if name != cosigner.name or data[:KEY_ID_BYTES] != cosigner.key_id:
            continue
        rest = data[KEY_ID_BYTES:]
        if len(rest) != _TIME_BYTES + SIGNATURE_BYTES:
            raise NoteError(f"the cosignature of {name} has the wrong length")
        seconds = int.from_bytes(rest[:_TIME_BYTES], "big")
        if seconds > _LATEST:
            raise NoteError(f"the cosignature of {name} has no possible time")
        try:
            cosigner.key.verify(_message(text, seconds), rest[_TIME_BYTES:])
        except SignatureError:
            raise NoteError(f"the cosignature of {name} does not verify") from None
        times.append(seconds)
    if not times:
        raise NoteError(f"the note is not cosigned by {cosigner.name}")
    return max(times)


def _message(text: str, seconds: int) -> str:
    return f"cosignature/v1\ntime {seconds}\n{text}"
