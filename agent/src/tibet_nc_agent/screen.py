# SPDX-License-Identifier: MIT
"""Output that moves a cursor, shown as a terminal would have left it. The only module with pyte.

Facts. pyte's screen is sound, its parser is not: it raises for some sequences (``CSI ? 4 m``, which
vim sends; digits that are not ASCII), prints parts of others (DCS, APC, OSC 8), and drops the rest
of a text after a character that takes no cell. So the parser is ours: a sequence that isn't in the
table below does nothing, and a character that draws nothing is made visible, or joined to the one
before, ahead of the screen. The screen's own ``display`` fails on half of a wide character, so the
cells are read here.

Any text gives lines, within time that grows with its length: the caller bounds that, since a
screen takes about a second for a megabyte.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import pyte
from wcwidth import wcwidth

from tibet_nc_agent.visible import TERMINAL, shown, visible


class Size(msgspec.Struct, frozen=True):
    """How large a terminal is, in rows and columns: output is made for that width."""

    rows: int
    columns: int

    @property
    def cells(self) -> int:
        """How many characters it shows."""
        return self.rows * self.columns


USUAL: Final = Size(rows=24, columns=80)
"""The size of a terminal if nobody has set another."""

LARGEST: Final = 9999
"""Largest parameter that is taken as it is, as DEC's terminals do."""

SPARE: Final = 4096
"""How many characters and lines a text may order beside those it holds: two usual screens full."""

_MOST_PARAMETERS: Final = 2

_MOVES: Final = re.compile(
    r"(?:\x1b\[|\x9b)(?:[0-9;]*[A-JLMPSTXbdefru@`a]|\?(?:47|1047|1049)[hl])|\x1b[78DEMc]"
)
_ERASES: Final = re.compile(r"(?:\x1b\[|\x9b)[0-2]?K")
_TOKEN: Final = re.compile(rf"{TERMINAL.pattern}|[\r\n\b\t]")
_RUN: Final = re.compile(r"[\x20-\x7e]+|.", re.DOTALL)
_SEQUENCE: Final = re.compile(r"(?:\x1b\[|\x9b)(\??)([0-9;]*)([@-~])\Z")
_ALTERNATE: Final = frozenset({"47", "1047", "1049"})
"""The private modes that show another screen (xterm, "Alternate Screen Buffer")."""


def moves(text: str) -> bool:
    """Whether a text does more with the cursor than print lines and return to their beginning."""
    if _MOVES.search(text):
        return True
    return ("\r" in text or "\b" in text) and bool(_ERASES.search(text))


def settled(text: str, size: Size) -> str:
    """Return the visible text that a terminal of this size shows when all of a text was printed.

    What has scrolled off the screen is part of it, what a full-screen program drew and put away
    again is not. Lines are as wide as the terminal.
    """
    terminal = _Terminal(size)
    end = 0
    for match in _TOKEN.finditer(text):
        terminal.screen.print(text[end : match.start()])
        terminal.obey(match[0])
        end = match.end()
    terminal.screen.print(text[end:])
    return visible("\n".join(terminal.screen.lines_shown()))


class _Screen(pyte.Screen):
    """A screen that keeps what scrolls off its top, and takes any character."""

    def __init__(self, size: Size) -> None:
        super().__init__(size.columns, size.rows)
        self._gone: list[str] = []
        self._last = ""
        self._spare = SPARE

    def print(self, text: str) -> None:
        """Draw a text without control characters."""
        for run in _RUN.findall(shown(text)):
            if run.isascii() or wcwidth(run) > 0:
                self.draw(run)
                self._last = run[-1]
            else:
                self._join(run)

    def repeat(self, count: int) -> None:
        """Draw the last character again."""
        if self._last:
            self.draw(self._last * self._granted(count))

    def index(self) -> None:
        """Go down a line; at the end of the screen keep the first line, which goes off."""
        if self.margins is None and self.cursor.y == self.lines - 1:
            self._gone.append(self._row(0))
        super().index()

    def scroll(self, count: int) -> None:
        """Move the text up, and the cursor stays where it is."""
        row = self.cursor.y
        self.cursor.y = self.margins.bottom if self.margins is not None else self.lines - 1
        for _ in range(self._granted(min(count, self.lines))):
            self.index()
        self.cursor.y = row

    def lines_shown(self) -> list[str]:
        """Return every line, but for empty ones at the end."""
        rows = self._gone + [self._row(y) for y in range(self.lines)]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def _granted(self, count: int) -> int:
        """Return how much of an order is carried out: a few bytes must not order a lot of work."""
        count = min(count, self._spare)
        self._spare -= count
        return count

    def _join(self, character: str) -> None:
        """Put a character that takes no cell to the one before it."""
        row = self.buffer[self.cursor.y]
        for x in range(self.cursor.x - 1, -1, -1):
            if row[x].data:
                row[x] = row[x]._replace(data=row[x].data + character)
                return

    def _row(self, y: int) -> str:
        row = self.buffer[y]
        return "".join(row[x].data for x in range(self.columns)).rstrip(" ")


class _Terminal:
    """A screen, and the other one that full-screen programs draw on."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._main = _Screen(size)
        self._other: _Screen | None = None

    @property
    def screen(self) -> _Screen:
        """The screen that is seen."""
        return self._main if self._other is None else self._other

    def obey(self, sequence: str) -> None:
        """Do what a control character or a sequence asks for; unknown ones do nothing."""
        simple = _SIMPLE.get(sequence)
        if simple is not None:
            simple(self.screen)
            return
        found = _SEQUENCE.match(sequence)
        if found is None:
            return
        private, digits, final = found.groups()
        if private:
            self._switch(digits, final)
            return
        numbers = [min(int(digit or 0), LARGEST) for digit in digits.split(";")]
        action = _ACTIONS.get(final)
        if action is not None and len(numbers) <= _MOST_PARAMETERS:
            action(self.screen, numbers)

    def _switch(self, mode: str, final: str) -> None:
        if mode in _ALTERNATE and final in "hl":
            self._other = _Screen(self._size) if final == "h" else None


def _counted(action: Callable[[_Screen, int], None]) -> Callable[[_Screen, list[int]], None]:
    """Return an action that takes a count, which is 1 when it is left out or 0."""
    return lambda screen, numbers: action(screen, numbers[0] or 1)


def _erased(action: Callable[[_Screen, int], None]) -> Callable[[_Screen, list[int]], None]:
    """Return an action that takes a kind of erasing (ECMA-48, §8.3.39 and §8.3.41)."""

    def erase(screen: _Screen, numbers: list[int]) -> None:
        if numbers[0] in {0, 1, 2}:
            action(screen, numbers[0])

    return erase


def _next_line(screen: _Screen) -> None:
    screen.index()
    screen.carriage_return()


_SIMPLE: Final[Mapping[str, Callable[[_Screen], None]]] = {
    "\r": _Screen.carriage_return,
    "\n": _next_line,  # programs write one and mean both: the terminal's driver adds the other
    "\b": _Screen.backspace,
    "\t": _Screen.tab,
    "\x1b7": _Screen.save_cursor,
    "\x1b8": _Screen.restore_cursor,
    "\x1bD": _Screen.index,
    "\x1bE": _next_line,
    "\x1bM": _Screen.reverse_index,
    "\x1bc": _Screen.reset,
}

_ACTIONS: Final[Mapping[str, Callable[[_Screen, list[int]], None]]] = {
    "@": _counted(_Screen.insert_characters),
    "A": _counted(_Screen.cursor_up),
    "B": _counted(_Screen.cursor_down),
    "C": _counted(_Screen.cursor_forward),
    "D": _counted(_Screen.cursor_back),
    "E": _counted(_Screen.cursor_down1),
    "F": _counted(_Screen.cursor_up1),
    "G": _counted(_Screen.cursor_to_column),
    "H": lambda screen, numbers: screen.cursor_position(*numbers),
    "J": _erased(_Screen.erase_in_display),
    "K": _erased(_Screen.erase_in_line),
    "L": _counted(_Screen.insert_lines),
    "M": _counted(_Screen.delete_lines),
    "P": _counted(_Screen.delete_characters),
    "S": _counted(_Screen.scroll),
    "X": _counted(_Screen.erase_characters),
    "`": _counted(_Screen.cursor_to_column),
    "a": _counted(_Screen.cursor_forward),
    "b": _counted(_Screen.repeat),
    "d": _counted(_Screen.cursor_to_line),
    "e": _counted(_Screen.cursor_down),
    "f": lambda screen, numbers: screen.cursor_position(*numbers),
    "r": lambda screen, numbers: screen.set_margins(*[number or None for number in numbers]),
    "s": lambda screen, _: screen.save_cursor(),
    "u": lambda screen, _: screen.restore_cursor(),
}
"""The control functions of ECMA-48 and DEC that programs use, by their final character."""
