# SPDX-License-Identifier: MIT
"""What `${name operator argument}` makes of a known value."""

import re
from fnmatch import fnmatchcase

from tibet_nc_agent.safety.budget import inserted
from tibet_nc_agent.safety.marks import UNKNOWN, as_pattern

_SLICE = re.compile(r"\(?(-?\d{1,9})\)?(?::\(?(-?\d{1,9})\)?)?")  # without blanks
_LONGEST_MATCHED = 256
# Classes in brackets, which fnmatch doesn't know, and `[/]`, which is no expression in a path.
_BRACKETS = re.compile(r"\[(?:[:.=]|[^\]/]*/)")
_GLOB = re.compile(r"[\ue001-\ue004]")


def transform(operator: str, value: str, argument: str) -> str | None:
    """Return the transformed value, None if it cannot be told without running it."""
    if UNKNOWN in value or UNKNOWN in argument:
        return None
    match operator:
        case "%" | "%%" | "#" | "##":
            return _trimmed(operator, value, argument)
        case "^^" | ",," | "^" | "," if not argument:
            return _cased(operator, value)
        case ":":
            return _sliced(value, argument)
        case "@" if argument in ("Q", "K", "k"):
            return value
        case "@" if argument == "E":
            return value if "\\" not in value else None
        case "@" if argument in ("U", "L", "u"):
            return _cased({"U": "^^", "L": ",,", "u": "^"}[argument], value)
        case _:
            return None


def _trimmed(operator: str, value: str, argument: str) -> str | None:
    if len(value) > _LONGEST_MATCHED or _BRACKETS.search(argument):
        return None
    pattern = as_pattern(argument)
    cuts = range(len(value) + 1)
    # The longest prefix and the shortest suffix lie at the high end.
    ordered = cuts if operator in ("#", "%%") else reversed(cuts)
    for cut in ordered:
        head, tail = value[:cut], value[cut:]
        if operator[0] == "#" and fnmatchcase(head, pattern):
            return tail
        if operator[0] == "%" and fnmatchcase(tail, pattern):
            return head
    return value


def replaced(operator: str, value: str, pattern: str, replacement: str) -> str | None:
    """Return what `${name/pattern/replacement}` gives, None if it cannot be told.

    A `&` in the replacement stands for what the pattern has matched.
    """
    if not pattern or _GLOB.search(pattern) or "[" in pattern or "&" in replacement:
        return None
    if UNKNOWN in value + pattern + replacement:
        return None
    if operator == "//":
        return inserted(value, pattern, replacement)
    if operator == "/#":
        return replacement + value[len(pattern) :] if value.startswith(pattern) else value
    if operator == "/%":
        return value[: -len(pattern)] + replacement if value.endswith(pattern) else value
    return value.replace(pattern, replacement, 1)


def _cased(operator: str, value: str) -> str:
    match operator:
        case "^^":
            return value.upper()
        case ",,":
            return value.lower()
        case "^":
            return value[:1].upper() + value[1:]
        case _:
            return value[:1].lower() + value[1:]


def _sliced(value: str, argument: str) -> str | None:
    found = _SLICE.fullmatch("".join(argument.split()))
    if found is None:
        return None
    offset = int(found.group(1))
    if offset < 0:
        offset += len(value)
        if offset < 0:
            return ""
    rest = value[offset:]
    return rest if found.group(2) is None else rest[: int(found.group(2))]
