# SPDX-License-Identifier: MIT
"""Programs that run another program: their options are stepped over by the arities of the rules."""

import re
from collections.abc import Callable

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.quoting import quoted
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.paths import resolve
from tibet_nc_agent.safety.rules.model import Runs, Wrapper
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import COMMAND, EMPTY, FILE, Field, Stream, joined, through
from tibet_nc_agent.safety.variables import judge_special, set_attributes, store
from tibet_nc_agent.safety.verdict import Family

_ASSIGNMENT = re.compile(r"([A-Za-z_][\w%()]*)=(.*)", re.DOTALL)  # `%%` for functions
_SPLIT_STRING = re.compile(r"-[iv0]*S(.*)|--split-string=(.*)", re.DOTALL)
_ENV_TAKES_NEXT = re.compile(r"-[iv0]*[uCaP]|--(?:unset|chdir|argv0)")
_STARTS = re.compile(r"-[a-zA-Z]*S|--start$")
_STARTED = re.compile(r"-[a-zA-Z]*[xa]|--exec|--startas")
_NUMBER_OPTION = re.compile(r"-{1,2}\d+|-n-?\d+")
_LONG_OPTION = re.compile(r"--[A-Za-z][\w-]*")


def wrap(call: Call, wrapper: Wrapper, is_known: Callable[[str], bool]) -> Stream:
    """Judge what a wrapper runs; `is_known` knows the names of programs."""
    if wrapper.served:
        call.stdin = Stream(downloaded=True)
    if wrapper.code:
        code = _code(call, wrapper, _code_end(call, wrapper))
        if code is not None:
            text, rest = code
            output = _run_text(call, text, rest)
            if wrapper.runs is not Runs.TEXT:
                return output
    index = _command_index(call, wrapper)
    if index < 0:
        return COMMAND
    if any(word in wrapper.edits for word in call.words[:index]):
        edited = [call.fields[0].with_text("sudoedit"), *call.arguments[index:]]
        return call.walk.run(edited, call.state.copy(), call.stdin)
    if wrapper.assignments:
        for field in call.arguments[:index]:
            judge_assignment(call, field)
    rest = call.arguments[index:]
    if not rest or wrapper.runs is Runs.NOTHING:
        if wrapper.feeds_shell or any(word in wrapper.shell for word in call.words):
            return call.walk.feed(call.stdin, call.state.started(), call.span)
        return through(call.stdin)
    if wrapper.runs is Runs.SHELL:
        shell = call.fields[0].with_text("sh")
        return call.walk.run([shell, *rest], call.state.copy(), call.stdin)
    if wrapper.runs is Runs.EACH:
        return joined([_run_text(call, field.text, [field]) for field in rest])
    if wrapper.runs is Runs.TEXT or (wrapper.separators and len(rest) == 1):
        run_quoted_words(call, rest)
        return _run_text(call, " ".join(field.text for field in rest), rest)
    state = call.state
    if wrapper.assignments or wrapper.directory or call.name in ("sudo", "doas"):
        state = state.copy()
    if (directory := _directory(call, wrapper, index)) is not None:
        state.cwd = resolve(directory, call.state)
    before = index - 1 - wrapper.skip
    if before >= 0 and _is_unlisted(call.words[before], wrapper):
        _run_behind_value(call, rest, is_known)
    return _run_program(call, rest, state)


def _run_behind_value(call: Call, rest: list[Field], is_known: Callable[[str], bool]) -> None:
    """Judge what runs if an option that the tables don't know takes the first of these words.

    A single word behind an unknown program is no command but its verb: `ctl shutdown`.
    """
    if len(rest) > 2 and not is_known(rest[0].plain) and is_known(rest[1].plain):
        call.walk.run(rest[1:], call.state.mentioned(), call.stdin)


def _run_program(call: Call, fields: list[Field], state: State) -> Stream:
    """Judge the program of this name: what runs it passes by the shell's function."""
    name = fields[0].plain
    body = state.functions.pop(name, None)
    output = call.walk.run(fields, state, call.stdin)
    if body is not None:
        state.functions.setdefault(name, body)
    return output


def _directory(call: Call, wrapper: Wrapper, end: int) -> str | None:
    """Return where a wrapper is told to run its command."""
    for index, field in enumerate(call.arguments[:end]):
        option, equals, value = field.text.partition("=")
        if option in wrapper.directory:
            return (
                value if equals else "".join(f.text for f in call.arguments[index + 1 : index + 2])
            )
    return None


def judge_assignment(call: Call, field: Field) -> None:
    """Judge the value that a wrapper gives to a variable which another program runs."""
    found = _ASSIGNMENT.fullmatch(field.text)
    if found is not None and UNKNOWN not in found.group(2):
        span = (field.start, field.end)
        judge_special(call.walk, found.group(1), plain(found.group(2)), call.state, span)


def run_quoted_words(call: Call, words: list[Field]) -> None:
    """Judge words as a command as well where they are joined to text.

    `ssh host sh -c 'reboot now'` runs `sh -c reboot` in truth, but the quotes show what was meant.
    """
    if len(words) > 1 and any(" " in field.text or "\n" in field.text for field in words):
        call.walk.run(words, call.state.copy(), FILE)


def _run_text(call: Call, text: str, fields: list[Field]) -> Stream:
    if any(field.downloaded for field in fields):
        call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs downloaded text")
        return Stream(downloaded=True)
    if text.strip() == UNKNOWN:
        call.ask(Family.OPAQUE, f"{call.name} runs text that is not in the command")
        return COMMAND
    return call.walk.program(text, call.state.started(), call.span, call.stdin)


def _code_end(call: Call, wrapper: Wrapper) -> int:
    """Return how many arguments may be options: some have them only before the command."""
    if call.name not in ("flock", "entr"):
        return len(call.words)
    return max(_command_index(call, wrapper), 0) + 1


def _code(call: Call, wrapper: Wrapper, end: int) -> tuple[str, list[Field]] | None:
    """Return the shell text that an option gives."""
    for index, word in enumerate(call.words[:end]):
        if word == "--":
            return None
        if word in wrapper.code:
            rest = call.arguments[index + 1 : index + 2]
            return (rest[0].text, rest) if rest else None
        name, equals, _ = word.partition("=")
        if equals and name.startswith("--") and name in wrapper.code:
            field = call.arguments[index]
            return field.text.partition("=")[2], [field]
        for option in wrapper.code:
            if len(option) == 2 and re.fullmatch(r"-[a-zA-Z]+", word) and option[1] in word:
                rest = call.arguments[index + 1 : index + 2]
                tail = word.partition(option[1])[2]
                field = call.arguments[index]
                if tail and not rest:
                    return tail, [field]
                return (rest[0].text, rest) if rest else None
            if len(option) == 2 and word.startswith(option) and len(word) > 2:
                return word[2:], [call.arguments[index]]
    return None


def _command_index(call: Call, wrapper: Wrapper) -> int:
    """Return where the command begins among the arguments; -1 if nothing runs."""
    words = call.words
    if wrapper.separators:
        found = (i for i, word in enumerate(words, start=1) if word in wrapper.separators)
        start = next(found, len(words))
        return start if wrapper.runs is Runs.SHELL else _past_options(words, start, wrapper)
    index = _past_options(words, 0, wrapper)
    if index < 0:
        return -1
    if wrapper.verb:
        if index >= len(words) or not re.fullmatch(wrapper.verb, words[index]):
            return -1
        index = _past_options(words, index + 1, wrapper)
    index += wrapper.skip
    if wrapper.skip and words[index : index + 1] == ["--"]:
        index += 1
    if wrapper.skip_pattern:
        while index < len(words) and re.fullmatch(wrapper.skip_pattern, words[index]):
            index = _past_options(words, index + 1, wrapper)
            if index < 0:
                return -1
    while wrapper.assignments and index < len(words) and _ASSIGNMENT.match(words[index]):
        index += 1
    return index


def _past_options(words: list[str], index: int, wrapper: Wrapper) -> int:
    """Return where options and assignments end; -1 if one of them says that nothing runs."""
    while index < len(words):
        word = words[index]
        if word in wrapper.query:
            return -1
        if word == "--":
            return index + 1
        if word.startswith(UNKNOWN) and not wrapper.skip:
            break
        if word.startswith("--") and len(word) > 2:
            index += 3 if word in wrapper.pairs else 2 if _takes_next(word, wrapper) else 1
        elif _NUMBER_OPTION.fullmatch(word):
            index += 1
        elif word.startswith("-") and len(word) > 1:
            index += 2 if _takes_next(word, wrapper) else 1
        elif wrapper.assignments and _ASSIGNMENT.match(word):
            index += 1
        else:
            break
    return index


def _is_unlisted(word: str, wrapper: Wrapper) -> bool:
    """Whether a word is a long option of which the tables don't know if it takes a value."""
    known = word in (*wrapper.flags, *wrapper.shell) or _takes_next(word, wrapper)
    return _LONG_OPTION.fullmatch(word) is not None and not known


def _takes_next(word: str, wrapper: Wrapper) -> bool:
    if word.startswith("--"):
        # An abbreviation has to be of one option only, or the program refuses it.
        return word not in wrapper.flags and any(o.startswith(word) for o in wrapper.options)
    for position, letter in enumerate(word[1:], start=2):
        if letter in wrapper.letters:
            return position == len(word)
    return False


def env(call: Call) -> Stream:
    """`env` sets variables, changes the directory, splits a string."""
    state = call.state.copy()
    index = 0
    while index < len(call.words):
        word = call.words[index]
        split = _SPLIT_STRING.fullmatch(word)
        if split is not None or word == "--split-string":
            given = (split.group(1) or split.group(2) or "") if split else ""
            rest = call.arguments[index + 1 :]
            if not given and rest:
                given, rest = rest[0].text, rest[1:]
            text = " ".join([given, *(quoted(field.text) for field in rest)])
            return call.walk.program(text, state, call.span, call.stdin)
        if _ENV_TAKES_NEXT.fullmatch(word):
            if word.endswith(("C", "--chdir")) and index + 1 < len(call.words):
                state.cwd = resolve(call.arguments[index + 1].text, state)
            index += 2
            continue
        if word.startswith("--chdir="):
            state.cwd = resolve(word.partition("=")[2], state)
        elif word == "--":
            index += 1
            break
        elif not word.startswith("-"):
            found = _ASSIGNMENT.match(call.arguments[index].text)
            if found is None:
                break
            name, value = found.groups()
            field = call.arguments[index].with_text(value)
            given = None if value == UNKNOWN else value
            store(call.walk, name, given, [field], state)
            set_attributes(name, "x", "", state)
        index += 1
    rest = call.arguments[index:]
    return _run_program(call, rest, state) if rest else COMMAND


def command(call: Call) -> Stream:
    """`command` and `builtin` run their arguments; `command -v` only looks."""
    index = 0
    while index < len(call.words) and call.words[index].startswith("-"):
        word = call.words[index]
        index += 1
        if word == "--":
            break
        if "v" in word or "V" in word:
            return looked_up(call)
    rest = call.arguments[index:]
    return _run_program(call, rest, call.state) if rest else COMMAND


def looked_up(call: Call) -> Stream:
    """`which name` prints a path of that name, which may be run."""
    names = [field for field in call.arguments if not field.text.startswith("-")]
    if len(names) == 1 and not names[0].unknown:
        return Stream(f"{names[0].plain}\n", producer=call.name)
    return Stream(producer=call.name)


def described(call: Call) -> Stream:
    """`type` says what a name is; `type -P` prints a path."""
    return looked_up(call) if call.has("-P", "-p") else Stream(producer=call.name)


def execute(call: Call) -> Stream:
    """`exec`."""
    index = 0
    while index < len(call.words) and re.fullmatch(r"-[cla]+|--", call.words[index]):
        word = call.words[index]
        index += 2 if word.endswith("a") else 1
        if word == "--":
            break
    rest = call.arguments[index:]
    return _run_program(call, rest, call.state) if rest else EMPTY


def network_tool(call: Call) -> Stream:
    """`ip netns exec name command` and `ip vrf exec name command`."""
    words = call.words
    named = 0 if call.has("-a", "-al", "-all") else 1  # in all of them, or in one
    for index in range(len(words) - 2 - named):
        if words[index] in ("netns", "vrf", "net") and words[index + 1] in ("exec", "e"):
            command = call.arguments[index + 2 + named :]
            return call.walk.run(command, call.state.copy(), call.stdin)
    return COMMAND


def start_stop_daemon(call: Call) -> Stream:
    """`start-stop-daemon --start --exec program -- arguments`; what is no option is one as well."""
    program, rest = list[Field](), list[Field]()
    for index, word in enumerate(call.words):
        if _STARTED.fullmatch(word):
            program, rest = call.arguments[index + 1 : index + 2], call.arguments[index + 2 :]
        elif word.startswith(("--exec=", "--startas=")):
            field = call.arguments[index]
            program = [field.with_text(field.text.partition("=")[2])]
    if not program or not any(_STARTS.match(word) for word in call.words):
        return COMMAND
    if "--" in call.words:
        rest = call.arguments[call.words.index("--") + 1 :]
    else:
        rest = [field for field in rest if not field.text.startswith("-")]
    return call.walk.run([*program, *rest], call.state, FILE)


HANDLERS: Handlers = {
    "env": env,
    "command": command,
    "builtin": command,
    "exec": execute,
    "which": looked_up,
    "whereis": looked_up,
    "type": described,
    "ip": network_tool,
    "start-stop-daemon": start_stop_daemon,
}
