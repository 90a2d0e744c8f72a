# SPDX-License-Identifier: MIT
"""Between words and shell text."""

import re

from tibet_nc_agent.safety.marks import UNKNOWN, is_glob

_SAFE = re.compile(r"[A-Za-z0-9_./:=@%+,-]+")


def quoted(text: str) -> str:
    """Return shell text that becomes this word again; globs and unknown pieces stay active."""
    if _SAFE.fullmatch(text) or is_glob(text) or UNKNOWN in text:
        return text or "''"
    return "'" + text.replace("'", "'\\''") + "'"


def split_input(text: str, separators: str = " \t\n") -> list[str]:
    """Split text like `xargs`: at blanks, with quotes and backslashes, never failing."""
    words: list[str] = []
    current: list[str] = []
    present, quote, index = False, "", 0
    while index < len(text):
        character = text[index]
        index += 1
        if quote:
            if character == quote:
                quote = ""
            else:
                current.append(character)
        elif character in "'\"":
            quote, present = character, True
        elif character == "\\" and index < len(text):
            current.append(text[index])
            index, present = index + 1, True
        elif character in separators:
            if present:
                words.append("".join(current))
            current, present = [], False
        else:
            current.append(character)
            present = True
    if present:
        words.append("".join(current))
    return words
