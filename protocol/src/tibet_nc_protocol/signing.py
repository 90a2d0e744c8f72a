# SPDX-License-Identifier: MIT
"""Who signs and who verifies (SPEC §3).

jis-core holds the identities and signs: 25 µs. It takes text only, so what is signed is a short
text that names its purpose and commits to the SHA-256 of the bytes. Verification is done by
``cryptography``: 25 times faster, a second implementation, and strict about the key, of which
jis-core accepts the small-order ones (anyone can make a signature that fits those).
"""

import hashlib
from enum import StrEnum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jis_core import DIDEngine

from tibet_nc_protocol.errors import SignatureError

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

# The y coordinates of the points of order 1, 2, 4 and 8 on edwards25519, and their non-canonical
# forms, little-endian with the sign bit clear (RFC 8032, §5.1; sign bit: either).
_SMALL_ORDER: Final = frozenset(
    y.to_bytes(KEY_BYTES, "little")
    for y in (
        0,
        1,
        2707385501144840649318225287225658788936804267575313519463743609750303402022,
        55188659117513257062467267217118295137698188065244968500265048394206261417927,
        2**255 - 20,
        2**255 - 19,
        2**255 - 18,
    )
)


class Purpose(StrEnum):
    """What a signature is for; a signature made for one purpose never verifies for another."""

    REQUEST = "request"
    """A message from the agent to the executor."""
    ADMINISTRATION = "administration"
    """A message to the executor from its host's administrator, who can read its key."""
    RESPONSE = "response"
    """A message from the executor to the agent."""
    RECORD = "record"
    """A record of the chain."""


def signed_text(purpose: Purpose, data: bytes, *context: str) -> str:
    """Return the text that is signed for these bytes: version, purpose, context, SHA-256 (SPEC §3).

    Each part is a line of its own, and none may contain a line end.
    """
    return "\n".join(("tibet-nc/v1", purpose, *context, hashlib.sha256(data).hexdigest()))


class PublicKey:
    """An Ed25519 public key that was checked before it is trusted (RFC 8032).

    Raises SignatureError when the bytes are no key, or a key of small order.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) != KEY_BYTES:
            raise SignatureError(f"a public key has {KEY_BYTES} bytes, not {len(data)}")
        unsigned = data[:-1] + bytes([data[-1] & 0x7F])
        if unsigned in _SMALL_ORDER:
            raise SignatureError("a public key of small order verifies anything")
        self._key = Ed25519PublicKey.from_public_bytes(data)
        self.data: Final = data

    @classmethod
    def from_hex(cls, text: str) -> "PublicKey":
        """Read 64 hexadecimal digits; raises SignatureError."""
        try:
            data = bytes.fromhex(text)
        except ValueError:
            data = b""
        if len(text) != 2 * len(data) or len(data) != KEY_BYTES:  # fromhex skips white space
            raise SignatureError("a public key is written as 64 hexadecimal digits")
        return cls(data)

    @property
    def hex(self) -> str:
        """64 lower-case hexadecimal digits."""
        return self.data.hex()

    @property
    def id(self) -> str:
        """The JIS id of whoever holds the key, which is made from it; a label, not a proof."""
        return f"did:jis:{hashlib.sha256(self.data).hexdigest()[:16]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.data == self.data

    def __hash__(self) -> int:
        return hash(self.data)

    def verify(self, text: str, signature: bytes) -> None:
        """Raise SignatureError unless the signature over the text was made with this key."""
        try:
            self._key.verify(signature, text.encode())
        except (InvalidSignature, UnicodeEncodeError):  # half a surrogate pair was never signed
            raise SignatureError("the signature does not verify") from None


class Identity:
    """A JIS identity that signs; made from 32 secret bytes, which it never shows again."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise SignatureError(f"a secret key has {KEY_BYTES} bytes, not {len(secret)}")
        self._engine = DIDEngine.from_secret_key(secret.hex())
        self.public_key: Final = PublicKey.from_hex(self._engine.public_key)
        self.id: Final = self._engine.create_did_from_key()
        """The identity's name, ``did:jis:…``; a label, not a proof: the proof is the key."""

    def __repr__(self) -> str:
        return f"Identity({self.id})"

    def sign(self, text: str) -> bytes:
        """Return the 64-byte Ed25519 signature over the text's UTF-8 bytes."""
        return bytes.fromhex(self._engine.sign(text))

    def document(self) -> str:
        """Return the identity's signed DID document as JSON text."""
        return self._engine.create_document(self.id)
