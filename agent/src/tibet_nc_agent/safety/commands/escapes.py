# SPDX-License-Identifier: MIT
"""Programs that can run a shell command from one of their arguments."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.given import program_files
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.search import pass_roots
from tibet_nc_agent.safety.commands.text import unescape
from tibet_nc_agent.safety.paths import STANDARD_INPUT, known_as
from tibet_nc_agent.safety.redirections import remember, written_to
from tibet_nc_agent.safety.values import COMMAND, Stream, text_stream, through
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_write

_EDITOR_ESCAPE = re.compile(
    r"(?:^|[:+;\s'\"])(?:r\s*)?!\s*([^'\"]+)"
    r"|(?:\\!|\.shell|\.sh\b|\.system|\bshell\b(?!-)|\bsystem\b)\s*\(?[\"']?([^\"')]+)"
    r"|shell-command\s+\"([^\"]+)\""
)
_EDITS_ALONE = re.compile(r"-(?:c|e?s|S)|\+.")
_LINE_EDITORS = frozenset(["vi", "vim", "nvim", "gvim", "rvim", "ex", "ed", "red"])
_SAVES = re.compile(  # with nobody at the keyboard
    r"(?:^|[:|+])\s*(?:sil(?:ent)?!?\s+)?[%\d,.$]*(?:wq?a?|xa?|xit|up(?:date)?)!?\s*(?:\||$)"
)
_AWK_SYSTEM = re.compile(
    r"system\s*\(\s*\"((?:\\.|[^\"\\])*)\""
    r"|\"((?:\\.|[^\"\\])*)\"\s*\|&?\s*getline"
    r"|\|&?\s*\"((?:\\.|[^\"\\])*)\""
)
_AWK_WRITES = re.compile(
    r"(?:\bprint[\s(]{1,9}\"((?:\\.|[^\"\\]){0,2000}+)\"[\s)]{0,9})?>{1,2}\s*\"([^\"]+)\""
)
_AWK_COMPUTES = re.compile(
    r"\bsystem\s*\(\s*(?:[A-Za-z_]\w*\s*[) \"]|\"[^\"]*\"\s*[^)\s\"])"
    r"|\bsystem\s*\(\s*\"[^\"]*\"\s+\""
    r"|\b[A-Za-z_]\w*\s*\|&?\s*getline|/inet/(?:tcp|udp)/"
)
_AWK_SHELL = r"\|&?\s*\"(?:[\w/]{0,99}/)?(?:ba|da|k|z)?sh\b[^\"]*\""
_AWK_TELLS_SHELL = re.compile(
    rf"\bprint[\s(]{{0,9}}\"((?:\\.|[^\"\\]){{0,2000}}+)\"[\s)]{{0,9}}{_AWK_SHELL}"
)
_AWK_RUNS_INPUT = re.compile(rf"system\s*\(\s*\$|\$\w+\s*\|\s*getline|{_AWK_SHELL}")
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
_MAKE_SHELL = re.compile(r"\$\(shell ([^)]*)\)")


def judge_editor_escapes(call: Call) -> None:
    """Editors, pagers, debuggers and database shells run what stands behind `!`."""
    typed = call.stdin.known if call.stdin is not None else None
    if typed is not None or any(_EDITS_ALONE.match(word) for word in call.words):
        for field in call.operands:
            remember(call.state, known_as(field.text, call.state), Stream(), append=True)
    lines = (typed or "").split("\n")
    if call.name in _LINE_EDITORS and any(_SAVES.search(text) for text in [*_told(call), *lines]):
        for field in call.operands:
            judge_write(call.walk, field, call.state, call.span, f"{call.name} changes")
    for word in [*call.words, *lines]:
        for found in _EDITOR_ESCAPE.finditer(word):
            text = next((group for group in found.groups() if group), "")
            if text:
                call.tell_shell(text)


def _told(call: Call) -> list[str]:
    """Return the commands of an editor in its arguments."""
    given = [field.plain for field in call.given_to("-c", "--cmd")]
    return given + [word for word in call.words if word.startswith("+")]


def awk(call: Call) -> Stream:
    """`awk`: `system()` and pipes; what it prints of a list of paths are paths."""
    stdin = call.stdin
    programs = [*call.arguments, *program_files(call, "-f", "--file")]
    if any(_AWK_COMPUTES.search(field.text) for field in programs):
        call.ask(Family.OPAQUE, f"{call.name} runs a command that it computes")
    texts = [_AWK_TELLS_SHELL.sub("", field.text) for field in programs]
    if any(_AWK_RUNS_INPUT.search(text) for text in texts):
        if stdin is not None and stdin.downloaded:
            call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs its downloaded input")
        else:
            call.ask(Family.OPAQUE, f"{call.name} runs its input")
    in_place = call.has("inplace", "-iinplace", "--include=inplace")
    for field in programs:
        if in_place and field.text.startswith("/"):
            judge_write(call.walk, field, call.state, call.span, f"{call.name} edits")
        for found in _AWK_TELLS_SHELL.finditer(field.text):
            call.walk.program(unescape(found.group(1)), call.state.started(), call.span)
        for found in _AWK_SYSTEM.finditer(field.text):
            text = next((group for group in found.groups() if group is not None), "")
            call.tell_shell(unescape(text), stdin)
        for found in _AWK_WRITES.finditer(field.text):
            text, target = found.group(1), field.with_text(found.group(2))
            judge_write(call.walk, target, call.state, call.span, f"{call.name} writes to")
            printed = through(stdin) if text is None else text_stream(f"{unescape(text)}\n")
            file = known_as(target.text, call.state)
            written_to(call.walk, file, printed, call.state, call.span, append=True)
    return pass_roots(call)


def make(call: Call) -> Stream:
    """`make --eval`, and a makefile on the input."""
    _judge_makefile(call)
    for given in call.given_to("-E", "--eval"):
        text = given.plain
        for found in _MAKE_SHELL.finditer(text):
            call.tell_shell(found.group(1))
        recipe = text.rpartition(":")[2].strip().lstrip(";@-+\t ")
        call.tell_shell(recipe)
    return COMMAND


def _judge_makefile(call: Call) -> None:
    """Judge the recipes of a makefile on the input, or that the same line has written."""
    text = _makefile(call)
    for line in text.split("\n") if text is not None else ():
        if line.startswith("\t") or ";" in line:
            recipe = line.lstrip("\t").rpartition(";")[2] if ":" in line else line.lstrip("\t@-+")
            call.tell_shell(recipe)


def _makefile(call: Call) -> str | None:
    for field in call.given_to("-f", "--file", "--makefile"):
        stream = call.stdin if field.plain in STANDARD_INPUT else field.stream
        if stream is not None:
            return stream.known
        return None if field.plain in STANDARD_INPUT else _written(call, field.plain)
    return next((text for name in _MAKEFILES if (text := _written(call, name)) is not None), None)


def _written(call: Call, name: str) -> str | None:
    file = known_as(name, call.state)
    if file in call.state.downloaded:
        call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs a download")
    return call.state.files.get(file)


HANDLERS: Handlers = {
    "awk": awk,
    "gawk": awk,
    "mawk": awk,
    "nawk": awk,
    "original-awk": awk,
    "make": make,
    "gmake": make,
}
