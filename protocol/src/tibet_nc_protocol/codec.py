# SPDX-License-Identifier: MIT
"""Total, canonical decoding: any bytes give a value or DecodeError (SPEC §4).

msgspec alone accepts duplicate keys, other key orders, long forms of integers and, for a single
type, a missing tag; and it lets UnicodeDecodeError and RecursionError through. So the length is
bounded first, every exception is turned into ours, and what does not encode back to the very
same bytes is refused.

Its constructors check nothing, so encoding checks what the types say: a record over a limit, once
written, could never be read again, and the chain would end there for every verifier.
"""

from typing import Final

import msgspec

from tibet_nc_protocol.errors import DecodeError, EncodeError

_FOREIGN: Final = (msgspec.MsgspecError, RecursionError, ValueError, OverflowError)

_NAMED: Final = 200
"""Longest description of a fault, in characters; what is longer was written by the peer."""


class _Codec[T]:
    """Encode and decode one tagged union in its one form; what that is, who inherits says."""

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[T] | msgspec.json.Decoder[T],
        encoder: msgspec.msgpack.Encoder | msgspec.json.Encoder,
        max_bytes: int,
    ) -> None:
        self._decoder = decoder
        self._encoder = encoder
        self._max_bytes = max_bytes

    def encode(self, value: T) -> bytes:
        """Return the one encoding of a value; raises EncodeError when its type forbids it."""
        data = self.encode_unchecked(value)
        try:
            self.decode(data)
        except DecodeError as error:
            raise _refused(error) from None
        return data

    def encode_unchecked(self, value: T) -> bytes:
        """Return what ``encode`` returns for a value that was decoded, or goes through it later.

        Raises EncodeError when it can't be encoded at all.
        """
        try:
            return self._encoder.encode(value)
        except _FOREIGN as error:
            raise _refused(error) from None

    def decode(self, data: bytes) -> T:
        """Return the value that the bytes are the one encoding of; raises DecodeError."""
        if len(data) > self._max_bytes:
            raise DecodeError(f"{len(data)} bytes; at most {self._max_bytes} are permitted")
        try:
            value = self._decoder.decode(data)
            again = self._encoder.encode(value)
        except _FOREIGN as error:
            raise DecodeError(f"not a message: {_text(error)}") from None
        if again != data:
            raise DecodeError("not in canonical form")
        return value


class MessageCodec[T](_Codec[T]):
    """Encode and decode one tagged union of messages as canonical msgpack."""

    def __init__(self, union: object, *, max_bytes: int) -> None:
        super().__init__(msgspec.msgpack.Decoder(union), msgspec.msgpack.Encoder(), max_bytes)


class JsonCodec[T](_Codec[T]):
    """Encode and decode one tagged union of records as canonical JSON (RFC 8785).

    All keys are ASCII, so sorting them by code point is sorting them by UTF-16 unit; all numbers
    are integers within 2⁵³ either way. With that, msgspec's sorted output is RFC 8785's.
    """

    def __init__(self, union: object, *, max_bytes: int) -> None:
        encoder = msgspec.json.Encoder(order="sorted")
        super().__init__(msgspec.json.Decoder(union), encoder, max_bytes)


def _refused(error: BaseException) -> EncodeError:
    return EncodeError(f"nobody would accept this: {_text(error)}")


def _text(error: BaseException) -> str:
    """Name the fault, never with the text of a command, nor with what a log can't hold in a line.

    msgspec names the tag, key or enumeration that it doesn't know, whatever stands there.
    """
    text = str(error)
    ours = isinstance(error, msgspec.MsgspecError | DecodeError)
    return text if ours and text.isprintable() and len(text) <= _NAMED else type(error).__name__
