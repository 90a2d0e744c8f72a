# SPDX-License-Identifier: MIT
"""Characters that stand for what is not text: an unknown piece, an active glob.

Facts:

* Expanded words are plain strings in which these private characters mark what bash would compute or
  match. A quoted `*` is the character `*`; an active one is `STAR`. So "contains an unknown" and
  "is a pattern" are never confused with text.
* The characters are refused in the input and removed from everything decoded, so no command can
  write a mark itself.
"""

import re
from collections.abc import Iterable

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.budget import TooComplexError

UNKNOWN = "\ue000"
STAR = "\ue001"
ANY = "\ue002"
OPEN = "\ue003"
CLOSE = "\ue004"
FOUND = "__found__"
"""A directory that stands for where something was found below another one; see `Choice`."""

EACH = "/__each__/"
"""What is before the name of one file that `find` runs a command for."""

_LONGEST_PATTERN = 256  # no name that is compared is longer
_GLOBS = frozenset((STAR, ANY, OPEN))
_ANY_MARK = re.compile("[\ue000-\ue004]")
_ACTIVATE = str.maketrans({"*": STAR, "?": ANY, "[": OPEN, "]": CLOSE})
_PLAIN = str.maketrans({STAR: "*", ANY: "?", OPEN: "[", CLOSE: "]"})
_FOUND = re.compile(f"/{FOUND}/(?:some|named)|{EACH}x?")
_SHOWN = str.maketrans({STAR: "*", ANY: "?", OPEN: "[", CLOSE: "]", UNKNOWN: "…"})
_SHELL = str.maketrans({STAR: "*", ANY: "?", OPEN: "*", CLOSE: "*", UNKNOWN: "\ue000"})
_EXPRESSION = re.compile(f"{OPEN}([^{CLOSE}]*){CLOSE}|(.)", re.DOTALL)
_PATTERN = str.maketrans(
    {
        "*": "[*]",
        "?": "[?]",
        "[": "[[]",
        STAR: "*",
        ANY: "?",
        OPEN: "[",
        CLOSE: "]",
        UNKNOWN: "*",
    }
)
# As bash reads it: the first `]` of an expression is a member, `[:name:]` a class of members.
_BRACKETS = re.compile(
    f"{OPEN}([!^]?+{CLOSE}?+(?:{OPEN}([:.=])[^{OPEN}{CLOSE}/]*\\2{CLOSE}|[^{CLOSE}/])*+){CLOSE}"
)
_HAS_GLOB = re.compile(r"[*?\[]")
_CLASS = re.compile(r"\[([:.=])(.*?)\1\]")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "word": "0-9A-Z_a-z",
    "xdigit": "0-9A-Fa-f",
}


def activate(text: str) -> str:
    """Mark the glob characters of unquoted text."""
    return text.translate(_ACTIVATE) if _HAS_GLOB.search(text) or "]" in text else text


def settle(text: str) -> str:
    """Turn marked brackets that do not make a bracket expression back into text."""
    if OPEN not in text and CLOSE not in text:
        return text
    if text.count(OPEN) > limits.MAX_BRACKETS:
        raise TooComplexError
    kept: list[str] = []
    index = 0
    for found in _BRACKETS.finditer(text):
        before = text[index : found.start()].replace(OPEN, "[").replace(CLOSE, "]")
        kept.extend((before, OPEN, plain(found.group(1)), CLOSE))
        index = found.end()
    kept.append(text[index:].replace(OPEN, "[").replace(CLOSE, "]"))
    return "".join(kept)


def plain(text: str) -> str:
    """Return the text with globs as their characters; unknown pieces stay marked."""
    return text.translate(_PLAIN) if _ANY_MARK.search(text) else text


def shown(text: str) -> str:
    """Return the text for people, an unknown piece or what was found as `…`."""
    text = _FOUND.sub(f"/{UNKNOWN}", text)
    return text.translate(_SHOWN) if _ANY_MARK.search(text) else text


def as_pattern(text: str) -> str:
    """Return an `fnmatch` pattern in which only active globs and unknown pieces match freely."""
    return text.replace(f"{OPEN}^", f"{OPEN}!").translate(_PATTERN)


def as_source(text: str) -> str:
    """Return shell source in which active globs are written as such."""
    return text.translate(_SHELL)


def without_marks(text: str) -> str:
    """Remove private characters from decoded text, so that it cannot pretend to be a mark."""
    return _ANY_MARK.sub("?", text)


def is_unknown(text: str) -> bool:
    """Whether a piece of the text is not known."""
    return UNKNOWN in text


def is_glob(text: str) -> bool:
    """Whether the text has an active glob character."""
    return any(mark in text for mark in _GLOBS)


def as_expression(text: str) -> re.Pattern[str]:
    """Return what a marked text may become: globs stay inside a directory, unknowns do not.

    As in bash, a glob at the beginning of a name does not match a dot there.

    Between two globs the leftmost match is always good enough, so the expression never goes back
    over it: the time is linear for any pattern.
    """
    pieces: list[str] = []
    chunk: list[str] = []
    wild, before = "", "/"
    for found in _EXPRESSION.finditer(text):
        inside, character = found.groups()
        if before == "/" and character in (STAR, ANY):
            chunk.append(r"(?!\.)")
        before = found.group()
        if character in (STAR, UNKNOWN):
            pieces.append(f"(?>{wild}?{''.join(chunk)})" if wild else "".join(chunk))
            chunk = []
            wild = "[^/]*" if character == STAR else ".*"
        elif character == ANY:
            chunk.append("[^/]")
        elif character is not None:
            chunk.append(re.escape(character))
        else:
            chunk.append(_members(inside))
    pieces.append(wild + "".join(chunk))
    return re.compile("".join(pieces), re.DOTALL)


def _members(inside: str) -> str:
    negated = "^" if inside[:1] in ("!", "^") else ""
    members = inside[1:] if negated else inside
    names = [found.group(2) for found in _CLASS.finditer(members)]
    if not all(name in _CLASSES for name in names):
        return "[^/]"
    classes = "".join(_CLASSES[name] for name in names)
    members = re.escape(_CLASS.sub("", members)).replace(r"\-", "-")
    return f"[{negated}{classes}{members}]" if classes or members else "[^/]"


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the plain names that a marked text, seen as a pattern, could be."""
    if len(pattern) > _LONGEST_PATTERN:
        fits = len(pattern.replace(STAR, "")) <= _LONGEST_PATTERN
        return sorted(names) if fits else []
    try:
        expression = as_expression(pattern)
    except re.error:
        return sorted(names)  # a reversed range: bash would take it in its own way
    return sorted(name for name in names if expression.fullmatch(name))
