# SPDX-License-Identifier: MIT
"""Hostile text made fit for a room: nothing in it acts, nothing in it hides (I9).

Facts. A room's message is shown by many programs, none of which is a terminal, so terminal
sequences are dropped. What is left and would not be seen, or would move what is seen (controls,
bidirectional and zero-width characters, fillers, tags), is shown as its code point: ⟨U+202E⟩.
Only line ends and tabs stay as they are. The exact bytes are named by their SHA-256 and kept in
the recording, so this is a view, not a loss (I12).
"""

import html
import re
import unicodedata
from typing import Final

# ECMA-48, §5: a control sequence is CSI, parameters, intermediates, a final byte; a control string
# (OSC, DCS, APC, PM, SOS) ends with ST or, for OSC by custom, BEL. Each class of characters in a
# pattern excludes the next one, so that matching takes linear time whatever the input.
TERMINAL: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b[0-Z\\^-~]"
)

# Characters that draw nothing though their category doesn't say so (Unicode 16, property
# Default_Ignorable_Code_Point, and the blank braille pattern).
_BLANK: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
)
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})

_PLAIN: Final = re.compile(r"[\t\n\x20-\x7e\xa1-\xac\xae-\u02ff]*\Z")
"""Text in which nothing is to be looked for; nearly all output is."""

_MIXED: Final = re.compile(r"[^\t\n\x20-\x7e]")


def visible(text: str) -> str:
    """Return the text without terminal sequences, and with everything that hides made visible."""
    if _PLAIN.match(text):
        return text
    return shown(_settle(TERMINAL.sub("", text)))


def shown(text: str) -> str:
    """Return text in which every character that hides, or acts, is shown as its code point."""
    return _MIXED.sub(_show, text)


def visible_bytes(data: bytes) -> str:
    """Return output as visible text; what isn't UTF-8 shows as U+FFFD."""
    return visible(data.decode(errors="replace"))


def one_line(text: str) -> str:
    """Return text as one visible line, for a value within a sentence."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")


def as_typed(text: str) -> str:
    """Return what somebody typed as one visible line: no terminal acts on it, so nothing is gone.

    What is made of it may still pass :func:`visible`, which changes nothing then.
    """
    return shown(text).replace("\n", "⏎").replace("\t", " ")


def escaped(text: str) -> str:
    """Return visible text as HTML character data (HTML, §13.1.2.6)."""
    return html.escape(text, quote=False)


def _settle(text: str) -> str:
    """Do what a terminal does with a lone carriage return and a backspace: overwrite."""
    text = text.replace("\r\n", "\n")
    if "\r" not in text and "\b" not in text:
        return text
    return "\n".join(_overwritten(line) for line in text.split("\n"))


def _overwritten(line: str) -> str:
    cells: list[str] = []
    column = 0
    for character in line:
        if character == "\r":
            column = 0
        elif character == "\b":
            column = max(0, column - 1)
        elif column < len(cells):
            cells[column] = character
            column += 1
        else:
            cells.append(character)
            column += 1
    return "".join(cells)


def _show(match: re.Match[str]) -> str:
    character = match[0]
    if character in _BLANK or unicodedata.category(character) in _HIDDEN:
        return f"⟨U+{ord(character):04X}⟩"
    return character
