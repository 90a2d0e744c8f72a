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

_FOREIGN: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError, OverflowError)

_NAMED: Final = 200
"""Longest description of a fault, in characters; what is longer was written by the peer."""


class MessageCodec[T]:
    """Encode and decode one tagged union of messages as canonical msgpack."""

    def __init__(self, union: object, *, max_bytes: int) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(union)
        self._encoder = msgspec.msgpack.Encoder()
        self._max_bytes = max_bytes

    def encode(self, message: T) -> bytes:
        """Return the one encoding of a message; raises EncodeError when its type forbids it."""
        return _encode(self._decoder, self._encoder, message, self._max_bytes)

    def decode(self, data: bytes) -> T:
        """Return the message that the bytes are the one encoding of; raises DecodeError."""
        return _decode(self._decoder, self._encoder, data, self._max_bytes)


class JsonCodec[T]:
    """Encode and decode one tagged union of records as canonical JSON (RFC 8785).

    All keys are ASCII, so sorting them by code point is sorting them by UTF-16 unit; all numbers
    are integers within 2⁵³ either way. With that, msgspec's sorted output is RFC 8785's.
    """

    def __init__(self, union: object, *, max_bytes: int) -> None:
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(union)
        self._encoder = msgspec.json.Encoder(order="sorted")
        self._max_bytes = max_bytes

    def encode(self, record: T) -> bytes:
        """Return the one encoding of a record, without a line end.

        Raises EncodeError when its type forbids it.
        """
        return _encode(self._decoder, self._encoder, record, self._max_bytes)

    def encode_unchecked(self, record: T) -> bytes:
        """Return what ``encode`` returns for a record that was decoded, or goes through it later.

        Raises EncodeError when it can't be encoded at all.
        """
        try:
            return self._encoder.encode(record)
        except _FOREIGN as error:
            raise EncodeError(f"nobody would accept this: {_text(error)}") from None

    def decode(self, data: bytes) -> T:
        """Return the record that the bytes are the one encoding of; raises DecodeError."""
        return _decode(self._decoder, self._encoder, data, self._max_bytes)


def _encode[T](
    decoder: msgspec.msgpack.Decoder[T] | msgspec.json.Decoder[T],
    encoder: msgspec.msgpack.Encoder | msgspec.json.Encoder,
    value: T,
    max_bytes: int,
) -> bytes:
    try:
        data = encoder.encode(value)
        _decode(decoder, encoder, data, max_bytes)
    except (DecodeError, *_FOREIGN) as error:
        raise EncodeError(f"nobody would accept this: {_text(error)}") from None
    return data


def _decode[T](
    decoder: msgspec.msgpack.Decoder[T] | msgspec.json.Decoder[T],
    encoder: msgspec.msgpack.Encoder | msgspec.json.Encoder,
    data: bytes,
    max_bytes: int,
) -> T:
    if len(data) > max_bytes:
        raise DecodeError(f"{len(data)} bytes; at most {max_bytes} are permitted")
    try:
        value = decoder.decode(data)
        again = encoder.encode(value)
    except _FOREIGN as error:
        raise DecodeError(f"not a message: {_text(error)}") from None
    if again != data:
        raise DecodeError("not in canonical form")
    return value


def _text(error: BaseException) -> str:
    """Name the fault, never with the text of a command, nor with what a log can't hold in a line.

    msgspec names the tag, key or enumeration that it doesn't know, whatever stands there.
    """
    text = str(error)
    ours = isinstance(error, msgspec.MsgspecError | DecodeError)
    return text if ours and text.isprintable() and len(text) <= _NAMED else type(error).__name__
