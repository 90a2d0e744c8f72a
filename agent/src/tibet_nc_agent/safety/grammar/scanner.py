# SPDX-License-Identifier: MIT
"""Characters: where the parser stands, line continuations, brackets, and spans in the source."""

import re
from typing import NoReturn

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.grammar.errors import Fault, GrammarError

META = frozenset(" \t\n|&;()<>")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_BRACKET_SPECIALS = {
    "()": re.compile(r"[\\'\"()]"),
    "[]": re.compile(r"[\\'\"\[\]]"),
}

_COST_OF_HIT = 4  # a bracket or quote costs as much time as this many other characters


class Place:
    """Maps offsets of the scanned text to spans of the command that the operator typed."""

    __slots__ = ("_fixed", "_offset")

    def __init__(self, offset: int = 0, fixed: tuple[int, int] | None = None) -> None:
        self._offset = offset
        self._fixed = fixed

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span in the source for offsets of this text."""
        if self._fixed is not None:
            return self._fixed
        return start + self._offset, end + self._offset

    def within(self, start: int) -> "Place":
        """Return the place of a verbatim substring that begins at `start`."""
        return Place(self._offset + start, self._fixed)


class Scanner:
    """A position in a text; `depth` counts the nesting of grammar around it."""

    def __init__(self, text: str, *, budget: Budget, depth: int, place: Place) -> None:
        self.text = text
        self.length = len(text)
        self.position: int = 0
        self.depth = depth
        self.budget = budget
        self.place = place

    def peek(self, ahead: int = 0) -> str:
        r"""Return a character, or "" at the end; bash removes `\\⏎` before it makes tokens."""
        text, length, index = self.text, self.length, self.position
        while text.startswith("\\\n", index):
            index += 2
        if ahead == 0:
            self.position = index
        else:
            for _ in range(ahead):
                if index >= length:
                    return ""
                index += 1
                while text.startswith("\\\n", index):
                    index += 2
        return text[index] if index < length else ""

    def advance(self, count: int = 1) -> None:
        """Step over characters that `peek` has shown."""
        for _ in range(count):
            self.peek()
            self.position += 1

    def fail(self, detail: str, fault: Fault | None = None) -> NoReturn:
        """Raise the grammar's error here; at the end of the text it is an incomplete command."""
        if fault is None:
            fault = Fault.INCOMPLETE if self.position >= self.length else Fault.SYNTAX
        at = min(self.position, self.length)
        raise GrammarError(detail, self.place.span(at, at)[0], fault)

    def unterminated(self, opening: str) -> NoReturn:
        """Raise for an opening quote or bracket that never closes."""
        raise GrammarError(
            f"unterminated {opening}",
            self.place.span(min(self.position, self.length), self.length)[0],
            Fault.INCOMPLETE,
        )

    def enter(self) -> None:
        """Go one level deeper; a failed parse is abandoned, so levels need no clean-up."""
        self.depth += 1
        if self.depth > limits.MAX_DEPTH:
            self.fail("too many levels", Fault.DEPTH)

    def leave(self) -> None:
        """Come back from `enter`."""
        self.depth -= 1

    def matching(self, index: int, pair: str) -> int:
        """Return where the bracket opened before `index` closes, outside quotes; -1 if nowhere."""
        text, level, opening = self.text, 1, pair[0]
        hits = 0
        specials, start = _BRACKET_SPECIALS[pair], index
        while True:
            found = specials.search(text, index)
            if found is None:
                self.budget.scan(self.length - start + hits * _COST_OF_HIT)
                return -1
            hits += 1
            index = found.end()
            character = found.group()
            if character == "\\":
                index += 1
            elif character == "'":
                index = text.find("'", index) + 1
                if index == 0:
                    return -1
            elif character == '"':
                index = self._after_double_quotes(index)
            elif character == opening:
                level += 1
            else:
                level -= 1
                if level == 0:
                    self.budget.scan(index - start + hits * _COST_OF_HIT)
                    return index - 1

    def _after_double_quotes(self, index: int) -> int:
        while index < self.length and self.text[index] != '"':
            index += 2 if self.text[index] == "\\" else 1
        return index + 1
