# SPDX-License-Identifier: MIT
"""Text that bash expands once more, as a program that only runs the substitutions in it."""

import re

_PROMPT_ESCAPE = re.compile(r"\\(?:([0-7]{3})|([][\\@!#adehjlnrstuvwADHTVW]))")
_IN_PROMPTS = {"\\": "\\", "n": "\n", "r": "\n"}


def as_document(text: str) -> str:
    """Return a program that only runs the substitutions in a text, whatever quotes it holds."""
    return f": <<_END_OF_TEXT_\n{text}\n_END_OF_TEXT_\n"


def as_prompt(text: str) -> str:
    """Return the same for a prompt, whose own escapes are replaced first."""
    return as_document(_PROMPT_ESCAPE.sub(_character, text))


def _character(found: re.Match[str]) -> str:
    octal, letter = found.groups()
    return chr(int(octal, 8) & 0xFF) if octal else _IN_PROMPTS.get(letter, "")
