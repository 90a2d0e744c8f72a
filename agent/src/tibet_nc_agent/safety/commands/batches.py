# SPDX-License-Identifier: MIT
"""`xargs` and `parallel`: commands made of their input."""

import itertools
import re

import msgspec

from tibet_nc_agent.safety.budget import inserted
from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.quoting import quoted, split_input
from tibet_nc_agent.safety.commands.text import unescape
from tibet_nc_agent.safety.commands.wrappers import run_quoted_words
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.values import COMMAND, FILE, Field, Stream, joined
from tibet_nc_agent.safety.verdict import Family

_XARGS_LETTERS = "adEILnPs"
_XARGS_LONG = (
    "--arg-file",
    "--delimiter",
    "--max-args",
    "--max-procs",
    "--max-chars",
    "--process-slot-var",
)
_PLACEHOLDER = re.compile(r"\{[./#%0-9]*\}")
_ONE_BY_ONE = re.compile(r"(?:^|\s)(?:-[rtx0]*[nL] ?|--max-(?:args|lines)[ =])1(?:\s|$)")
_BLANKS = " \t\n"
_SEPARATORS = (":::", ":::+", "::::")
_LONGEST_INPUT = 4_000
_MOST_ITEMS = 24


def xargs(call: Call) -> Stream:
    """`xargs`: what the input may be becomes arguments."""
    index, replace = _xargs_options(call)
    separators = _separators(call.words[:index], replace)
    command = call.arguments[index:]
    stdin = call.stdin
    if not command:
        # Without a command the words are printed by echo: the next program may read them.
        return stdin if stdin is not None else COMMAND
    if stdin is not None and stdin.endless and any(w.startswith("-P") for w in call.words[:index]):
        call.ask(Family.BOMB, "xargs starts processes without end")
    values = [
        Field(
            item,
            *call.span,
            quoted=True,
            downloaded=stdin is not None and stdin.downloaded,
            decoded=stdin is not None and stdin.decoded,
            producer=stdin.producer if stdin is not None else "",
        )
        for item in _items(stdin, separators)
    ]
    if not replace and _ONE_BY_ONE.search(" ".join(call.words[:index])) is None:
        return call.walk.run([*command, *values], call.state, FILE)
    outputs = [
        call.walk.run(
            [_replaced(field, replace, value) for field in command]
            if replace
            else [*command, value],
            call.state,
            FILE,
        )
        for value in values[:_MOST_ITEMS]
    ]
    return joined(outputs) if outputs else COMMAND


def _xargs_options(call: Call) -> tuple[int, str]:
    words, index, replace = call.words, 0, ""
    while index < len(words):
        word = words[index]
        if word == "--":
            return index + 1, replace
        if word in ("-I", "-J") and index + 1 < len(words):
            replace, index = words[index + 1], index + 2
        elif word.startswith(("-I", "-J")):
            replace, index = word[2:], index + 1
        elif word in ("-i", "--replace"):
            replace, index = "{}", index + 1
        elif word.startswith("--replace="):
            replace, index = word.partition("=")[2], index + 1
        elif re.fullmatch(r"-i[^a-zA-Z].*|-i[A-Z]", word):
            replace, index = word[2:], index + 1
        elif word.startswith("--"):
            index += 2 if any(option.startswith(word) for option in _XARGS_LONG) else 1
        elif word.startswith("-") and len(word) > 1:
            takes = next((i for i, c in enumerate(word) if i and c in _XARGS_LETTERS), 0)
            index += 2 if takes == len(word) - 1 else 1
        else:
            break
    return index, replace


def _separators(options: list[str], replace: str) -> str:
    """Return what stands between two items: of -I whole lines, of -0 and -d what they name."""
    for option, value in itertools.pairwise([*options, ""]):
        if re.fullmatch(r"-[rtxp]*0.*|--null", option):
            return "\0"
        if option in ("-d", "--delimiter"):
            return unescape(value)[:1]
        if option.startswith(("-d", "--delimiter=")):
            return unescape(option.removeprefix("--delimiter=").removeprefix("-d"))[:1]
    return "\n" if replace else _BLANKS


def _items(stdin: Stream | None, separators: str) -> list[str]:
    """Return the arguments that the input may become."""
    if stdin is None:
        return [UNKNOWN]
    if stdin.known is not None and len(stdin.known) < _LONGEST_INPUT:
        if separators not in ("\n", _BLANKS):
            return [item for item in stdin.known.split(separators or "\0") if item.strip("\n")]
        text = stdin.known.replace("\0", "\n")
        # Of -I whole lines are items, but the words in them may be what was meant.
        return list(dict.fromkeys([*split_input(text, separators), *split_input(text)]))
    if stdin.roots:
        return stdin.found
    return [UNKNOWN]


def _replaced(field: Field, replace: str, value: Field) -> Field:
    if replace not in field.text:
        return field
    return msgspec.structs.replace(
        field,
        text=inserted(field.text, replace, value.text),
        downloaded=field.downloaded or value.downloaded,
        decoded=field.decoded or value.decoded,
    )


def parallel(call: Call) -> Stream:
    """GNU `parallel`: a command template, or whole commands from the arguments or the input."""
    words, index = call.words, 0
    while index < len(words) and words[index].startswith("-") and words[index] != "--":
        if words[index] in ("--dry-run", "--dryrun"):
            return COMMAND
        index += 2 if words[index] in call.values else 1
    if index < len(words) and words[index] == "--":
        index += 1
    separator = next((i for i, word in enumerate(words) if word in _SEPARATORS), len(words))
    template = " ".join(field.text for field in call.arguments[index:separator])
    stdin = call.stdin
    downloaded = stdin is not None and stdin.downloaded and separator == len(words)
    if downloaded and not template:
        call.deny(Family.PIPE_TO_SHELL, "downloaded lines are run as commands")
        return COMMAND
    if template:
        run_quoted_words(call, call.arguments[index:separator])
        if "--" in words[:index] and separator == len(words):
            for field in call.arguments[index:]:  # to that of moreutils each is a command
                call.tell_shell(field.text)
    for value in _parallel_values(call, separator)[:_MOST_ITEMS]:
        if not template and value == UNKNOWN:
            call.ask(Family.OPAQUE, "lines of the input are run as commands")
            continue
        if not template:
            text = value
        elif "{" in template:
            text = inserted(_PLACEHOLDER.sub("{}", template), "{}", quoted(value))
        else:
            text = f"{template} {quoted(value)}"
        call.walk.program(text, call.state.started(), call.span)
    return COMMAND


def _parallel_values(call: Call, separator: int) -> list[str]:
    if separator < len(call.words):
        if call.words[separator] == "::::":
            return [UNKNOWN]
        return [field.text for field in call.arguments[separator + 1 :]]
    stdin = call.stdin
    if stdin is not None and stdin.known is not None:
        return [line for line in stdin.known.split("\n") if line]
    if stdin is not None and stdin.roots:
        return stdin.found
    return [UNKNOWN]


HANDLERS: Handlers = {
    "xargs": xargs,
    "parallel": parallel,
    "rush": parallel,
}
