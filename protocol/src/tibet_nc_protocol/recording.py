# SPDX-License-Identifier: MIT
"""Recordings: asciicast v3 that keeps every byte (SPEC §8).

asciicast is JSON, so text only. Output that is UTF-8 is one ``o`` event and nothing else. Output
that is not is a ``b`` event, which players skip, with the bytes in base64, and then an ``o`` event
with what a terminal would show for them. A reader that wants the bytes takes the ``b``, and checks
that the ``o`` after it shows those and nothing else: only the bytes are in the chain's hash.
"""

import base64
import codecs
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.limits import CHUNK_BYTES, RECORDING_LINE_BYTES


class _Terminal(msgspec.Struct, frozen=True, kw_only=True):
    cols: int
    rows: int
    type: str


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording; ``timestamp`` is in seconds since 1970."""

    version: Literal[3]
    term: _Terminal
    timestamp: int
    title: str


_HEADER: Final = msgspec.json.Decoder(Header)
_EVENT: Final[msgspec.json.Decoder[tuple[float, str, str]]] = msgspec.json.Decoder(
    tuple[Annotated[float, Meta(ge=0)], str, str]
)
_ENCODER: Final = msgspec.json.Encoder()


class CastWriter:
    """Turn output, as it comes, into the lines of a recording."""

    def __init__(self) -> None:
        self._held = b""
        self._last = 0.0

    @property
    def held(self) -> int:
        """Bytes of an incomplete character that no line holds yet."""
        return len(self._held)

    def header(self, *, columns: int, rows: int, timestamp: int, title: str) -> bytes:
        """Return the first line."""
        term = _Terminal(cols=columns, rows=rows, type="xterm-256color")
        return _line(Header(version=3, term=term, timestamp=timestamp, title=title))

    def output(self, data: bytes, elapsed: float) -> bytes:
        """Return the lines for some output, printed ``elapsed`` seconds after the start.

        The first bytes of a character whose rest has not come are held back for the next call.
        """
        pieces = (data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
        return b"".join(self._piece(piece, elapsed) for piece in pieces)

    def finish(self, elapsed: float, status: str) -> bytes:
        """Return the last lines: held bytes, and the exit status as an ``x`` event."""
        held = self._raw(self._held, elapsed) if self._held else b""
        self._held = b""
        return held + self._event("x", status, elapsed)

    def mark(self, label: str, elapsed: float) -> bytes:
        """Return an ``m`` event, which players show as a marker."""
        return self._event("m", label, elapsed)

    def _piece(self, data: bytes, elapsed: float) -> bytes:
        data = self._held + data
        text, complete = codecs.utf_8_decode(data, "replace", False)
        self._held = data[complete:]
        data = data[:complete]
        if text.encode() != data:
            return self._raw(data, elapsed)
        return self._event("o", text, elapsed) if text else b""

    def _raw(self, data: bytes, elapsed: float) -> bytes:
        raw = self._event("b", base64.b64encode(data).decode(), elapsed)
        return raw + self._event("o", _shown(data), elapsed)

    def _event(self, code: str, data: str, elapsed: float) -> bytes:
        interval = round(max(0.0, elapsed - self._last), 6)
        self._last += interval
        return _line((interval, code, data))


class CastReader:
    """Give back the exact output from the lines of a recording."""

    def __init__(self) -> None:
        self._expected: str | None = None
        self.header: Header | None = None

    def feed(self, line: bytes) -> bytes:
        """Return the output bytes that a line holds, b"" for other events; raises DecodeError.

        The line may have its end or not.
        """
        if len(line) - line.endswith(b"\n") > RECORDING_LINE_BYTES:
            raise DecodeError(f"not a recording: a line of {len(line)} bytes")
        try:
            if self.header is None:
                self.header = _HEADER.decode(line)
                return b""
            _, code, text = _EVENT.decode(line)
            data = base64.b64decode(text, validate=True) if code == "b" else text.encode()
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"not a recording: {type(error).__name__}") from None
        if self._expected is not None:
            if (code, text) != ("o", self._expected):
                raise DecodeError("not a recording: bytes are not followed by what they show")
            self._expected = None
            return b""
        if code == "b":
            self._expected = _shown(data)
        return data if code in {"b", "o"} else b""

    def end(self) -> None:
        """Raise DecodeError if the lines so far are no whole recording."""
        if self.header is None:
            raise DecodeError("not a recording: it has no header")
        if self._expected is not None:
            raise DecodeError("not a recording: bytes are not followed by what they show")


def _shown(data: bytes) -> str:
    """Return what a terminal shows for bytes that are not UTF-8."""
    return data.decode(errors="replace")


def _line(value: object) -> bytes:
    return _ENCODER.encode(value) + b"\n"
