# SPDX-License-Identifier: MIT
"""Assignments: what they make of the values of variables."""

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Protocol

from tibet_nc_agent.safety.call import Walk
from tibet_nc_agent.safety.expand import Expander
from tibet_nc_agent.safety.grammar.nodes import (
    Assignment,
    Case,
    Command,
    Coprocess,
    ForArithmetic,
    ForEach,
    Group,
    If,
    Literal,
    Loop,
    Part,
    Redirected,
    Sequence,
    SimpleCommand,
    Subshell,
)
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import Field, Value
from tibet_nc_agent.safety.variables import set_attributes, store

_ASSIGNING = frozenset(
    ["read", "export", "local", "declare", "typeset", "mapfile", "readarray", "let", "getopts"]
)
_DECLARING = frozenset(["declare", "export", "local", "readonly", "typeset"])
_SPECIAL = frozenset(
    [
        ".",
        ":",
        "break",
        "continue",
        "eval",
        "exec",
        "export",
        "readonly",
        "return",
        "set",
        "shift",
        "source",
        "times",
        "trap",
        "unset",
    ]
)
_IN_CURRENT_SHELL = frozenset(
    [
        *_SPECIAL,
        *_DECLARING,
        "alias",
        "builtin",
        "cd",
        "command",
        "getopts",
        "let",
        "mapfile",
        "popd",
        "printf",
        "pushd",
        "read",
        "readarray",
        "shopt",
    ]
)
_NAME = re.compile(r"[A-Za-z_]\w*")


class ExpandingWalk(Walk, Protocol):
    """A walk that expands words."""

    @property
    def expander(self) -> Expander:
        """The expander of this walk."""
        raise NotImplementedError


def assign(walk: ExpandingWalk, node: Assignment, state: State) -> None:
    """Carry out an assignment in the abstract state."""
    if node.subscript is not None:
        walk.expander.arithmetic_text(node.subscript, state)
    name = node.name if node.subscript is None else f"{node.name}[{_index(node.subscript)}]"
    value, fields = _value(walk, node, state)
    store(walk, name, value, fields, state)


def _index(subscript: tuple[Part, ...]) -> str:
    match subscript:
        case (Literal(text=text),) if text.isdigit():
            return text
        case _:
            return UNKNOWN


def _value(walk: ExpandingWalk, node: Assignment, state: State) -> tuple[Value, list[Field]]:
    before: Value = ""
    if node.append:
        before = state.value(node.name) if node.subscript is None else None
    if isinstance(node.value, tuple):
        fields, elements = walk.expander.array(node.value, state)
        if elements is not None and node.append:
            whole = state.value(node.name, "@")
            elements = whole + elements if isinstance(whole, tuple) else None
        return elements, fields
    field = walk.expander.single(node.value, state)
    # A value with known pieces stays useful: what surrounds the unknown is still seen.
    text = appended(before, plain(field.text)) if node.append else plain(field.text)
    if isinstance(before, tuple) or text == UNKNOWN:
        return None, [field]
    return text, [field]


@contextmanager
def prefixed(
    walk: ExpandingWalk, assignments: tuple[Assignment, ...], fields: list[Field], state: State
) -> Generator[State]:
    """Yield the state in which a command runs that assignments stand before.

    They end with the command, except that `export` and its kind keep what they name, and that a
    shell in the mode of POSIX keeps what stands before a special builtin.
    """
    name = fields[0].text if fields else ""
    if not assignments or name not in _IN_CURRENT_SHELL:
        where = state.copy() if assignments else state
        for assignment in assignments:
            assign(walk, assignment, where)
            set_attributes(assignment.name, "x", "", where)
        yield where
        return
    before = state.variables.copy()
    for assignment in assignments:
        assign(walk, assignment, state)
    during = state.variables.copy()
    yield state
    named = fields[1:] if name in _DECLARING else []
    kept = {field.plain.partition("=")[0] for field in named}
    for variable in {assignment.name for assignment in assignments} - kept:
        changed = state.variables.get(variable) != during.get(variable)
        persists = "posix" in state.settings and name in _SPECIAL
        if changed or persists:
            state.variables[variable] = None
        elif variable in before:
            state.variables[variable] = before[variable]
        else:
            state.variables.pop(variable, None)


def appended(before: Value, text: str) -> str:
    """Return a value with text behind it, as far as it is known."""
    return (before if isinstance(before, str) else UNKNOWN) + text


def assigned_names(node: Sequence) -> set[str]:
    """Return the variables that a list may assign."""
    return set(_in_sequence(node))


def _in_sequence(node: Sequence) -> Iterator[str]:
    for pipeline, _ in node.items:
        for command in pipeline.commands:
            yield from _in_command(command)


def _in_command(node: Command) -> Iterator[str]:
    match node:
        case SimpleCommand():
            yield from (assignment.name for assignment in node.assignments)
            if node.words and node.words[0].plain in _ASSIGNING:
                for word in node.words[1:]:
                    found = _NAME.match(word.plain or "")
                    if found is not None:
                        yield found.group()
        case Redirected():
            yield from _in_command(node.command)
        case Group() | Subshell() | ForArithmetic():
            yield from _in_sequence(node.body)
        case Coprocess():
            yield node.name
            yield from _in_command(node.body)
        case ForEach():
            yield node.name
            yield from _in_sequence(node.body)
        case Loop():
            yield from _in_sequence(node.condition)
            yield from _in_sequence(node.body)
        case If():
            for condition, body in node.branches:
                yield from _in_sequence(condition)
                yield from _in_sequence(body)
            if node.otherwise is not None:
                yield from _in_sequence(node.otherwise)
        case Case():
            for _, body in node.items:
                yield from _in_sequence(body)
        case _:
            pass
