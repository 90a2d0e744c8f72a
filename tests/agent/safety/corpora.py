# SPDX-License-Identifier: MIT
r"""The sample lines: a command (with `\\n`, `\\t` and `\\\\` escaped), a family, a note.

Dangerous ones have the verdict that they get at least before the note.
"""

import re
from pathlib import Path

_ESCAPE = re.compile(r"\\([nt\\])")
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}
_FOLDER = Path(__file__).parent / "corpus"


def commands(name: str) -> list[str]:
    """Return the commands of `dangerous` or `harmless`."""
    lines = (_FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [
        _ESCAPE.sub(lambda found: _ESCAPED[found.group(1)], line.split("\t", 1)[0])
        for line in lines[1:]
    ]


def families() -> dict[str, str]:
    """Return the family that each dangerous command is filed under."""
    return _column(1)


def verdicts() -> dict[str, str]:
    """Return the verdict that each dangerous command gets at least."""
    return _column(2)


def _column(number: int) -> dict[str, str]:
    lines = (_FOLDER / "dangerous.tsv").read_text(encoding="utf-8").splitlines()
    columns = [line.split("\t") for line in lines[1:]]
    return dict(zip(commands("dangerous"), [column[number] for column in columns], strict=True))
