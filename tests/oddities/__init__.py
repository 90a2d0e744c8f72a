# SPDX-License-Identifier: MIT
r"""Odd outputs, and exactly what the room shows of them (I9): ``output.json``.

In ``output`` a byte is written ``\xHH`` and a backslash ``\\``; everything else is UTF-8. In all
three texts ``<<x*60>>`` stands for sixty times ``x``. ``body`` and ``formatted`` are what comes
before the answer's last lines, in the plain text and in HTML.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parent / "output.json"

_ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-f]{2})|(\\))")
_TIMES: Final = re.compile(r"<<(.+?)\*(\d+)>>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Oddity:
    """What a command prints, and what is to be seen of it."""

    name: str
    output: bytes
    body: str
    formatted: str


def oddities() -> Iterator[Oddity]:
    """Yield all of them."""
    for entry in json.loads(FILE.read_text(encoding="utf-8")):
        yield Oddity(
            name=entry["name"],
            output=_bytes(_repeated(entry["output"])),
            body=_repeated(entry["body"]),
            formatted=_repeated(entry["formatted"]),
        )


def _repeated(text: str) -> str:
    return _TIMES.sub(lambda match: match[1] * int(match[2]), text)


def _bytes(text: str) -> bytes:
    return _ESCAPE.sub(
        lambda match: b"\\" if match[2] else bytes([int(match[1], 16)]), text.encode()
    )
