# SPDX-License-Identifier: MIT
"""Builtins that change the state of the shell."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.declarations import judge_subscripts
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.expand import as_document
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.paths import resolve
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import EMPTY, Stream, positional, text_stream
from tibet_nc_agent.safety.variables import forget_assigned
from tibet_nc_agent.safety.verdict import Family

_COUNT = re.compile(r"[0-9]{1,4}")
# Settings under which other text runs than what is judged, and those that are followed.
_REREADING = frozenset(["histexpand", "keyword"])
_FOLLOWED = frozenset(["cdable_vars", "extglob", "lastpipe", "nocasematch", "posix", "xpg_echo"])
_SET_LETTERS = {"H": "histexpand", "k": "keyword"}


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
    # Then a name may be found elsewhere, or be that of a variable.
    searched = "cdable_vars" in state.settings or "CDPATH" in state.variables
    elsewhere = relative and (state.cwd is None or (searched and not target.text.startswith(".")))
    if target.text == "-" or target.unknown or target.glob or elsewhere:
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


def leave(call: Call) -> Stream:
    """`break`, `continue` and `return`: what follows may not run."""
    call.state.leaves = True
    return EMPTY


def set_shell(call: Call) -> Stream:
    """`set`: settings, and the positional parameters."""
    words = call.words
    index = 0
    while index < len(words) and words[index][:1] in ("-", "+") and words[index] not in ("-", "--"):
        word = words[index]
        names = {_SET_LETTERS[letter] for letter in word[1:] if letter in _SET_LETTERS}
        index += 1
        if "o" in word:
            names.update(words[index : index + 1])
            index += 1
        _switch(call, names, on=word[0] == "-")
    if index < len(words) and words[index] in ("-", "--"):
        index += 1
    values = call.arguments[index:]
    if values:
        call.state.positional = positional(values)
    return EMPTY


def shell_options(call: Call) -> Stream:
    """`shopt`."""
    if call.gives("-s"):
        _switch(call, {field.plain for field in call.operands}, on=True)
    elif call.gives("-u"):
        _switch(call, {field.plain for field in call.operands}, on=False)
    return EMPTY


def _switch(call: Call, names: set[str], *, on: bool) -> None:
    if on and names & _REREADING:
        call.ask(Family.TEXT, "a setting of the shell reads the text differently")
    followed = names & _FOLLOWED
    settings = call.state.settings
    call.state.settings = settings | followed if on else settings - followed


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
    given = call.arguments
    if len(given) > 1 and call.state.settings & {"csh", "fish", "tcsh"}:  # `alias name text`
        text = " ".join(field.text for field in given[1:])
        given = [given[0].with_text(f"{given[0].text}={text}")]
    for field in given:
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


def complete(call: Call) -> Stream:
    """`compgen` and `complete`: words that are expanded, commands and functions that are run."""
    for option, field in call.short_options:
        if option == "-W" and field is not None:
            text = as_document(field.text)
        elif option in ("-C", "-F") and field is not None:
            text = field.text
        else:
            continue
        call.walk.program(text, call.state.copy(), call.span)
    return Stream(producer=call.name)


def fix_command(call: Call) -> Stream:
    """`fc` runs again what the history holds, except with `-l`."""
    if not call.gives("-l"):
        call.ask(Family.OPAQUE, "runs a command of the history again")
        editor = call.value_of("-e")
        if editor is not None:
            call.walk.program(f"{editor.text} {UNKNOWN}", call.state.copy(), call.span)
    return Stream(producer="fc")


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


def let(call: Call) -> Stream:
    """`let`."""
    judge_subscripts(call)
    for field in call.arguments:
        forget_assigned(field.plain, call.state)
    return EMPTY


def nothing(call: Call) -> Stream:
    """Print nothing (`true`, `:`, `test`, `wait`); a subscript may still run a substitution."""
    judge_subscripts(call)
    return EMPTY


HANDLERS: Handlers = {
    "cd": change_directory,
    "pushd": change_directory,
    "popd": pop_directory,
    "pwd": print_directory,
    "break": leave,
    "continue": leave,
    "return": leave,
    "set": set_shell,
    "shopt": shell_options,
    "compgen": complete,
    "complete": complete,
    "fc": fix_command,
    "shift": shift,
    "alias": alias,
    "hash": hash_command,
    "jobs": jobs,
    "enable": enable,
    "bind": bind,
    "let": let,
    "wait": nothing,
    "test": nothing,
    "[": nothing,
    ":": nothing,
    "true": nothing,
    "false": nothing,
}
