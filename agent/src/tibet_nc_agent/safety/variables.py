# SPDX-License-Identifier: MIT
"""The one way in which a variable gets its value, whatever command gives it.

Facts:

* What `declare` says of a name lasts: the value is lowered, computed, or goes to another variable
  at every later assignment, also by `read`, `printf -v` or a loop.
* Bash runs values: the text of a prompt, an entry of `BASH_ALIASES`, a substitution that stands in
  a subscript. So do programs: `EDITOR`, `PAGER`.
"""

import re
import shlex

from tibet_nc_agent.safety.call import Span, Walk
from tibet_nc_agent.safety.expand import as_document, as_prompt, assigned, evaluate, evaluated
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.paths import made
from tibet_nc_agent.safety.state import ATTRIBUTES, UNSURE, State
from tibet_nc_agent.safety.values import COUNTED, Field, Value, integer
from tibet_nc_agent.safety.verdict import Decision, Family

RUN_AS_COMMAND = frozenset(
    [
        "PROMPT_COMMAND",
        "PAGER",
        "MANPAGER",
        "GIT_PAGER",
        "EDITOR",
        "VISUAL",
        "FCEDIT",
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
# And any other that is named like one of these: BAT_PAGER, HGEDITOR, CVS_RSH.
_NAMED_LIKE_A_COMMAND = re.compile(
    r"(?:[A-Z][A-Z0-9_]*)?(?:PAGER|EDITOR|VISUAL|ASKPASS|RSH|SSH|BROWSER|TERMINAL|SHELL"
    r"|LESSCLOSE|DEFAULT_COMMAND|SSH_COMMAND|EXTERNAL_DIFF|PROXY_COMMAND)"
    r"|GIT_CONFIG_VALUE_\d+|CC|CXX|RUSTC|RUSTC(?:_WORKSPACE)?_WRAPPER|npm_config_script_shell"
)
# Variables that hold options, and whose.
_OPTIONS_OF = {
    "FZF_DEFAULT_OPTS": ("fzf",),
    "GIT_CONFIG_PARAMETERS": ("git", "-c"),
    "LESS": ("less",),
    "MAKEFLAGS": ("make",),
    "MORE": ("more",),
    "NODE_OPTIONS": ("node",),
    "PERL5OPT": ("perl",),
    "RUBYOPT": ("ruby",),
    "TAR_OPTIONS": ("tar",),
    "ZIPOPT": ("zip",),
}
# Variables that hold code, and what it is for.
_CODE_OF = {
    "EXINIT": ("ex", "-c"),
    "LUA_INIT": ("lua", "-e"),
    "PERL5DB": ("perl", "-e"),
    "VIMINIT": ("vim", "-c"),
}
PROMPTS = frozenset(["PS0", "PS1", "PS2", "PS4"])
# Variables that name files which run before anything else does, and what they are run with.
RUN_AS_FILE = {
    "BASH_ENV": ("bash",),
    "ENV": ("sh",),
    "LD_PRELOAD": (),
    "PYTHONSTARTUP": ("python3",),
}
# Bash gives them other values than those that they are assigned.
_CHANGING = frozenset(
    [
        "_",
        "BASHPID",
        "BASH_COMMAND",
        "BASH_REMATCH",
        "COLUMNS",
        "DIRSTACK",
        "EPOCHREALTIME",
        "EPOCHSECONDS",
        "FUNCNAME",
        "GROUPS",
        "HISTCMD",
        "LINENO",
        "LINES",
        "OLDPWD",
        "OPTARG",
        "OPTIND",
        "PIPESTATUS",
        "PWD",
        "RANDOM",
        "SECONDS",
        "SHLVL",
        "SRANDOM",
    ]
)
_NAMES_OF_COMMANDS = frozenset(["BASH_ALIASES", "BASH_CMDS"])
_EXPORTED_FUNCTION = "BASH_FUNC_"
_FILES = re.compile(r"[: ]")
_HISTORY_OFF = {
    "HISTFILE": ("", "/dev/null"),
    "HISTSIZE": ("0",),
    "HISTFILESIZE": ("0",),
}
_NAME = re.compile(r"[A-Za-z_]\w*")


def store(walk: Walk, name: str, value: Value, fields: list[Field], state: State) -> None:
    """Give a variable its value, and judge what this runs; `fields` are what it is made of."""
    span = (fields[0].start, fields[-1].end) if fields else (0, 0)
    base, bracket, subscript = name.partition("[")
    if base.startswith(_EXPORTED_FUNCTION):
        for field in fields:
            walk.program(f"exported{field.text}", state.copy(), span)
        return
    judge_subscript(walk, name, state, span)
    for field in fields:
        judge_subscript(walk, field.plain, state, span)  # arithmetic evaluates the value again
    target = state.target(base) if _NAME.fullmatch(base) else None
    if target is None:
        state.forget()  # whichever it is
        return
    if target == "":
        state.variables[base] = value if isinstance(value, str) else None
        return
    target, indexed, inside = target.partition("[")
    element = bool(bracket or indexed)
    if element:
        value = _with_element(state.variables.get(target), (inside or subscript)[:-1], value)
    _taint(target, fields, state, whole=not element)
    attributes = state.attributes.get(target, "")
    for text in (value,) if isinstance(value, str) else [field.plain for field in fields]:
        if "i" in attributes:
            forget_assigned(text, state)
        shaped = _shaped(text, attributes, state)
        judge_special(walk, target, text if shaped is None else shaped, state, span)
    if target in RUN_AS_FILE:
        for field in fields:
            if field.stream is not None:
                walk.feed(field.stream, state, span)
    if "r" not in attributes:
        unknown = target in _CHANGING or "A" in attributes
        _set(target, None if unknown else value, attributes, state)
    elif UNSURE in attributes:
        _set(target, None, attributes, state)


def _with_element(array: Value, index: str, value: Value) -> Value:
    """Return an array with another value in one place, None if that cannot be known."""
    place = integer(index)
    if not isinstance(array, tuple) or not isinstance(value, str) or place is None:
        return None
    return None if place > len(array) else (*array[:place], value, *array[place + 1 :])


def _set(name: str, value: Value, attributes: str, state: State) -> None:
    if isinstance(value, tuple):
        shaped = [_shaped(text, attributes, state) for text in value]
        known = tuple(text for text in shaped if text is not None)
        state.variables[name] = known if len(known) == len(shaped) else None
    else:
        state.variables[name] = None if value is None else _shaped(value, attributes, state)
    if name == "POSIXLY_CORRECT":
        state.settings |= {"posix"}
    if name == "BASH_ARGV0":
        state.positional = {**state.positional, "0": value if isinstance(value, str) else None}


def _taint(name: str, fields: list[Field], state: State, *, whole: bool) -> None:
    if any(field.producer == COUNTED for field in fields):
        state.counted |= {name}
    elif whole and not state.conditional:  # or a loop in a loop would be walked twice each time
        state.counted -= {name}
    for names, tainted in (
        (state.downloaded, any(field.downloaded for field in fields)),
        (state.decoded, any(field.decoded for field in fields)),
    ):
        if tainted:
            names.add(f"${name}")
        elif whole:
            names.discard(f"${name}")


def forget_assigned(text: str, state: State) -> None:
    """Make a calculated number of what a text assigns that is evaluated as arithmetic."""
    for evaluating in evaluated(text, state.value):
        for name in assigned(evaluating):
            state.calculate(name)


def _shaped(text: str, attributes: str, state: State) -> str | None:
    """Return what the attributes of a variable make of a value."""
    if not any(letter in attributes for letter in "luci"):
        return text
    if UNSURE in attributes:
        return None
    if "i" in attributes:
        number = evaluate(text, lambda name: integer(state.value(name)))
        return None if number is None else str(number)
    if "c" in attributes:
        return text.capitalize()
    return text.lower() if "l" in attributes else text.upper()


def set_attributes(name: str, on: str, off: str, state: State) -> None:
    """Carry out what the options of `declare` say of a name."""
    before = state.attributes.get(name, "")
    kept = [letter for letter in before if letter not in off]
    added = [letter for letter in ATTRIBUTES if letter in on]
    if before and state.active:  # may be another one, local to the function
        added.append(UNSURE)
    if any(letter in "luc" for letter in added):
        kept = [letter for letter in kept if letter not in "luc"]
    state.attributes[name] = "".join(sorted({*kept, *added}))


def judge_subscript(walk: Walk, text: str, state: State, span: Span) -> None:
    """Judge the substitution that a quoted subscript still runs."""
    inside = text[text.find("[") + 1 : text.rfind("]") + 1] if "[" in text else ""
    forget_assigned(inside, state)
    if "$(" in inside or "`" in inside:
        walk.program(as_document(inside), state.copy(), span)


def judge_special(walk: Walk, name: str, value: str, state: State, span: Span) -> None:
    """Judge the value of a variable that a shell or another program runs."""
    if value in _HISTORY_OFF.get(name, ()):
        reason = f"{name} switches the history of commands off"
        walk.report(Decision.DENY, Family.LOGS, reason, span, state)
    if name in RUN_AS_COMMAND and value != UNKNOWN:
        walk.program(value.lstrip("|-") if name == "LESSOPEN" else value, state.copy(), span)
    elif _NAMED_LIKE_A_COMMAND.fullmatch(name):
        walk.program(value.lstrip("!"), state.copy(), span, lax=True)
    elif name in _OPTIONS_OF:
        _run_words(walk, (*_OPTIONS_OF[name], *_words(value)), state, span)
    elif name in _CODE_OF:
        _run_words(walk, (*_CODE_OF[name], value), state, span)
    elif name in RUN_AS_FILE:
        _judge_files(walk, RUN_AS_FILE[name], value, state, span)
    elif name in PROMPTS:
        if UNKNOWN in value and name == "PS4":  # a shell without a terminal shows no other
            reason = "a value that is not in the command is expanded as a prompt"
            walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, span, state)
        walk.program(as_prompt(value), state.copy(), span)
    elif name in _NAMES_OF_COMMANDS:
        reason = f"{name} changes what a command name means"
        walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, span, state)
        walk.program(value, state.copy(), span, lax=True)


def _run_words(walk: Walk, words: tuple[str, ...], state: State, span: Span) -> None:
    walk.run([Field(word, *span) for word in words], state.copy(), None)


def _words(value: str) -> list[str]:
    """Split a value into words, with the quotes that the programs take in their own ways."""
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()


def _judge_files(
    walk: Walk, program: tuple[str, ...], value: str, state: State, span: Span
) -> None:
    """Judge files that run before anything else, if the same command has made them.

    Any other is as good as any other script: what is in it isn't known here. A shell expands the
    name.
    """
    if program and ("$" in value or "`" in value):
        name = value.replace("\\", "\\\\").replace('"', '\\"')
        walk.program(f'{program[0]} "{name}"', state.copy(), span)
        return
    for file in _FILES.split(value):
        path = made(file, state)
        if path in state.downloaded or path in state.decoded or path in state.files:
            _run_words(walk, (*program, path), state, span)
