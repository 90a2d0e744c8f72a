# SPDX-License-Identifier: MIT
"""Frames on a byte stream: a four-byte big-endian length, then that many bytes (SPEC §2)."""

from collections.abc import Iterator

from tibet_nc_protocol.errors import FramingError
from tibet_nc_protocol.limits import FRAME_BYTES

PREFIX_BYTES = 4


def frame(payload: bytes) -> bytes:
    """Return the payload with its length before it.

    Raises FramingError for a payload that is empty or over the limit: the peer would refuse it.
    """
    _check_length(len(payload))
    return len(payload).to_bytes(PREFIX_BYTES) + payload


class FrameReader:
    """Cut a byte stream into frames, however the stream arrives in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take received bytes and yield each frame that is complete.

        Raises FramingError as soon as a prefix is wrong, before its payload is waited for, so
        that a peer can't make us hold more than one frame.
        """
        self._buffer += data
        while len(self._buffer) >= PREFIX_BYTES:
            length = int.from_bytes(self._buffer[:PREFIX_BYTES])
            _check_length(length)
            end = PREFIX_BYTES + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[PREFIX_BYTES:end])
            del self._buffer[:end]
            yield payload

    @property
    def pending(self) -> int:
        """Bytes held of an incomplete frame; not 0 at the end of the stream means it was cut."""
        return len(self._buffer)


def _check_length(length: int) -> None:
    if not 0 < length <= FRAME_BYTES:
        raise FramingError(f"a frame of {length} bytes; 1 to {FRAME_BYTES} are permitted")
