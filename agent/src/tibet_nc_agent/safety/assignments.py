# SPDX-License-Identifier: MIT
"""Assignments: the values they leave, and variables whose value is itself a command."""

import re
from collections.abc import Iterator
from typing import Protocol

from tibet_nc_agent.safety.call import Walk
from tibet_nc_agent.safety.expand import Expander, as_document
from tibet_nc_agent.safety.grammar.nodes import (
    Assignment,
    Case,
    Command,
    Coprocess,
    ForArithmetic,
    ForEach,
    Group,
    If,
    Loop,
    Redirected,
    Sequence,
    SimpleCommand,
    Subshell,
)
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.paths import resolve
from tibet_nc_agent.safety.values import Field, State, Value
from tibet_nc_agent.safety.verdict import Decision, Family

RUN_AS_COMMAND = frozenset(
    [
        "PROMPT_COMMAND",
        "PAGER",
        "MANPAGER",
        "GIT_PAGER",
        "EDITOR",
        "VISUAL",
        "GIT_EDITOR",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "RSYNC_RSH",
        "BROWSER",
        "LESSOPEN",
        "SYSTEMD_PAGER",
        "SUDO_EDITOR",
        "SUDO_ASKPASS",
        "SSH_ASKPASS",
        "GIT_ASKPASS",
    ]
)
PROMPTS = frozenset(["PS0", "PS1", "PS2", "PS4"])
# Variables that name files which run before anything else does, and what they are run with.
RUN_AS_FILE = {"BASH_ENV": ("bash",), "ENV": ("sh",), "LD_PRELOAD": ()}
_NAMES_OF_COMMANDS = frozenset(["BASH_ALIASES", "BASH_CMDS"])
_FILES = re.compile(r"[: ]")
_HISTORY_OFF = {
    "HISTFILE": ("", "/dev/null"),
    "HISTSIZE": ("0",),
    "HISTFILESIZE": ("0",),
}
_ASSIGNING = frozenset(
    ["read", "export", "local", "declare", "typeset", "mapfile", "readarray", "let", "getopts"]
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
        walk.expander.run_inside(node.subscript, state)
    value, fields = _value(walk, node, state)
    for names, tainted in (
        (state.downloaded, any(field.downloaded for field in fields)),
        (state.decoded, any(field.decoded for field in fields)),
    ):
        if tainted:
            names.add(f"${node.name}")
        elif not node.append:
            names.discard(f"${node.name}")
    span = (node.start, node.end)
    if node.name in _NAMES_OF_COMMANDS:
        reason = f"{node.name} changes what a command name means"
        walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, span, state)
        for field in fields:
            walk.program(field.text, state.copy(), span, lax=True)
    for field in fields:
        judge_subscript(walk, field, state)  # arithmetic evaluates the value again
        if node.name in RUN_AS_FILE and field.stream is not None:
            walk.feed(field.stream, state, span)
    if isinstance(value, str):
        judge_special(walk, node.name, value, state, span)
    state.variables[node.name] = None if node.subscript is not None else value


def judge_subscript(walk: Walk, field: Field, state: State) -> None:
    """Judge the substitution that a quoted subscript still runs."""
    text = field.plain
    inside = text[text.find("[") + 1 : text.rfind("]") + 1] if "[" in text else ""
    if "$(" in inside or "`" in inside:
        walk.program(as_document(inside), state.copy(), (field.start, field.end), lax=True)


def judge_special(walk: Walk, name: str, value: str, state: State, span: tuple[int, int]) -> None:
    """Judge the value of a variable that a shell or another program runs."""
    if value in _HISTORY_OFF.get(name, ()):
        reason = f"{name} switches the history of commands off"
        walk.report(Decision.DENY, Family.LOGS, reason, span, state)
    if name in RUN_AS_COMMAND:
        walk.program(value.lstrip("|-") if name == "LESSOPEN" else value, state.copy(), span)
    elif name in RUN_AS_FILE:
        _judge_files(walk, RUN_AS_FILE[name], value, state, span)
    elif name in PROMPTS:
        walk.program(as_document(value), state.copy(), span)


def _judge_files(
    walk: Walk, program: tuple[str, ...], value: str, state: State, span: tuple[int, int]
) -> None:
    """Judge files that run before anything else, if the same command has made them.

    Any other is as good as any other script: what is in it isn't known here.
    """
    for file in _FILES.split(value):
        path = plain(resolve(file, state) or "")
        if path in state.downloaded or path in state.decoded or path in state.files:
            words = (*program, path)
            walk.run([Field(word, *span) for word in words], state.copy(), None)


def _value(walk: ExpandingWalk, node: Assignment, state: State) -> tuple[Value, list[Field]]:
    before = state.variables.get(node.name)
    if isinstance(node.value, tuple):
        fields, elements = walk.expander.array(node.value, state)
        if elements is not None and node.append and isinstance(before, tuple):
            elements = before + elements
        return elements, fields
    field = walk.expander.single(node.value, state)
    if UNKNOWN in field.text:
        # A value with known pieces stays useful: what surrounds the unknown is still seen.
        known = field.text if field.text != UNKNOWN and not node.append else None
        return known, [field]
    text = plain(field.text)
    if node.append:
        return (before + text if isinstance(before, str) else None), [field]
    return text, [field]


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
