# SPDX-License-Identifier: MIT
"""Recordings: the exact bytes come back, and players see what a terminal would show."""

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.limits import CHUNK_BYTES, RECORDING_LINE_BYTES
from tibet_nc_protocol.recording import CastReader, CastWriter

# Bytes that are often nearly UTF-8: characters of every length, cut, joined and mixed with others.
NEARLY_TEXT = st.lists(
    st.text(max_size=4).map(str.encode)
    | st.sampled_from([b"\xe2\x82\xac", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xff"])
    | st.binary(max_size=3),
    max_size=12,
).map(b"".join)


def record(pieces: list[bytes]) -> list[bytes]:
    """Return the lines of a recording of some output."""
    writer = CastWriter()
    lines = writer.header(columns=80, rows=24, timestamp=0, title="#1")
    lines += b"".join(writer.output(piece, place) for place, piece in enumerate(pieces))
    lines += writer.finish(len(pieces), "0")
    return lines.splitlines(keepends=True)


def split(output: bytes, places: list[int]) -> list[bytes]:
    """Return output in pieces."""
    edges = [0, *sorted(place % (len(output) + 1) for place in places), len(output)]
    return [output[begin:end] for begin, end in pairwise(edges)]


@given(output=NEARLY_TEXT, places=st.lists(st.integers(0, 60), max_size=8))
def test_the_exact_bytes_come_back(output: bytes, places: list[int]) -> None:
    """I12: Whatever a command prints, in whatever pieces, is read again byte for byte."""
    reader = CastReader()
    lines = record(split(output, places))
    assert b"".join(map(reader.feed, lines)) == output
    reader.end()


@given(output=NEARLY_TEXT, places=st.lists(st.integers(0, 60), max_size=8))
def test_players_see_what_a_terminal_shows(output: bytes, places: list[int]) -> None:
    """Each line is JSON; the shown text, joined, is the output with U+FFFD for what is no text."""
    header, *rest = map(json.loads, record(split(output, places)))
    assert header["version"] == 3
    assert all(interval >= 0 and isinstance(text, str) for interval, _, text in rest)
    shown = "".join(text for _, code, text in rest if code == "o")
    assert shown == output.decode(errors="replace")
    assert rest[-1][1:] == ["x", "0"]


@given(output=st.text(max_size=20), places=st.lists(st.integers(0, 80), max_size=8))
def test_text_needs_no_extra_event(output: str, places: list[int]) -> None:
    """Output that is UTF-8, however it is cut, is recorded as plain asciicast without ``b``."""
    codes = [json.loads(line)[1] for line in record(split(output.encode(), places))[1:]]
    assert set(codes) <= {"o", "x"}


@given(times=st.lists(st.floats(0, 1e6, allow_nan=False), max_size=20))
def test_intervals_add_up_and_never_go_back(times: list[float]) -> None:
    """The intervals add up to the time of the latest event, to the microsecond."""
    writer = CastWriter()
    header = writer.header(columns=80, rows=24, timestamp=0, title="")
    lines = b"".join(writer.output(b"x", time) for time in times)
    reader = CastReader()
    for line in (header, *lines.splitlines()):
        reader.feed(line)
    intervals = [json.loads(line)[0] for line in lines.splitlines()]
    assert all(interval >= 0 for interval in intervals)
    assert sum(intervals) == pytest.approx(max(times, default=0.0), abs=1e-6)


@pytest.mark.parametrize("byte", [b"\x01", b"\xff", b"a", b"\\"])
def test_every_line_that_is_written_can_be_read(byte: bytes) -> None:
    """Output of any length, of the bytes that need the most room, gives lines within the limit."""
    output = byte * (3 * CHUNK_BYTES + 1)
    lines = record([output])
    assert max(map(len, lines)) <= RECORDING_LINE_BYTES
    reader = CastReader()
    assert b"".join(map(reader.feed, lines)) == output


def test_marks_and_other_events_are_no_output() -> None:
    """A mark, as one that says that the limit was reached, is not part of the output."""
    writer = CastWriter()
    lines = writer.header(columns=80, rows=24, timestamp=0, title="")
    lines += writer.output(b"x", 0.5) + writer.mark("limit", 1.0) + writer.finish(1.5, "signal 9")
    reader = CastReader()
    assert [reader.feed(line) for line in lines.splitlines()] == [b"", b"x", b"", b""]
    assert [tuple(json.loads(line)) for line in lines.splitlines()[1:]] == [
        (0.5, "o", "x"),
        (0.5, "m", "limit"),
        (0.5, "x", "signal 9"),
    ]


def test_held_bytes_are_counted() -> None:
    """The bytes of an unfinished character are known, and are recorded at the end."""
    writer = CastWriter()
    assert writer.output(b"\xf0\x9f", 0.0) == b""
    assert writer.held == 2
    assert [json.loads(line)[1] for line in writer.finish(0.0, "0").splitlines()] == ["b", "o", "x"]
    assert writer.held == 0


@given(lines=st.lists(st.binary(max_size=40), max_size=4), valid_header=st.booleans())
def test_any_lines_give_output_or_raise_our_error(lines: list[bytes], valid_header: bool) -> None:
    """Any bytes for lines raise DecodeError or nothing."""
    reader = CastReader()
    if valid_header:
        reader.feed(record([])[0])
    try:
        for line in lines:
            reader.feed(line)
    except DecodeError:
        return
    assert not lines or reader.header is not None


EVENTS = st.tuples(
    st.floats() | st.integers() | st.none(),
    st.sampled_from(["o", "b", "m", "x", "i", "r", ""]) | st.text(max_size=2),
    st.text(max_size=6) | st.sampled_from(["/w==", "YWI=", "YR==", "\ufffd"]) | st.integers(),
)


@given(items=st.lists(EVENTS, max_size=5))
def test_any_events_give_output_or_raise_our_error(
    items: list[tuple[object, object, object]],
) -> None:
    """Any JSON events raise DecodeError or nothing."""
    reader = CastReader()
    reader.feed(record([])[0])
    with suppress(DecodeError):
        for item in items:
            reader.feed(json.dumps(item).encode())
        reader.end()


@given(output=NEARLY_TEXT, shown=st.text(max_size=3))
def test_what_is_shown_is_what_was_printed(output: bytes, shown: str) -> None:
    """A ``b`` event is followed by its bytes' text and nothing else: only they are hashed."""
    lines = record([output])
    codes = [json.loads(line)[1] for line in lines[1:]]
    for place, code in enumerate(codes, start=1):
        interval, _, text = json.loads(lines[place])
        if code == "o" and codes[place - 2] == "b" and place > 1 and text != shown:
            altered = [*lines]
            altered[place] = json.dumps([interval, "o", shown]).encode()
            with pytest.raises(DecodeError):
                list(map(CastReader().feed, altered))
        if code == "b":
            reader = CastReader()
            list(map(reader.feed, lines[: place + 1]))
            with pytest.raises(DecodeError):
                reader.end()


def test_nothing_is_no_recording() -> None:
    """A file that was emptied is none, though no line in it is wrong."""
    with pytest.raises(DecodeError, match="no header"):
        CastReader().end()


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_over_the_limit_is_refused(end: bytes) -> None:
    """The length is bounded, whatever else is right with a line, with its end or without."""
    reader = CastReader()
    reader.feed(record([])[0])
    event = b'[0.1, "o", "x"]'
    assert reader.feed(event.ljust(RECORDING_LINE_BYTES) + end) == b"x"
    with pytest.raises(DecodeError):
        reader.feed(event.ljust(RECORDING_LINE_BYTES + 1) + end)
