# SPDX-License-Identifier: MIT
"""Endless loops that start background jobs faster than anything ends them."""

from collections.abc import Iterator

from tibet_nc_agent.safety.grammar.nodes import (
    ArithmeticCommand,
    Command,
    ForArithmetic,
    Group,
    Literal,
    Loop,
    LoopKind,
    Redirected,
    Sequence,
    SimpleCommand,
    Subshell,
)

_TRUE = frozenset([":", "true", "/bin/true", "/usr/bin/true", "yes"])
_FALSE = frozenset(["false", "/bin/false", "/usr/bin/false"])
_WAITS = frozenset(
    ["sleep", "usleep", "wait", "read", "inotifywait", "nc", "ncat", "socat", "break"]
)


def is_endless_spawner(loop: Loop | ForArithmetic) -> bool:
    """Whether a loop never ends, starts background jobs and never waits."""
    endless = _runs_forever(loop) if isinstance(loop, Loop) else _has_no_end(loop)
    if not endless:
        return False
    names = set(_command_names(loop.body))
    return _starts_jobs(loop.body) and not names & _WAITS


def _runs_forever(loop: Loop) -> bool:
    items = loop.condition.items
    if len(items) != 1 or len(items[0][0].commands) != 1:
        return False
    condition = items[0][0].commands[0]
    if isinstance(condition, SimpleCommand) and len(condition.words) == 1:
        constant = _TRUE if loop.kind is LoopKind.WHILE else _FALSE
        return condition.words[0].plain in constant
    if isinstance(condition, ArithmeticCommand) and len(condition.parts) == 1:
        part = condition.parts[0]
        if isinstance(part, Literal) and part.text.strip().isdigit():
            return (int(part.text) != 0) is (loop.kind is LoopKind.WHILE)
    return isinstance(condition, SimpleCommand) and _is_constant_test(condition)


def _is_constant_test(condition: SimpleCommand) -> bool:
    """`[ 1 ]`, `test 1`, `[ 1 = 1 ]`, `[ 1 -eq 1 ]`."""
    words = [word.plain for word in condition.words]
    if words[:1] == ["["] and words[-1:] == ["]"]:
        words = words[1:-1]
    elif words[:1] == ["test"]:
        words = words[1:]
    else:
        return False
    return len(words) == 1 or (
        len(words) == 3 and words[1] in ("=", "==", "-eq") and words[0] == words[2] is not None
    )


def _has_no_end(loop: ForArithmetic) -> bool:
    text = "".join(part.text for part in loop.parts if isinstance(part, Literal))
    sections = text.split(";")
    return len(sections) == 3 and sections[1].strip() in ("", "1")


def _starts_jobs(body: Sequence) -> bool:
    for pipeline, operator in body.items:
        if operator == "&":
            return True
        for command in pipeline.commands:
            inner = command.command if isinstance(command, Redirected) else command
            if isinstance(inner, Group | Subshell | Loop) and _starts_jobs(inner.body):
                return True
    return False


def _command_names(body: Sequence) -> Iterator[str]:
    """Yield the names of the commands that the loop waits for."""
    for pipeline, operator in body.items:
        if operator == "&":
            continue
        for command in pipeline.commands:
            yield from _names_in(command)


def _names_in(command: Command) -> Iterator[str]:
    inner = command.command if isinstance(command, Redirected) else command
    if isinstance(inner, SimpleCommand):
        for word in inner.words:
            yield (word.plain or "").rpartition("/")[2]
    elif isinstance(inner, Group | Subshell):
        yield from _command_names(inner.body)
    elif isinstance(inner, Loop):
        yield from _command_names(inner.condition)
        yield from _command_names(inner.body)
