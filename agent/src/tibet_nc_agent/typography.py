# SPDX-License-Identifier: MIT
"""Quotation marks, dashes and spaces that a phone typed in place of those of the shell.

They are refused with the line that was probably meant, never rewritten silently: the operator
sends what runs. Dashes are looked for only where an option would begin; a dash within a text is a
dash.
"""

import re
from typing import Final

_MEANT: Final = str.maketrans(
    {
        "\u201c": '"',
        "\u201d": '"',
        "\u201e": '"',
        "\u201f": '"',
        "\u2018": "'",
        "\u2019": "'",
        "\u201a": "'",
        "\u201b": "'",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2007": " ",
    }
)
_LETTERS: Final = re.compile("[" + "".join(map(chr, _MEANT)) + "]")
_OPTION: Final = re.compile(r"(?<!\S)([\u2013\u2014])(?=\S)")
_DASHES: Final = {"\u2013": "-", "\u2014": "--"}  # what phones make of one and of two hyphens


def meant(command: str) -> str | None:
    """Return the line that was probably meant, None when nothing in it is suspicious."""
    spaced = _LETTERS.sub(lambda match: match[0].translate(_MEANT), command)
    corrected = _OPTION.sub(lambda match: _DASHES[match[1]], spaced)
    return corrected if corrected != command else None
