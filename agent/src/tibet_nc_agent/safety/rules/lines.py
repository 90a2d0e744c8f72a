# SPDX-License-Identifier: MIT
"""Line numbers of tables and keys in a TOML file, which `tomllib` does not tell."""

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_.\"'-]+)\s*=")
_TOKEN = re.compile(r"\"\"\"|'''|\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*|[\[\]{}]")


def line_numbers(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every table and key of a well-formed TOML text."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    depth, quotes = 0, ""
    for number, line in enumerate(text.split("\n"), start=1):
        if depth == 0 and not quotes:
            header = _HEADER.match(line)
            if header is not None:
                table = _table(header, counts)
                lines.setdefault(table, number)
                continue
            key = _KEY.match(line)
            if key is not None:
                lines.setdefault((*table, *_names(key.group(1))), number)
        depth, quotes = _state_after(line, depth, quotes)
    return lines


def _names(dotted: str) -> list[str]:
    return [name.strip().strip("\"'") for name in dotted.split(".")]


def _table(header: re.Match[str], counts: dict[Path, int]) -> Path:
    names: Path = tuple(_names(header.group(2)))
    if header.group(1) == "[":
        return names
    index = counts.get(names, 0)
    counts[names] = index + 1
    return (*names, index)


def _state_after(line: str, depth: int, quotes: str) -> tuple[int, str]:
    """Follow brackets and multi-line strings over one line."""
    index = 0
    while True:
        if quotes:
            end = line.find(quotes, index)
            if end < 0:
                return depth, quotes
            index, quotes = end + 3, ""
        found = _TOKEN.search(line, index)
        if found is None:
            return depth, ""
        index, piece = found.end(), found.group()
        if piece in ('"""', "'''"):
            quotes = piece
        elif piece in "[{":
            depth += 1
        elif piece in "]}":
            depth -= 1
