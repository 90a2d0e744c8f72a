# SPDX-License-Identifier: MIT
"""Builtins that give variables their values, or say what lasts for all later values."""

import re

import msgspec

from tibet_nc_agent.safety.assignments import appended
from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.quoting import quoted
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.redirections import descriptor_input
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import EMPTY, Field, Source, Stream, Value
from tibet_nc_agent.safety.variables import judge_subscript, set_attributes, store

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*(?:\[.*?\])?)(\+?=)(.*)", re.DOTALL)
_SWITCHES = re.compile(r"[-+][A-Za-z]+")
_BLANKS = re.compile(r"[ \t]+")
_MOST_ELEMENTS = 256
_MAKES_LOCAL = frozenset(["declare", "local", "typeset"])  # in a function
# With one of these it isn't the first line, or not all of it.
_READS_OTHERWISE = ("-d", "-e", "-i", "-n", "-N", "-t")
_SEVERITY = list(Level)  # the worst comes first


def read(call: Call) -> Stream:
    """`read`: variables from a line of the input."""
    judge_subscripts(call)
    array = call.value_of("-a")
    names = [array.plain] if array is not None else [f.plain for f in call.operands]
    stdin = _input(call)
    line = _next_line(call.state, stdin)
    if line is not None and "\\" in line and not call.gives("-r"):
        line = None if line.endswith("\\") else re.sub(r"\\(.)", r"\1", line)
    if any(call.gives(option) for option in _READS_OTHERWISE):
        line = None
    values = _split_line(line, max(len(names), 1), call.state)
    if array is not None:
        values = [tuple((line or "").split()) if line is not None and values[0] else None]
    elif values == [None] and stdin is not None and stdin.roots:
        values = [_worst_found(call, stdin)]
    for name, value in zip(names or ["REPLY"], values, strict=True):
        _store_input(call, name, line if not names else value, stdin)
    return EMPTY


def _next_line(state: State, stdin: Stream | None) -> str | None:
    """Return the line that comes next, if it is known and known how much was read before."""
    if stdin is None or stdin.source is not Source.TEXT or stdin.known is None:
        return None
    lines = stdin.known.removesuffix("\n").split("\n")
    if len(lines) == 1:
        return lines[0]
    if stdin.kept:
        return None
    return state.reading.line(stdin, lines, sure=not state.conditional)


def _split_line(line: str | None, count: int, state: State) -> list[Value]:
    """Return what each of so many names gets of a line: the last one all the rest."""
    separators = state.value("IFS")
    if line is None or (separators == "" and count > 1):
        return [None] * count
    if separators == "":
        return [line]
    if separators != " \t\n":
        return [None] * count
    line = line.strip(" \t")
    words: list[Value] = [*_BLANKS.split(line, count - 1)] if count > 1 else [line]
    return words + [""] * (count - len(words))


def _worst_found(call: Call, stdin: Stream) -> Value:
    found = min(
        (root.found[-1] for root in stdin.roots),
        key=lambda path: _SEVERITY.index(call.walk.place(path, call.state).level),
    )
    return None if found == UNKNOWN else found


def _input(call: Call) -> Stream | None:
    """Return the standard input, or what `-u` names."""
    number = call.value_of("-u")
    return call.stdin if number is None else descriptor_input(number.text, call.state)


def _store_input(call: Call, name: str, value: Value, stdin: Stream | None) -> None:
    downloaded = stdin is not None and stdin.downloaded
    decoded = stdin is not None and stdin.decoded
    texts = value if isinstance(value, tuple) else (UNKNOWN if value is None else value,)
    producer = "" if stdin is None else stdin.producer
    fields = [
        Field(text, *call.span, downloaded=downloaded, decoded=decoded, producer=producer)
        for text in texts
    ]
    store(call.walk, name, value, fields, call.state)


def map_lines(call: Call) -> Stream:
    """`mapfile`: an array of the lines of the input; `-C` runs a command for them."""
    judge_subscripts(call)
    stdin = _input(call)
    callback = call.value_of("-C")
    if callback is not None:
        text = f"{callback.text} 0 {UNKNOWN}"
        if stdin is not None and stdin.known is not None:
            text = f"{callback.text} 0 {quoted(stdin.known.partition(chr(10))[0])}"
        call.walk.program(text, call.state, call.span)
    lines: Value = None
    moved = any(call.value_of(option) is not None for option in ("-d", "-n", "-O", "-s"))
    if stdin is not None and stdin.known is not None and not moved:
        every = stdin.known.splitlines(keepends=not call.gives("-t"))
        lines = tuple(every) if len(every) <= _MOST_ELEMENTS else None
    if stdin is not None and stdin.roots:
        lines = _worst_found(call, stdin)
    names = [field.plain for field in call.operands[:1]] or ["MAPFILE"]
    _store_input(call, names[0], lines, stdin)
    return EMPTY


def get_options(call: Call) -> Stream:
    """`getopts`: what it finds among the arguments isn't followed."""
    judge_subscripts(call)
    for name in [*(field.plain for field in call.operands[1:2]), "OPTARG", "OPTIND"]:
        _store_input(call, name, None, None)
    return EMPTY


def declare(call: Call) -> Stream:
    """`declare`, `local`, `export`, `readonly`: values, and what lasts for all later ones."""
    judge_subscripts(call)
    on, off, index = _switches(call)
    if call.name == "readonly":
        on = {*on, "r"} - {"n"}
    elif call.name == "export":
        on, off = (on - {"n"}, {"x"}) if "n" in on else (on | {"x"}, off)
    if on & {"f", "F", "p"}:
        return EMPTY
    for field in call.arguments[index:]:
        found = _ASSIGNMENT.fullmatch(field.text)
        name = found.group(1) if found is not None else field.plain.partition("=")[0]
        base = name.partition("[")[0]
        if call.name in _MAKES_LOCAL and call.state.active and "g" not in on:
            call.state.forget_local(base)
        if found is not None and "n" not in on:
            set_attributes(base, "".join(on - {"r"}), "".join(off), call.state)
            _declared(call, field, found, on)
        elif found is not None:
            call.state.variables[base] = plain(found.group(3))
        elif "=" in field.text:  # the name is computed
            store(call.walk, UNKNOWN, None, [field], call.state)
        if found is None or on & {"n", "r"}:
            set_attributes(base, "".join(on), "".join(off), call.state)
    return EMPTY


def _switches(call: Call) -> tuple[set[str], set[str], int]:
    """Return the letters behind `-`, those behind `+`, and where the names begin."""
    on: set[str] = set()
    off: set[str] = set()
    for index, word in enumerate(call.words):
        if not _SWITCHES.fullmatch(word):
            return on, off, index + (word == "--")
        (on if word[0] == "-" else off).update(word[1:])
    return on, off, len(call.words)


def _declared(call: Call, field: Field, found: re.Match[str], on: set[str]) -> None:
    """Give a declared name the value behind it."""
    name, operator, text = found.groups()
    text = plain(text)
    value: Value = text
    if field.elements is not None:
        value = field.elements if operator == "=" else None
    elif on & {"a", "A"} and text.startswith("("):
        call.walk.program(f": {text[1:-1]}", call.state.copy(), call.span, lax=True)
        value = None
    elif operator == "+=":
        before = call.state.value(name)
        value = None if isinstance(before, tuple) else appended(before, text)
    texts = field.elements or (text,)
    fields = [msgspec.structs.replace(field, text=text, elements=None) for text in texts]
    store(call.walk, name, None if value == UNKNOWN else value, fields, call.state)


def unset(call: Call) -> Stream:
    """`unset`."""
    judge_subscripts(call)
    state = call.state
    functions, references = call.gives("-f"), call.gives("-n")
    for field in call.operands:
        word = field.plain
        name: str | None = word.partition("[")[0]
        if name and not references:
            name = state.target(name)
        is_reference = name is not None and "n" in state.attributes.get(name, "")
        if name is None or is_reference != references:
            state.forget()
        elif "r" in state.attributes.get(name, ""):
            continue
        elif functions:
            state.functions.pop(word, None)
        elif "[" in word:
            state.variables[name] = None
        elif name == "IFS":  # words are split at blanks again
            state.variables.pop(name, None)
        else:
            state.variables[name] = None if state.active else ""  # or what a local one has hidden
            state.attributes.pop(name, None)
            state.functions.pop(word, None)
    return EMPTY


def judge_subscripts(call: Call) -> None:
    """`test -v 'a[$(cmd)]'` and its kind evaluate the subscript, and so run the substitution."""
    for field in call.arguments:
        judge_subscript(call.walk, field.plain, call.state, (field.start, field.end))


HANDLERS: Handlers = {
    "read": read,
    "mapfile": map_lines,
    "readarray": map_lines,
    "getopts": get_options,
    "export": declare,
    "declare": declare,
    "typeset": declare,
    "local": declare,
    "readonly": declare,
    "unset": unset,
}
