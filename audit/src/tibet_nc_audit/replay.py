# SPDX-License-Identifier: MIT
"""A recording, played again.

To a terminal go the very bytes, which is what makes it look as it did; they are a command's output
and may do to the terminal whatever output can, so afterwards its modes are set back, whatever ends
or stops it. Anywhere else the output is made visible text, unless the bytes are asked for.
"""

import codecs
import os
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Printed, Tally
from tibet_nc_audit.unwinding import suspending, unwinding
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import RECORDINGS
from tibet_nc_protocol.limits import RECORDING_LINE_BYTES
from tibet_nc_protocol.recording import CastReader

_EVENT: Final = msgspec.json.Decoder(tuple[float, str, str])

LONGEST_WAIT_SECONDS: Final = 24 * 3600.0
"""A recording that asks for longer is waited for no longer."""

RESET: Final = (
    b"\x18\x1b\\"  # end a sequence or a string that the recording left open
    b"\x1b[?1049l"  # leave the alternate screen
    b"\x1b[?1000;1002;1003;1004;1005;1006;1015l"  # no reports of mouse and focus
    b"\x1b[?2004l"  # no bracketed paste
    b"\x1b[!p"  # soft reset; the rest is for terminals that know none, as the Linux console
    b"\x1b7\x1b[r\x1b8"  # scroll the whole screen, with the cursor where it is
    b"\x1b[4l\x1b[?1;5l\x1b[?7h\x1b>"  # no insertion, plain keys, not inverted, wrapping
    b"\x0f\x1b(B"  # letters, not line drawing
    b"\x1b]8;;\x1b\\"  # no link
    b"\x1b[?25h\x1b[0m"  # the cursor, plain colours
)


def frames(
    state: State, name: str, recorded: Printed | None = None
) -> Iterator[tuple[float, bytes]]:
    """Yield (seconds since the frame before, bytes printed) of a recording; raises AuditError.

    With ``recorded`` DisagreementError is raised at the end if they weren't what it speaks of.
    """
    reader = CastReader()
    tally = None if recorded is None else Tally(recorded, reader)
    with state.open(name, RECORDING_LINE_BYTES, RECORDINGS) as file:
        try:
            for line in file:
                first = reader.header is None
                data = reader.feed(line)
                if tally is not None:
                    tally.add(data)
                if not first:
                    yield _EVENT.decode(line)[0], data
        except DecodeError as error:
            raise AuditError(f"{RECORDINGS}/{name}: {error}") from None
        if tally is not None:
            tally.finish(file.torn)


def play(
    frames: Iterator[tuple[float, bytes]],
    write: Callable[[bytes], None],
    *,
    speed: float | None = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write the frames when their time has come; without ``speed``, at once."""
    for interval, data in frames:
        if speed is not None and interval > 0:
            sleep(min(interval / speed, LONGEST_WAIT_SECONDS))
        if data:
            write(data)


def play_out(
    frames: Iterator[tuple[float, bytes]], *, raw: bool = False, speed: float | None = 1.0
) -> None:
    """Play to the standard output: the bytes to a terminal or if ``raw``, else visible text."""
    terminal = sys.stdout.isatty()
    text = None if terminal or raw else VisibleText()

    def write(data: bytes) -> None:
        if text is not None:
            data = text.feed(data).encode()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def set_back() -> None:
        if terminal:
            # Not through the buffer: a stop may come while that is being written.
            os.write(sys.stdout.fileno(), RESET)
            _forget_answers()

    with unwinding(), suspending(set_back):
        try:
            play(frames, write, speed=speed)
        finally:
            if text is not None:
                sys.stdout.buffer.write(text.feed(b"", last=True).encode())
            sys.stdout.buffer.flush()
            set_back()


def _forget_answers() -> None:
    """Drop what a terminal answered to queries in the recording: it would look like typing."""
    if sys.stdin is not None and sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


class VisibleText:
    """Turns output, as it comes, into text that is safe anywhere; line ends and tabs stay."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """Return the text for some output; the bytes of an incomplete character are held back."""
        return visible(self._decoder.decode(data, last), keep="\n\t")
