# SPDX-License-Identifier: MIT
"""Signed envelopes, bound to their connection, direction and place (SPEC §3).

The signed text holds the signer's id, the connection's id and the number of the message in its
direction. The last two are not in the envelope: each side counts for itself, so a message that is
replayed, reordered, dropped or carried over from another connection does not verify.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_protocol.codec import MessageCodec
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.limits import FRAME_BYTES, IDENTIFIER_CHARACTERS
from tibet_nc_protocol.signing import SIGNATURE_BYTES, Identity, PublicKey, Purpose, signed_text

NO_CONNECTION: Final = "0" * 32
"""The connection's id for the challenge, which is what makes the id known."""

# Printable ASCII, since it is a line of the signed text.
KeyId = Annotated[str, Meta(max_length=IDENTIFIER_CHARACTERS, pattern=r"\A[\x21-\x7e]+\Z")]


class Envelope(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="envelope"
):
    """The bytes of one message, the signer's JIS id and the signature over the bytes."""

    key_id: KeyId
    payload: Annotated[bytes, Meta(max_length=FRAME_BYTES)]
    signature: Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]


_CODEC: Final[MessageCodec[Envelope]] = MessageCodec(Envelope, max_bytes=FRAME_BYTES)


class Sealer[T]:
    """Encode, sign and count the messages of one direction of one connection."""

    def __init__(self, identity: Identity, purpose: Purpose, codec: MessageCodec[T]) -> None:
        self._identity = identity
        self._purpose = purpose
        self._codec = codec
        self._count = 0
        self.connection = NO_CONNECTION

    def seal(self, message: T) -> bytes:
        """Return the encoded envelope around the message."""
        payload = self._codec.encode(message)
        place = (self._identity.id, self.connection, str(self._count))
        text = signed_text(self._purpose, payload, *place)
        self._count += 1
        return _CODEC.encode(
            Envelope(key_id=self._identity.id, payload=payload, signature=self._identity.sign(text))
        )


class Opener[T]:
    """Verify, decode and count the messages of one direction of one connection.

    After an error it must not be used again: the count no longer fits.
    """

    def __init__(self, key: PublicKey, purpose: Purpose, codec: MessageCodec[T]) -> None:
        self._key = key
        self._purpose = purpose
        self._codec = codec
        self._count = 0
        self.connection = NO_CONNECTION

    def open(self, data: bytes) -> T:
        """Return the message; raises DecodeError or SignatureError.

        The signature is over the payload as received and is checked before the payload is
        decoded, so that the union's decoder sees nothing that the peer didn't sign.
        """
        envelope = _CODEC.decode(data)
        place = (envelope.key_id, self.connection, str(self._count))
        text = signed_text(self._purpose, envelope.payload, *place)
        try:
            self._key.verify(text, envelope.signature)
        except SignatureError:
            which = f"{self._purpose} {self._count} of this connection"
            raise SignatureError(f"{which} is not signed by the enrolled key") from None
        self._count += 1
        return self._codec.decode(envelope.payload)
