# SPDX-License-Identifier: MIT
"""The beginning and the end of an output that is too long for a message, and what lies between.

What isn't shown is counted exactly, in bytes and line ends of the output itself, so that a reader
can tell how much there is (I12).
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from tibet_nc_agent.content import clip, cost
from tibet_nc_agent.screen import USUAL, Size, moves, settled
from tibet_nc_agent.visible import visible, visible_bytes

EDGE_BYTES: Final = 16 * 1024
"""How much of either end must be at hand to make an excerpt."""

EDGE_LINES: Final = 40
"""Most lines of either end that are shown: together they fill a large screen once."""

SCREEN_BYTES: Final = 16 * 1024
"""Longest output that is given to the terminal emulator, which takes 10 to 40 ms a KiB at worst,
and on a larger screen than the usual as much longer as that is larger."""

NEWEST_LINES: Final = 12
NEWEST_CHARACTERS: Final = 160
"""How much of a running command is shown: what a phone shows without hiding the talk around it."""

_CUT_BYTES: Final = 1024
_BEGINNING: Final = re.compile(rb"\n|(?=[\r\x1b])")
_CONTINUATION_BYTES: Final = 3


class Excerpt(msgspec.Struct, frozen=True, kw_only=True):
    """Visible text of both ends, and how many lines and bytes of the output lie between.

    ``hidden_lines`` is None when nobody has counted them. Of an output that is ``drawn`` there is
    only the end, as a terminal shows it; hidden are the bytes that were not given to the terminal.
    """

    head: str
    tail: str
    hidden_lines: int | None
    hidden_bytes: int
    drawn: bool = False


def whole(data: bytes, budget: int, screen: Size) -> str | None:
    """Return the output as visible text, or None if it takes more than ``budget`` bytes.

    What moves a cursor is shown as a terminal would have left it, which may take less, unless it is
    more than is drawn on a screen of this size.
    """
    text = data.decode(errors="replace")
    moving = moves(text)
    # Of what isn't drawn each byte costs at least one.
    if len(data) > (_drawable(screen) if moving else budget):
        return None
    text = settled(text, screen) if moving else visible(text).removesuffix("\n")
    return text if cost(text) <= budget else None


def newest(data: bytes, screen: Size, *, whole: bool, lines: int = NEWEST_LINES) -> str:
    """Return the last lines that a terminal of this size shows after this output.

    ``data`` is all of the output if ``whole``, else its end, cut anywhere.
    """
    if not whole:
        data = data[_clean_start(data) :]
    text = data.decode(errors="replace")
    if not moves(text):
        text = visible(text)
    elif len(data) > (limit := _drawable(screen)):
        return newest(data[-limit:], screen, whole=False, lines=lines)
    else:
        text = settled(text, screen)
    rows = [clip(row, NEWEST_CHARACTERS) for row in text.rstrip("\n").split("\n")]
    return "\n".join(rows[-lines:])


def _drawable(screen: Size) -> int:
    """Return how many bytes at most are drawn on a screen of this size."""
    return SCREEN_BYTES * USUAL.cells // max(USUAL.cells, screen.cells)


def _clean_start(data: bytes) -> int:
    """Return where a piece of output begins that isn't the rest of a line or of a sequence."""
    found = _BEGINNING.search(data, 0, _CUT_BYTES)
    return _character_start(data, 0) if found is None else found.end()


def lines_of(data: bytes) -> int:
    """Return how many lines there are, a last one without an end included."""
    return data.count(b"\n") + (1 if data and not data.endswith(b"\n") else 0)


def excerpt(
    head: bytes, tail: bytes, screen: Size, *, size: int, lines: int | None, budget: int
) -> Excerpt:
    """Cut both ends of an output of ``size`` bytes and ``lines`` lines down to ``budget``.

    ``head`` and ``tail`` are its first and last EDGE_BYTES, or all of it when it is shorter; when
    its end isn't at hand, ``tail`` is empty. ``lines`` may be None, for not counted. An output that
    moves a cursor is drawn: pieces of it, printed as they are, would show what nobody ever saw.
    """
    if tail and any(moves(edge.decode(errors="replace")) for edge in (head, tail)):
        return _drawn(tail[-_drawable(screen) :], screen, size=size, budget=budget)
    first = _head(head, budget // 2)
    overlap = max(0, len(first) - (size - len(tail)))
    last = _tail(tail[overlap:], budget // 2)
    shown = first.count(b"\n") + last.count(b"\n")
    if last and not last.endswith(b"\n"):
        shown += 1  # the last line has no end of its own
    return Excerpt(
        head=visible_bytes(first).removesuffix("\n"),
        tail=visible_bytes(last).removesuffix("\n"),
        hidden_lines=None if lines is None else max(0, lines - shown),
        hidden_bytes=size - len(first) - len(last),
    )


def _drawn(tail: bytes, screen: Size, *, size: int, budget: int) -> Excerpt:
    rows = newest(tail, screen, whole=len(tail) == size, lines=EDGE_LINES).split("\n")
    while cost("\n".join(rows)) > budget:
        del rows[0]
    return Excerpt(
        head="",
        tail="\n".join(rows),
        hidden_lines=None,
        hidden_bytes=size - len(tail),
        drawn=True,
    )


def _head(data: bytes, budget: int) -> bytes:
    """Return the longest beginning that fits: whole lines, or else a part of the first one."""
    data = _first_lines(data)
    end = _fitting(len(data), lambda count: data[:count], budget)
    if end < len(data):
        end = data.rfind(b"\n", 0, end) + 1 or _character_end(data, end)
    if data[:end] and not _fits(data[:end], budget):
        return _head(data[: end // 2], budget)  # a terminal sequence that hid some was cut
    return data[:end]


def _tail(data: bytes, budget: int) -> bytes:
    """Return the longest end that fits: whole lines, or else a part of the last one."""
    data = _last_lines(data)
    start = len(data) - _fitting(len(data), lambda count: data[len(data) - count :], budget)
    if start:
        start = data.find(b"\n", start - 1, len(data) - 1) + 1 or _character_start(data, start)
    if data[start:] and not _fits(data[start:], budget):
        return _tail(data[(start + len(data) + 1) // 2 :], budget)
    return data[start:]


def _first_lines(data: bytes) -> bytes:
    end = 0
    for _ in range(EDGE_LINES):
        found = data.find(b"\n", end)
        if found < 0:
            return data
        end = found + 1
    return data[:end]


def _last_lines(data: bytes) -> bytes:
    start = len(data) - data.endswith(b"\n")
    for _ in range(EDGE_LINES):
        start = data.rfind(b"\n", 0, start)
        if start < 0:
            return data
    return data[start + 1 :]


def _fitting(size: int, part: Callable[[int], bytes], budget: int) -> int:
    """Return, by bisection, about the largest count of bytes whose visible text fits."""
    low, high = 0, size
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(part(middle), budget):
            low = middle
        else:
            high = middle - 1
    return low


def _fits(data: bytes, budget: int) -> bool:
    return cost(visible_bytes(data)) <= budget


def _character_end(data: bytes, end: int) -> int:
    """Go back so that no UTF-8 character is cut."""
    for back in range(min(_CONTINUATION_BYTES, end) + 1):
        if end - back == len(data) or data[end - back] & 0xC0 != 0x80:
            return end - back
    return end


def _character_start(data: bytes, start: int) -> int:
    """Go forward so that no UTF-8 character is cut."""
    for ahead in range(min(_CONTINUATION_BYTES, len(data) - start) + 1):
        if start + ahead == len(data) or data[start + ahead] & 0xC0 != 0x80:
            return start + ahead
    return start
