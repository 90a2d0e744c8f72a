# SPDX-License-Identifier: MIT
"""What is copied together with a command and isn't part of it: a terminal's prompts, code marks.

A shell takes a prompt for the name of a program, and what stands behind root's for a comment; in
Markdown's code marks it reads "run what this prints". Such a message is refused with the line that
was probably meant, never rewritten silently. A prompt within a text or a here-document is no
command's name and stays what it is.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

_CODE: Final = re.compile(
    r"(?P<block>```)[^\n`]*\n(?P<lines>[^`]+?)\n?```|(?P<mark>`{1,3})(?P<line>[^`\n]+)(?P=mark)"
)
_NAME: Final = re.compile(r".*[$#]|\[[^@]+@.+", re.DOTALL)
_PROMPT: Final = re.compile(r"\A(?:\[?[\w.-]+@[\w.-]+[^$#\n]*)?[$#][ \t]+")


def unmarked(command: str) -> str | None:
    """Return what stands in Markdown's code marks, None where nothing does."""
    found = _CODE.fullmatch(command)
    return None if found is None else (found["lines"] or found["line"]).strip()


def is_comment(command: str) -> bool:
    """Whether a shell would find nothing but comments."""
    lines = _lines(command)
    return bool(lines) and all(line.lstrip().startswith("#") for line in lines)


def prompted(commands: Iterable[Sequence[str]]) -> bool:
    """Whether a prompt is among the names of what would run."""
    return any(words and _NAME.fullmatch(words[0]) for words in commands)


def unprompted(command: str) -> str | None:
    """Return a command without prompts, None where not all of its lines have one.

    The first line may have lost its own, which marked the message as a command.
    """
    first, *others = _lines(command)
    if not all(_PROMPT.match(line) for line in others):
        return None
    without = "\n".join(_PROMPT.sub("", line) for line in (first, *others)).strip()
    return without if without != command else None


def _lines(command: str) -> list[str]:
    return [line for line in command.split("\n") if line.strip()]
