# SPDX-License-Identifier: MIT
"""The value of simple arithmetic, so that `init $((3+3))` is seen, and what any of it assigns."""

import re
from collections.abc import Callable

from tibet_nc_agent.safety.values import Value

_TOKEN = re.compile(r"\s*(?:(0|[1-9]\d{0,14})(?!\w)|([A-Za-z_]\w*)|([-+*/%()]))")
_ASSIGNED = re.compile(
    r"([A-Za-z_]\w*)(?:\[[^\]]*\])?\s*(?:\+\+|--|(?:[-+*/%&|^]|<<|>>)?=(?!=))"
    r"|(?:\+\+|--)\s*([A-Za-z_]\w*)"
)
_NAME = re.compile(r"[A-Za-z_]\w*")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2}
_LONGEST = 80
_MOST_EVALUATED = 16
_LARGEST = 10**15


def evaluate(text: str, lookup: Callable[[str], int | None]) -> int | None:
    """Return the value of integers, names, `+ - * / %` and parentheses; None for anything else."""
    tokens = _tokens(text.strip(), lookup)
    if not tokens:
        return None
    values: list[int] = []
    operators: list[str] = []
    expect_value = True
    for piece in tokens:
        if isinstance(piece, int):
            if not expect_value:
                return None
            values.append(piece)
            expect_value = False
        elif piece == "(":
            operators.append(piece)
        elif piece == ")":
            while operators and operators[-1] != "(":
                if not _reduce(values, operators.pop()):
                    return None
            if not operators:
                return None
            operators.pop()
        else:
            if expect_value:
                if piece not in "+-" or operators[-1:] not in ([], ["("]):
                    return None
                values.append(0)
            while operators and _PRECEDENCE.get(operators[-1], 0) >= _PRECEDENCE[piece]:
                if not _reduce(values, operators.pop()):
                    return None
            operators.append(piece)
            expect_value = True
    while operators:
        if not _reduce(values, operators.pop()):
            return None
    return values[0] if len(values) == 1 else None


def assigned(text: str) -> set[str]:
    """Return the names that arithmetic assigns."""
    return {first or second for first, second in _ASSIGNED.findall(text)}


def evaluated(text: str, lookup: Callable[[str], Value]) -> list[str]:
    """Return the texts that bash evaluates: the values of names in it as well, and so on."""
    texts = [text]
    for evaluating in texts:
        for name in _NAME.findall(evaluating):
            value = lookup(name)
            if isinstance(value, str) and value not in texts and len(texts) < _MOST_EVALUATED:
                texts.append(value)
    return texts


def _tokens(text: str, lookup: Callable[[str], int | None]) -> list[int | str] | None:
    if len(text) > _LONGEST:
        return None
    tokens: list[int | str] = []
    index = 0
    while index < len(text):
        found = _TOKEN.match(text, index)
        if found is None:
            return None
        digits, name, operator = found.groups()
        if digits is not None:
            tokens.append(int(digits))
        elif name is not None:
            value = lookup(name)
            if value is None:
                return None
            tokens.append(value)
        else:
            tokens.append(operator)
        index = found.end()
    return tokens


def _reduce(values: list[int], operator: str) -> bool:
    if len(values) < 2 or operator == "(":
        return False
    right, left = values.pop(), values.pop()
    if operator in "/%" and right == 0:
        return False
    match operator:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "/":
            result = int(left / right)
        case _:
            result = left - right * int(left / right)
    values.append(result)
    return abs(result) < _LARGEST
