# SPDX-License-Identifier: MIT
"""Text of unknown origin, made safe for a terminal.

Whatever is not a visible character is shown as a backslash escape: control characters, escape
sequences, line and paragraph separators, bidirectional and zero-width controls, private and
unassigned characters. A backslash stays as it is; ``--json`` gives the exact text.
"""

import re
from typing import Final

# What Python takes for printable and people can't see: Default_Ignorable_Code_Point of Unicode
# (DerivedCoreProperties.txt) outside the categories that str.isprintable already refuses.
_IGNORABLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SHORT: Final = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str, *, keep: str = "") -> str:
    """Return the text as one safe line; characters in ``keep`` (line ends, tabs) stay."""
    if text.isprintable() and not _IGNORABLE.search(text):
        return text
    return "".join(
        character if character in keep or _plain(character) else _escape(character)
        for character in text
    )


def _plain(character: str) -> bool:
    return character.isprintable() and not _IGNORABLE.match(character)


def _escape(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
