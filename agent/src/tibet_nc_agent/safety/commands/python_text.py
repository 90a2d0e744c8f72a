# SPDX-License-Identifier: MIT
"""What the names and expressions of an inline Python program stand for, as far as it says."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.marks import UNKNOWN, without_marks
from tibet_nc_agent.safety.state import State

_PERCENT = re.compile(r"%[-+ #0]{0,5}\d{0,4}(?:\.\d{1,4})?[a-zA-Z]")
_FIELD = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Known:
    """What the names of one program stand for, and `~`."""

    names: dict[str, str]
    lists: dict[str, list[ast.expr]]
    home: str


def constants_of(tree: ast.Module, state: State, *, last: bool) -> Known:
    """Return what names stand for; of several values the first or the last one."""
    home = state.value("HOME")
    known = Known({}, {}, home if isinstance(home, str) else UNKNOWN)
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if not isinstance(target, ast.Name) or (not last and target.id in known.names):
                continue
            value = text_of(node.value, known)
            if value is not None:
                known.names[target.id] = value
            elif isinstance(node.value, ast.List | ast.Tuple):
                known.lists[target.id] = node.value.elts
        elif isinstance(node, ast.AugAssign) and last and isinstance(node.target, ast.Name):
            name = node.target.id
            value = text_of(ast.BinOp(node.target, node.op, node.value), known)
            if value is not None:
                known.names[name] = value
            elif isinstance(node.value, ast.List | ast.Tuple) and name in known.lists:
                known.lists[name] = [*known.lists[name], *node.value.elts]
    return known


def aliases_of(tree: ast.Module) -> dict[str, str]:
    """Return what functions are called here: `from os import system as s`, `s = os.system`."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(names=names):
                aliases.update((alias.asname, alias.name) for alias in names if alias.asname)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute(attr=function)):
                aliases[name] = function
            case _:
                pass
    return aliases


def text_of(node: ast.expr, known: Known) -> str | None:
    """Return the text of a constant expression; unknown pieces of an f-string are marked."""
    match node:
        case ast.Constant(value=str(value)):
            return without_marks(value)
        case ast.Constant(value=bytes(value)):
            return without_marks(value.decode("latin-1"))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = text_of(left, known), text_of(right, known)
            if first is None or second is None or len(first) + len(second) > limits.MAX_COMPUTED:
                return None
            return first + second
        case ast.Name(id=name):
            return known.names.get(name)
        case ast.Call(func=ast.Attribute(attr="expanduser"), args=[path]):
            return _expanded(text_of(path, known), known.home)
        case ast.JoinedStr(values=values):
            return _limited("".join(text_of(value, known) or UNKNOWN for value in values))
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            values = right.elts if isinstance(right, ast.Tuple) else [right]
            return _filled(_PERCENT, left, values, known)
        case ast.Call(func=ast.Attribute(attr="format", value=template), args=values):
            return _filled(_FIELD, template, values, known)
        case ast.Call(
            func=ast.Attribute(attr="join", value=separator), args=[ast.List() | ast.Tuple() as of]
        ):
            between = text_of(separator, known)
            texts = [text_of(element, known) or UNKNOWN for element in of.elts]
            return None if between is None else _limited(between.join(texts))
        case _:
            return None


def _filled(
    place: re.Pattern[str], template: ast.expr, values: Sequence[ast.expr], known: Known
) -> str | None:
    """Return a template with its places filled; what isn't constant is marked as unknown."""
    text = text_of(template, known)
    left = iter(values)

    def fill(_: re.Match[str]) -> str:
        value = next(left, None)
        return UNKNOWN if value is None else text_of(value, known) or UNKNOWN

    return None if text is None else _limited(place.sub(fill, text))


def _limited(text: str) -> str | None:
    return text if len(text) <= limits.MAX_COMPUTED else None


def _expanded(path: str | None, home: str) -> str | None:
    """Return a path with `~` replaced, and `~name` by the home that somebody usually has."""
    if path is None or not path.startswith("~"):
        return path
    name, slash, rest = path[1:].partition("/")
    if name:
        home = "/root" if name == "root" else f"/home/{name}"
    return f"{home}{slash}{rest}"
