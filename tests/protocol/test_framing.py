# SPDX-License-Identifier: MIT
"""Frames: the same whole and byte by byte, and never more than one frame held."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_protocol.errors import FramingError
from tibet_nc_protocol.framing import PREFIX_BYTES, FrameReader, frame
from tibet_nc_protocol.limits import FRAME_BYTES

PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


def read(pieces: list[bytes]) -> tuple[list[bytes], int, str]:
    """Return the frames, what is pending, and the error, of a stream in pieces."""
    reader = FrameReader()
    frames: list[bytes] = []
    try:
        for piece in pieces:
            frames.extend(reader.feed(piece))
    except FramingError as error:
        return frames, -1, str(error)
    return frames, reader.pending, ""


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Return the stream in pieces."""
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[begin:end] for begin, end in pairwise(edges)]


@given(payloads=PAYLOADS, places=st.lists(st.integers(0, 400), max_size=10))
def test_frames_come_back_however_the_stream_is_cut(
    payloads: list[bytes], places: list[int]
) -> None:
    """What was framed is read again, whatever the pieces in which it arrives."""
    stream = b"".join(map(frame, payloads))
    assert read(cut(stream, places)) == (payloads, 0, "")


STREAMS = st.binary(max_size=60) | st.lists(
    st.binary(max_size=8) | st.integers(0, 9).map(lambda length: length.to_bytes(4)), max_size=12
).map(b"".join)


@given(stream=STREAMS)
def test_any_stream_reads_the_same_whole_and_byte_by_byte(stream: bytes) -> None:
    """Any bytes give frames or FramingError, the same ones, fed whole or one by one."""
    assert read([stream]) == read([bytes([byte]) for byte in stream])


@given(length=st.integers(FRAME_BYTES + 1, 2**32 - 1) | st.just(0))
def test_a_wrong_length_is_refused_before_its_payload(length: int) -> None:
    """A length of 0 or over the limit is refused by the prefix alone, again and again."""
    reader = FrameReader()
    for _ in range(2):
        with pytest.raises(FramingError):
            list(reader.feed(length.to_bytes(PREFIX_BYTES)))


def test_the_longest_frame_is_read() -> None:
    """The limit itself is permitted."""
    payload = bytes(FRAME_BYTES)
    assert read([frame(payload)]) == ([payload], 0, "")


@pytest.mark.parametrize("length", [0, FRAME_BYTES + 1])
def test_what_the_peer_would_refuse_is_not_framed(length: int) -> None:
    """An empty or overlong payload is refused by the sender."""
    with pytest.raises(FramingError):
        frame(bytes(length))


def test_a_cut_stream_is_told_by_what_is_pending() -> None:
    """What is left of an incomplete frame is counted: a cut stream can't pass for an ended one."""
    stream = frame(b"payload")
    for end in range(1, len(stream)):
        assert read([stream[:end]]) == ([], end, "")
