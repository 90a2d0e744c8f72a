# SPDX-License-Identifier: MIT
"""Debuggers: the program that they start, and its arguments.

Both are named on the command line or by commands of the debugger, which are arguments as well, or
lines of the input or of a script. The program is started by a shell.
"""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.given import matches
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.quoting import quoted
from tibet_nc_agent.safety.values import COMMAND, Field, Stream

_STARTS = re.compile(
    r"(?m)^[ \t]*(?:r|run|start|starti|process launch)\b(?:[ \t]+(?:--[ \t]+)?|$)([^\n]*)$"
)
_NAMES_PROGRAM = re.compile(r"(?m)^[ \t]*(?:file|exec-file|target create)[ \t]+(\S[^\n]*)$")
_NAMES_ARGUMENTS = re.compile(
    r"(?m)^[ \t]*(?:set args|settings set (?:-- )?target\.run-args)[ \t]+(\S[^\n]*)$"
)
_PROGRAM_OPTIONS = frozenset(["-e", "-exec", "--exec", "-se", "--se"])
_ENDS_OPTIONS = frozenset(["--args", "-args", "--"])


def debug(call: Call) -> Stream:
    """`gdb`, `lldb`: what stands behind `--args` counts as started, whatever they are told."""
    words = call.words
    end = next((i for i, word in enumerate(words) if word in _ENDS_OPTIONS), len(words))
    if command := call.arguments[end + 1 :]:
        call.walk.run(command, call.state.copy(), call.stdin)
    programs = [quoted(field.text) for field in [*_behind_options(call), *call.operands[:1]]]
    programs += matches(call, (_NAMES_PROGRAM,))
    starts = [*matches(call, (_STARTS,))]
    arguments = [*matches(call, (_NAMES_ARGUMENTS,)), *(text for text in starts if text)]
    for program in programs if starts else ():
        for given in arguments or [""]:
            text = f"{program} {given}"
            call.walk.program(text, call.state.copy(), call.span, call.stdin)
    return COMMAND


def _behind_options(call: Call) -> list[Field]:
    """Return the programs that options name."""
    named: list[Field] = []
    for index, field in enumerate(call.arguments):
        option, equals, value = field.text.partition("=")
        if option in _PROGRAM_OPTIONS:
            named += [field.with_text(value)] if equals else call.arguments[index + 1 : index + 2]
    return named


HANDLERS: Handlers = {
    "gdb": debug,
    "lldb": debug,
}
