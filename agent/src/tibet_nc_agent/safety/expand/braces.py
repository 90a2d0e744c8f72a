# SPDX-License-Identifier: MIT
"""Brace expansion: `{a,b}`, `{1..5}`, nested, over words that also hold expansions."""

import itertools
import re

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.budget import TooComplexError
from tibet_nc_agent.safety.grammar.nodes import Literal, Part

_TOKENS = re.compile(r"([{},])")
_NUMBERS = re.compile(r"(-?\d{1,19})\.\.(-?\d{1,19})(?:\.\.(-?\d{1,19}))?")
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.-?\d{1,9})?")

Atom = str | Part
"""An unquoted piece of text, or a part that braces do not look into."""


def alternatives(parts: tuple[Part, ...]) -> list[list[Atom]]:
    """Return the words that one word becomes; raises `TooComplexError` beyond the limits."""
    atoms: list[Atom] = []
    for part in parts:
        if isinstance(part, Literal) and not part.quoted:
            atoms.extend(piece for piece in _TOKENS.split(part.text) if piece)
        else:
            atoms.append(part)
    if atoms.count("{") > limits.MAX_BRACES:
        raise TooComplexError
    if "{" not in atoms:
        return [atoms]
    try:
        return _expand(atoms, ends=False)
    except TooComplexError:  # numbers are all alike, so the ends of a range may stand for it
        return _expand(atoms, ends=True)


def _expand(atoms: list[Atom], *, ends: bool) -> list[list[Atom]]:
    for index, atom in enumerate(atoms):
        if atom != "{":
            continue
        commas, close = _group(atoms, index)
        if close < 0:
            continue
        inside = atoms[index + 1 : close]
        choices = _choices(atoms, index, commas, close) if commas else _range(inside, ends=ends)
        if choices is None:
            continue
        before, after = atoms[:index], _expand(atoms[close + 1 :], ends=ends)
        words: list[list[Atom]] = []
        for choice in choices:
            for middle in _expand(choice, ends=ends):
                words.extend([*before, *middle, *rest] for rest in after)
                if len(words) > limits.MAX_ALTERNATIVES:
                    raise TooComplexError
        return words
    return [atoms]


def _group(atoms: list[Atom], start: int) -> tuple[list[int], int]:
    """Return the commas of the brace that opens at `start`, and where it closes (-1: never)."""
    level = 0
    commas: list[int] = []
    for index in range(start, len(atoms)):
        atom = atoms[index]
        if atom == "{":
            level += 1
        elif atom == "}":
            level -= 1
            if level == 0:
                return commas, index
        elif atom == "," and level == 1:
            commas.append(index)
    return [], -1


def _choices(atoms: list[Atom], start: int, commas: list[int], close: int) -> list[list[Atom]]:
    cuts = [start, *commas, close]
    return [atoms[left + 1 : right] for left, right in itertools.pairwise(cuts)]


def _range(inside: list[Atom], *, ends: bool) -> list[list[Atom]] | None:
    if len(inside) != 1 or not isinstance(inside[0], str):
        return None
    text = inside[0]
    numbers = _NUMBERS.fullmatch(text)
    if numbers is not None:
        first, last = int(numbers.group(1)), int(numbers.group(2))
        step = abs(int(numbers.group(3) or 1)) or 1
        if abs(last - first) // step > limits.MAX_RANGE:
            raise TooComplexError  # bash makes every word of it before it runs anything
        values = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
        if ends:
            return [[str(values[0])], [str(values[-1])]]
        if len(values) > limits.MAX_ALTERNATIVES:
            raise TooComplexError
        return [[str(value)] for value in values]
    letters = _LETTERS.fullmatch(text)
    if letters is not None:
        low, high = ord(letters.group(1)), ord(letters.group(2))
        codes = range(low, high + 1) if low <= high else range(low, high - 1, -1)
        return [[chr(code)] for code in codes]
    return None
