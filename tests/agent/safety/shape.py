# SPDX-License-Identifier: MIT
"""The shape of a syntax tree: what it means, without positions and without the ways to spell it."""

import re
from typing import cast

from msgspec import Struct, structs

from tibet_nc_agent.safety.grammar import nodes

Shape = object

_NUMBER = re.compile(r"\d+-?|-")
_STANDARD = frozenset(["<0", "<&0", "<>0", "<<<0", ">1", ">>1", ">|1", ">&1"])
# Behind a redirection these are words, which bash prints in front, where they would be none.
_MAY_BE_KEYWORDS = ("!", "time", "-p", "--")
_ALL_ARGUMENTS = nodes.Parameter("@", "", (), quoted=True, start=0, end=0)


def shape(node: object) -> Shape:
    """Return tuples that are equal if bash takes two texts for the same program."""
    match node:
        case nodes.Sequence(items=items):
            return tuple(
                (shape(pipeline), {"": ";", "\n": ";"}.get(operator, operator))
                for pipeline, operator in items
            )
        case nodes.Word(parts=parts):
            return _parts(parts)
        case nodes.Arithmetic(parts=parts) | nodes.ArithmeticCommand(parts=parts):
            return (type(node).__name__, _parts(parts, spaces=False))
        case nodes.Subscript(parts=parts):
            return _parts(parts, spaces=False)
        case nodes.Redirection():
            return _redirection(node)
        case nodes.SimpleCommand(words=words) if words and words[0].plain in _MAY_BE_KEYWORDS:
            return shape(structs.replace(node, words=words[1:]))
        case nodes.If(branches=branches, otherwise=otherwise):
            chosen: Shape = None
            rest = shape(otherwise)
            for condition, body in reversed(branches):  # `elif` is an `if` in the other branch
                chosen = ("if", shape(condition), shape(body), rest)
                rest = _alone(chosen)
            return chosen
        case nodes.ForEach(words=None):
            every = nodes.Word((_ALL_ARGUMENTS,), 0, 0)
            return shape(structs.replace(node, words=(every,)))
        case nodes.ForArithmetic(parts=parts, body=body):  # bash prints 1 for an empty step
            expansions = [part for part in parts if not isinstance(part, nodes.Literal)]
            return ("for", shape(tuple(expansions)), shape(body))
        case nodes.Function(name=name, body=body):
            grouped = isinstance(body, nodes.Group) or (
                isinstance(body, nodes.Redirected) and isinstance(body.command, nodes.Group)
            )
            return ("function", name, shape(body) if grouped else ("Group", _alone(shape(body))))
        case nodes.Test(words=words):  # bash prints groups and `-n` in its own way
            known = (word for word in words if word.plain not in ("(", ")", "-n"))
            return ("test", sorted(repr(shape(word)) for word in known))
        case str() | bool() | None:
            return node
        case tuple():
            return tuple(map(shape, cast("tuple[object, ...]", node)))
        case Struct():
            names = [name for name in node.__struct_fields__ if name not in ("start", "end")]
            return (type(node).__name__, *(_field(node, name) for name in names))
        case _:
            raise TypeError(node)


def _field(node: Struct, name: str) -> Shape:
    value = getattr(node, name)
    return _parts(value) if name in ("parts", "argument", "inner") else shape(value)


def _alone(chosen: Shape) -> Shape:
    return ((("Pipeline", (chosen,)), ";"),)


def _parts(parts: tuple[nodes.Part, ...], *, spaces: bool = True) -> tuple[Shape, ...]:
    """Return the parts of a word, with neighbouring texts as one."""
    found: list[Shape] = []
    text, quoted = "", False
    for part in parts:
        same = isinstance(part, nodes.Literal) and part.quoted is quoted
        if text and not same:
            found.append((text, quoted))
            text = ""
        if isinstance(part, nodes.Literal):
            text += part.text if spaces else re.sub(r"\s+", "", part.text)
            quoted = part.quoted
        else:
            found.append((shape(part),))
    return (*found, (text, quoted)) if text else tuple(found)


def _redirection(node: nodes.Redirection) -> Shape:
    operator, descriptor = node.operator, node.descriptor
    if node.document is not None:
        return ("<<", descriptor, shape(node.document.body))
    target = node.target.plain
    if operator == ">&" and descriptor in ("", "1") and target and not _NUMBER.fullmatch(target):
        operator, descriptor = "&>", ""
    if operator == "<&" and target == "-":
        operator, descriptor = ">&", descriptor or "0"
    if f"{operator}{descriptor}" in _STANDARD:
        descriptor = ""
    if target is not None and _NUMBER.fullmatch(target):
        return (operator, descriptor, target.lstrip("0") or "0")
    return (operator, descriptor, shape(node.target))
