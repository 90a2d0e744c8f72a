# SPDX-License-Identifier: MIT
"""String literals of script languages, however they are quoted, as one kind that is easy to find.

`canonical` writes each literal of a program as `"…"`, with its escapes resolved, and literals that
an operator joins as one: `q(re) . 'boot'`, `%w[rm -rf]`, `[[reboot]]`. What is around them stays.
This is no parser: a comment or a regular expression with one quote in it leads it astray until
the next one, so who uses it looks at the program as it was, too.
"""

import re

from tibet_nc_agent.safety.commands.text import unescape
from tibet_nc_agent.safety.marks import without_marks

LITERAL = r'"(?:\\.|[^"\\]){0,2000}+"'
"""A literal in a canonical program, as a regular expression without groups."""

_BEGINS = re.compile(r"\\.|[\"'`\[q%]", re.DOTALL)
_CLOSING = {"(": ")", "{": "}", "[": "]", "<": ">"}
_PLAIN_QUOTES = re.compile(
    r"\"(?P<double>(?:\\.|[^\"\\]){0,2000}+)\"|'(?P<single>(?:\\.|[^'\\]){0,2000}+)'", re.DOTALL
)
_BACKQUOTES = re.compile(r"`((?:\\.|[^`\\]){0,2000}+)`", re.DOTALL)
_LONG_BRACKET = re.compile(r"\[(={0,9})\[")  # Lua
# Perl's q qq qx qw and Ruby's %q %Q %x %w %W %(…), up to what opens them.
_GENERIC = {
    "perl": re.compile(r"(?<![\w$@%&])(q[qxw]?)\s*([^\w\s,;=)\]}>])"),
    "ruby": re.compile(r"%([qQxwWiI]?)([^\w\s=])"),
}
_INTERPOLATES = frozenset(["perl", "ruby", "php", "tcl", "julia", "powershell"])
BACKQUOTES_RUN = frozenset(["perl", "ruby", "php", "julia"])
"""Languages in which what stands between backquotes is a command."""
_JOINED = re.compile(
    rf"({LITERAL})(\s{{0,9}}(?:\.\.?|\+\+?|<<|<>|[&~])\s{{0,9}}(?=\"))?", re.DOTALL
)
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)


def canonical(language: str, text: str) -> str:
    """Return a program with its literals as `"…"`.

    Quotes and backslashes in them are escaped, and so is `$` where no variable is replaced.
    """
    pieces: list[str] = []
    position = 0
    while (quote := _BEGINS.search(text, position)) is not None:
        end, piece = _literal(language, text, quote.start())
        pieces.extend((text[position : quote.start()], piece))
        position = end
    pieces.append(text[position:])
    return _join("".join(pieces))


def content(literal: str) -> str:
    """Return what a canonical literal stands for."""
    return without_marks(_UNESCAPE.sub(r"\1", literal[1:-1]))


def _literal(language: str, text: str, position: int) -> tuple[int, str]:
    """Return where the literal at this position ends and how it is written; else one character."""
    letter = text[position]
    if letter in "\"'":
        found = _PLAIN_QUOTES.match(text, position)
        if found is not None:
            double = found.group("double")
            if double is None:
                return found.end(), _quoted(found.group("single"), raw=True)
            return found.end(), _quoted(double, raw=language not in _INTERPOLATES)
    elif letter == "`":
        found = _BACKQUOTES.match(text, position)
        if found is not None:
            runs = "system " if language in BACKQUOTES_RUN else ""
            return found.end(), runs + _quoted(found.group(1), raw=False)
    elif letter == "[" and language == "lua":
        found = _LONG_BRACKET.match(text, position)
        closing = "" if found is None else f"]{found.group(1)}]"
        end = -1 if found is None else text.find(closing, found.end())
        if found is not None and end >= 0:
            return end + len(closing), _quoted(text[found.end() : end], raw=True)
    elif letter in "q%" and language in _GENERIC:
        found = _GENERIC[language].match(text, position)
        if found is not None:
            return _generic(text, found.group(1), found.end())
    end = position + (2 if letter == "\\" else 1)
    return end, text[position:end]


def _generic(text: str, kind: str, start: int) -> tuple[int, str]:
    """Return the end and the meaning of what stands between delimiters of one's choice."""
    opening = text[start - 1]
    closing = _CLOSING.get(opening, opening)
    depth, end = 1, start
    while end < len(text):
        if text[end] == "\\":
            end += 1
        elif text[end] == closing:
            depth -= 1
            if not depth:
                break
        elif text[end] == opening:
            depth += 1
        end += 1
    inside = text[start:end]
    if kind in ("qw", "w", "W", "i", "I"):
        return end + 1, ", ".join(_quoted(word, raw=True) for word in inside.split()) or '""'
    runs = "system " if kind in ("qx", "x") else ""
    return end + 1, runs + _quoted(inside, raw=kind == "q")


def _quoted(inside: str, *, raw: bool) -> str:
    decoded = unescape(inside).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{decoded.replace("$", "\\$")}"' if raw else f'"{decoded}"'


def _join(program: str) -> str:
    """Make one of literals with an operator between them that joins them."""
    program = program.replace("\0", "")

    def joined(found: re.Match[str]) -> str:
        literal = found.group(1)
        return literal if found.group(2) is None else f"{literal[:-1]}\0"

    return _JOINED.sub(joined, program).replace('\0"', "")
