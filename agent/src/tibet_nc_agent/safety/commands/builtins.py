# SPDX-License-Identifier: MIT
"""Builtins that change the state of the shell."""

import re

from tibet_nc_agent.safety.assignments import RUN_AS_FILE, judge_special, judge_subscript
from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.paths import resolve
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.values import EMPTY, Source, State, Stream, Value, text_stream
from tibet_nc_agent.safety.verdict import Family

_NAME = re.compile(r"[A-Za-z_]\w*")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?=)(.*)", re.DOTALL)
_COUNT = re.compile(r"[0-9]{1,4}")
_ARRAY_OPTION = re.compile(r"-[a-z]*a")
_ATTRIBUTE_OPTION = re.compile(r"-[a-zA-Z]*[aAilu][a-zA-Z]*")  # which changes what is assigned
_REFERENCE_OPTION = re.compile(r"-[a-zA-Z]*n[a-zA-Z]*")

_SEVERITY = list(Level)  # the worst comes first


def change_directory(call: Call) -> Stream:
    """`cd` and `pushd`."""
    state = call.state
    operands = [f for f in call.arguments if not (f.text.startswith("-") and len(f.text) > 1)]
    if not operands:
        home = state.value("HOME")
        state.cwd = home if isinstance(home, str) and UNKNOWN not in home else None
        return EMPTY
    target = operands[0]
    relative = not target.text.startswith("/")
    path = resolve(target.text, state)
    if plain(target.text) in state.downloaded or (path and plain(path) in state.downloaded):
        state.cwd_downloaded = True
    if target.text == "-" or target.unknown or target.glob or (relative and state.cwd is None):
        state.cwd = None
    else:
        state.cwd = path
    return EMPTY


def pop_directory(call: Call) -> Stream:
    """`popd` goes back to a directory that is not known."""
    call.state.cwd = None
    return EMPTY


def print_directory(call: Call) -> Stream:
    """`pwd`."""
    return text_stream(f"{call.state.cwd}\n") if call.state.cwd else Stream()


def read(call: Call) -> Stream:
    """`read`, `mapfile`, `getopts`: variables from the input."""
    judge_subscripts(call)
    names = [word for word in call.words if _NAME.fullmatch(word)] or ["REPLY"]
    stdin = call.stdin
    line = None
    if len(names) == 1 and stdin is not None and stdin.source is Source.TEXT and stdin.known:
        line = stdin.known.split("\n", 1)[0].strip()
    value: Value = line
    if line is None and len(names) == 1 and stdin is not None and stdin.roots:
        found = min(
            (root.found[-1] for root in stdin.roots),
            key=lambda path: _SEVERITY.index(call.walk.place(path, call.state).level),
        )
        value = None if found == UNKNOWN else found
    if line is not None and any(_ARRAY_OPTION.fullmatch(word) for word in call.words):
        value = tuple(line.split()) if "IFS" not in call.state.variables else None
    for name in names:
        call.state.variables[name] = value
        if stdin is not None and stdin.downloaded:
            call.state.downloaded.add(f"${name}")
    return EMPTY


def declare(call: Call) -> Stream:
    """`export`, `declare`, `local`, `readonly`; `-n` makes another name for a variable."""
    judge_subscripts(call)
    refers = any(_REFERENCE_OPTION.fullmatch(word) for word in call.words)
    changes = any(_ATTRIBUTE_OPTION.fullmatch(word) for word in call.words)
    for field in call.arguments:
        found = _ASSIGNMENT.match(field.text)
        if found is None:
            continue
        name, operator, value = found.groups()
        if field.downloaded:
            call.state.downloaded.add(f"${name}")
        if name in RUN_AS_FILE and field.stream is not None:
            call.walk.feed(field.stream, call.state, (field.start, field.end))
        if refers:
            call.state.variables[value] = None  # an assignment to either changes it
        if changes and value.startswith("("):
            call.walk.program(f": {plain(value)[1:-1]}", call.state.copy(), call.span, lax=True)
        kept = not changes or field.elements is not None or plain(value).isdigit()
        known = operator == "=" and UNKNOWN not in value and not refers and kept
        call.state.variables[name] = (field.elements or plain(value)) if known else None
        if known and not field.elements:
            judge_special(call.walk, name, plain(value), call.state, (field.start, field.end))
    return EMPTY


def unset(call: Call) -> Stream:
    """`unset`."""
    judge_subscripts(call)
    for word in call.words:
        if word == "IFS":  # words are split at blanks again
            call.state.variables.pop(word, None)
        else:
            call.state.variables[word] = ""
        call.state.functions.pop(word, None)
    return EMPTY


def leave(call: Call) -> Stream:
    """`break`, `continue` and `return`: what follows may not run."""
    call.state.leaves = True
    return EMPTY


def set_positional(call: Call) -> Stream:
    """`set -- a b`."""
    words = call.words
    index = 0
    while index < len(words) and words[index][:1] in ("-", "+") and words[index] != "--":
        index += 2 if words[index] in ("-o", "+o") else 1
    if index < len(words) and words[index] == "--":
        index += 1
    values = call.arguments[index:]
    if values:
        call.state.positional = {
            str(position): None if field.unknown else field.text
            for position, field in enumerate(values, start=1)
        }
    return EMPTY


def shift(call: Call) -> Stream:
    """`shift`."""
    count = _COUNT.fullmatch(call.words[0]) if call.words else None
    if call.words and count is None:
        call.state.positional = dict.fromkeys(call.state.positional)
        return EMPTY
    places = int(count.group()) if count is not None else 1
    moved = {
        str(int(name) - places): value
        for name, value in call.state.positional.items()
        if name.isdigit() and int(name) > places
    }
    call.state.positional = moved
    return EMPTY


def alias(call: Call) -> Stream:
    """`alias`: a later line may use it, so its text is judged where it is defined."""
    for field in call.arguments:
        name, equals, value = field.text.partition("=")
        if not equals:
            continue
        if field.downloaded:
            call.deny(Family.PIPE_TO_SHELL, "an alias made of downloaded text")
        inner: State = call.state.copy()
        inner.active = (*inner.active, name)
        call.walk.program(value, inner, (field.start, field.end))
        call.state.aliases[name] = value
    return EMPTY


def hash_command(call: Call) -> Stream:
    """`hash -p path name` changes what a command name means."""
    if call.has("-p"):
        call.ask(Family.OPAQUE, "hash -p changes what a command name means")
    return EMPTY


def jobs(call: Call) -> Stream:
    """`jobs -x` runs a command."""
    if call.words[:1] == ["-x"] and len(call.words) > 1:
        return call.walk.run(call.arguments[1:], call.state, call.stdin)
    return Stream(producer="jobs")


def enable(call: Call) -> Stream:
    """`enable -f` loads native code."""
    if call.has("-f"):
        call.ask(Family.OPAQUE, "loads native code into the shell")
    return EMPTY


def bind(call: Call) -> Stream:
    """`bind -x` makes a key run a command."""
    if call.has("-f"):
        call.ask(Family.OPAQUE, "reads key bindings from a file")
    if call.has("-x"):
        for field in call.arguments:
            keys, colon, program = field.text.partition(":")
            if colon and keys:
                text = program.strip().removeprefix('"').removesuffix('"')
                call.walk.program(text, call.state.copy(), call.span)
    return EMPTY


def nothing(call: Call) -> Stream:
    """Print nothing (`true`, `:`, `test`); a subscript may still run a substitution."""
    judge_subscripts(call)
    return EMPTY


def judge_subscripts(call: Call) -> None:
    """`test -v 'a[$(cmd)]'` and its kind evaluate the subscript, and so run the substitution."""
    for field in call.arguments:
        judge_subscript(call.walk, field, call.state)


HANDLERS: Handlers = {
    "cd": change_directory,
    "pushd": change_directory,
    "popd": pop_directory,
    "pwd": print_directory,
    "read": read,
    "mapfile": read,
    "readarray": read,
    "getopts": read,
    "export": declare,
    "declare": declare,
    "typeset": declare,
    "local": declare,
    "readonly": declare,
    "unset": unset,
    "break": leave,
    "continue": leave,
    "return": leave,
    "set": set_positional,
    "shift": shift,
    "alias": alias,
    "hash": hash_command,
    "jobs": jobs,
    "enable": enable,
    "bind": bind,
    "let": nothing,
    "test": nothing,
    "[": nothing,
    ":": nothing,
    "true": nothing,
    "false": nothing,
}
