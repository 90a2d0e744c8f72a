# SPDX-License-Identifier: MIT
"""Sets of shell patterns that are asked often."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

from tibet_nc_agent.safety.marks import STAR, as_expression, is_glob, is_unknown

_LONGEST_PATTERN = 256  # no path of a rule is longer
_STARS = re.compile(f"{STAR}+")
_GLOB = re.compile(r"[*?\[]")


class PatternSet:
    """Names and patterns; `in` is one lookup for names, one regular expression for patterns."""

    __slots__ = ("_compiled", "_exact", "_patterns")

    def __init__(self, patterns: Iterable[str]) -> None:
        every = tuple(patterns)
        self._exact = frozenset(text for text in every if not _GLOB.search(text))
        self._patterns = tuple(text for text in every if _GLOB.search(text))
        self._compiled: re.Pattern[str] | None = None

    def __contains__(self, text: str) -> bool:
        if text in self._exact:
            return True
        if not self._patterns:
            return False
        if self._compiled is None:
            self._compiled = re.compile("|".join(translate(text) for text in self._patterns))
        return self._compiled.match(text) is not None

    def may_contain(self, marked: str) -> bool:
        """Whether a text with active globs or unknown pieces could name something in the set."""
        if not (is_glob(marked) or is_unknown(marked)):
            return marked in self
        marked = _STARS.sub(STAR, marked)
        if len(marked) > _LONGEST_PATTERN:
            return len(marked.replace(STAR, "")) <= _LONGEST_PATTERN
        try:
            pattern = as_expression(marked)
        except re.error:
            return True
        return any(pattern.fullmatch(text) for text in self._exact)


@lru_cache(maxsize=1024)
def pattern_set(patterns: tuple[str, ...]) -> PatternSet:
    """Return the set for a tuple of patterns, compiled once."""
    return PatternSet(patterns)
