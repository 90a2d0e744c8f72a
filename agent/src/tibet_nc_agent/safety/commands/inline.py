# SPDX-License-Identifier: MIT
"""Inline programs of perl, ruby, node, php and others: the calls in them that run or destroy.

There is no grammar here: the calls are found by their names and literal arguments. What is found
is judged like a shell command; Python has a module of its own that reads its syntax tree.
"""

import base64
import binascii
import re
from collections.abc import Iterator

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.call import Call, Span, Walk
from tibet_nc_agent.safety.commands.literals import BACKQUOTES_RUN, LITERAL, canonical, content
from tibet_nc_agent.safety.commands.mentioned import (
    judge_mentioned,
    judge_mentioned_paths,
    lines_of,
)
from tibet_nc_agent.safety.commands.python_code import everything_in, judge_python
from tibet_nc_agent.safety.commands.text import unescape
from tibet_nc_agent.safety.marks import without_marks
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import Field, Stream
from tibet_nc_agent.safety.verdict import Decision, Family
from tibet_nc_agent.safety.writes import judge_removal, judge_write

_STRING = r"""(?:"(?:\\.|[^"\\]){0,2000}+"|'(?:\\.|[^'\\]){0,2000}+')"""
_RUN = re.compile(
    r"(?:\b(?:system|exec\w*|popen\w*|spawn\w*|passthru|shell_exec|proc_open|execSync|spawnSync"
    r"|execFile\w*|execute|qx|doShellScript|do\s+shell\s+script|run|sh|open|System\.cmd|Sys\.command|os:cmd|run-program|Command|capture[23]e?)\b[\s(\[*]{0,9})"
    rf"((?:{_STRING}|\{{[^}}]{{0,2000}}\}}|/[^/\n]{{0,2000}}/)(?:[\s,]{{1,9}}\[?\s{{0,9}}{_STRING}){{0,20}})"
)
_RUN_STRING = re.compile(rf"({_STRING})\s{{0,9}}\.\s{{0,9}}(?:execute\b|!)")
_LITERAL = re.compile(r""""((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|\{([^}]*)\}|/([^/\n]*)/""")
_COMPUTED = re.compile(
    r"\b(?:system|exec|popen|shell_exec|passthru|execSync|os\.execute)\b"
    r"(?:\s{0,9}\(\s{0,9}\([\"'][^\"']{0,200}[\"']\)\s{0,9}[:.]"
    r"|\s{0,9}\(?\s{0,9}(?:\$\w|join\b|reverse\b|\"[^\"]{0,200}(?:\$\w|#\{)[^\"]{0,200}\""
    r"|\"[^\"]{0,200}\"\s{0,9}[.+:]|'[^']{0,200}'\s{0,9}[.+:]))"
)
_COMPUTED_NAME = re.compile(
    r"(?<![.\w])(?:system|exec|popen|shell_exec|passthru)\b\s{0,9}\(?\s{0,9}"
    r"(?:@\w|\*\s{0,9}[%\[\w]|ARGV\b|[a-z_]\w{0,30}\s{0,9}(?:[);\n]|$))"
    r"|\bos\.execute\s{0,9}\(\s{0,9}[a-z_]|child_process.{0,200}\.exec\w{0,8}\(\s{0,9}(?:process\.argv|[a-z_]\w{0,30}\s{0,9}[,)])"
    r"|\bopen\w{0,5}\b[^\n]{0,40}[\"']\s{0,9}(?:\|\s{0,9}\w|-\|[\"'])"
)
_MOVES = re.compile(
    r"\b(?:rename\w{0,5}|move|moveSync)\b[\s(]{0,9}[\"'](/[^\"']{1,500})[\"']"
    r"|\bos\.(?:remove|rename)\b[\s(]{0,9}[\"'](/[^\"']{1,500})[\"']"
    r"|\bremoveSync\([\"'](/[^\"']{1,500})[\"']|\bdelete-(?:directory|file)\s{1,9}[\"'](/[^\"']{1,500})[\"']"
    r"|\bfile\s{1,9}delete\s{1,9}(?:-force\s{1,9})?(?:--\s{1,9})?[\"']?(/[^\s\"';\]]{0,500})"
    r"|\bfind\([^\n]{0,60}unlink[^\n]{0,20}[\"'](/[^\"']{0,500})[\"']"
    r"|\bFile\([\"'](/[^\"']{0,500})[\"']\)\.delete"
)
_CALL_OPERATOR = re.compile(r"(^|[;{(|\n]\s{0,9})[&.]\s{1,9}")  # of PowerShell: `& "reboot"`
_BARE_EXEC = re.compile(r"\b(?:exec|system|spawn)\s+(?:qw\s*\W)?([^\]\n;)]{1,500})")
_BACKQUOTED = re.compile(r"`([^`]{1,2000})`")
_TREE_REMOVAL = re.compile(
    r"\b(?:rm_rf|rmtree|remove_tree|rm_r|rmSync|rmdirSync|rm|remove_entry(?:_secure)?|remove_dir(?:_all)?"
    r"|rimraf|rmdir_recursive|unlink|unlinkSync|File\.delete)\b(?:\s{0,3}glob)?[\s(]{0,9}\[?\s{0,9}[\"']([^\"']+)[\"']"
)
_REMOVAL = (
    r"\b(?:unlink|rmtree|remove_tree|rm_r|rm_rf|File\.delete|unlinkSync|rmSync|rmdirSync|remove_dir"
    r"|remove_entry|remove_dir_all|rimraf|deleteDir)\b"
)
_REMOVES = re.compile(_REMOVAL)
_REMOVES_COMPUTED = re.compile(rf"{_REMOVAL}[\s(\[]{{0,9}}[$@\w]")
_LISTS = re.compile(
    r"(?:\bglob\b[\s(]{0,9}|\bDir(?:\.\w{1,20})?[\[(]\s{0,9}|\b(?:readdir|readdirSync|scandir)\(\s{0,9}"
    r"|\bopendir\b[^\"'\n]{0,30})[\"'](/[^\"']{0,500})[\"']|<(/[^>\s]{0,500})>"
)
_OPEN_FOR_WRITING = re.compile(
    r"\b(?:open|fopen|writeFile|writeFileSync|createWriteStream|appendFileSync|file_put_contents"
    r"|File\.write|File\.open|IO\.write|sysopen|copyFileSync)\b[\s(]{0,9}(?:[\w$*]+\s{0,9},\s{0,9})?"
    r"[\"']\s{0,9}([+>]{0,3})\s{0,9}(/[^\"']+)[\"']([^)\n]{0,40})"
)
_SECOND_ARGUMENT_WRITES = re.compile(r"""["'][^"']*[>wa+][^"']*["']""")
_PERL_THREE_ARGUMENTS = re.compile(
    r"\bopen\b[\s(]{0,9}[\w$*{}\s]{1,30},\s{0,9}[\"']\+?>{1,2}[^\"']{0,20}[\"']\s{0,9},\s{0,9}"
    r"[\"'](/[^\"']+)[\"']"
)
_NETWORK = re.compile(
    r"urlopen|requests\.get|urllib|http\.client|LWP|HTTP::Tiny|Net::HTTP|open-uri|URI\.open"
    r"|HTTParty|Faraday|Mojo|fetch\(|file_get_contents\(.{0,3}https?:|https?\.get|IO::Socket"
    r"|socket\.socket|create_connection|fsockopen|\bsocket\s?\(|TCPSocket|net\.(?:connect|Socket)"
)
_EXECUTES = re.compile(
    r"\b(exec|eval|system|popen|Function|instance_eval|subprocess|execSync|spawn|child_process"
    r"|dlopen)\b"
)
_READS_INPUT = re.compile(
    r"\b(?:exec|eval|system|popen)\b[^\n]{0,200}(?:\b(?:stdin|STDIN|read|gets|ARGF|argv)\b|<>)"
)
_DECODES = re.compile(
    r"b64decode|decode64|base64_decode|decode_base64|atob\(|fromCharCode|[\"']base64[\"']"
    r"|pack\s*\(?\s*[\"'][Hhu]|unpack|hex2bin|str_rot13|gzinflate|gzuncompress|Base64|Buffer\.from"
)
_FORK = re.compile(r"(?<![A-Za-z])fork\b")
_FOREVER = re.compile(
    r"\bsetInterval\b|\biter\(|\bwhile\b|\buntil\b|\bloop\b|\bfor\s{0,9}\(\s{0,9};|\bfork\b[^\n]{0,200}\bfork\b|\bforever\b"
    r"|\brange\(\s{0,9}(?:10\s?\*\*|\d{5})"
)
_BASE64_TEXT = re.compile(r"[\"']([A-Za-z0-9+/]{8,}={0,2})[\"']")
_GROWS = re.compile(
    r"\bwhile\s{0,9}\(?\s{0,9}(?:1|[Tt]rue)\b[^\n]{0,60}(?:\.append\(|\w\s{0,9}\+=\s{0,9}[A-Za-z_]|Thread\(|Process\()"
)
_KILL_ALL = re.compile(
    r"\bkill\b[\s(]{0,9}(?:[\"']?-?\w+[\"']?|:\w+)\s{0,9},\s{0,9}-1\b|process\.kill\(\s{0,9}-?1\b"
    r"|posix_kill\(\s{0,9}-?1\b"
)
_REBOOT_CALL = re.compile(r"\breboot\s{0,9}\(|\bsyscall\s{0,9}\(?\s{0,9}(?:169|88|142)\b")

# In a canonical program: names that run what they are given, also when they are passed on.
_MEANS = re.compile(
    r"exec|system|popen|spawn|passthru|proc_open|child_process|capture[23]|run-program|os:cmd"
    r"|Command|ProcessBuilder|\brun\s{0,9}\(|\bopen\w{0,9}\b[^\n]{0,99}\"(?:[-\s]{0,9}\||[^\"\n]{1,999}\|\s{0,9}\")"
)
_NEIGHBOURS = re.compile(rf"{LITERAL}(?:[\s,\[\]()]{{1,9}}{LITERAL}){{0,20}}", re.DOTALL)
_ONE = re.compile(LITERAL, re.DOTALL)


def judge_code(
    walk: Walk, language: str, text: str, state: State, span: Span, *, stdin: Stream | None
) -> None:
    """Judge an inline program."""
    if len(text) > limits.MAX_CODE:
        reason = "a long program in another language"
        walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, span, state)
        return
    _judge_flow(walk, text, state, span, stdin)
    if language == "python" and judge_python(walk, text, state, span, stdin):
        return
    if language == "powershell":
        walk.program(_CALL_OPERATOR.sub(r"\1", text), state.started(), span, lax=True)
    if language in ("tcl", "perl"):
        for found in _BARE_EXEC.finditer(text):
            walk.program(found.group(1), state.started(), span, stdin, lax=True)
    for found in _BACKQUOTED.finditer(text) if language in BACKQUOTES_RUN else ():
        walk.program(found.group(1), state.started(), span, stdin, lax=True)
    plain = canonical(language, text)
    judged: set[str] = set()
    for program in dict.fromkeys((text, plain)):
        judged |= _judge_calls(walk, program, state, span, stdin)
        _judge_files(walk, program, state, span)
    if _MEANS.search(plain):
        mentioned = (text for text in _mentioned(plain) if text not in judged)
        judge_mentioned(walk, mentioned, state, span)
    if _REMOVES_COMPUTED.search(plain):
        judge_mentioned_paths(walk, _mentioned(plain), state, span)


def _judge_flow(walk: Walk, text: str, state: State, span: Span, stdin: Stream | None) -> None:
    """Judge what is fetched, decoded or read and then run, and what forks without end."""
    executes = _EXECUTES.search(text) is not None
    if executes and _NETWORK.search(text):
        reason = "an inline program downloads and runs what it got"
        walk.report(Decision.DENY, Family.PIPE_TO_SHELL, reason, span, state)
    if stdin is not None and stdin.downloaded and _READS_INPUT.search(text):
        reason = "an inline program runs its downloaded input"
        walk.report(Decision.DENY, Family.PIPE_TO_SHELL, reason, span, state)
    if executes and _DECODES.search(text):
        reason = "an inline program runs what it decodes"
        walk.report(Decision.DENY, Family.ENCODED, reason, span, state)
        for found in _BASE64_TEXT.finditer(text):
            walk.program(_decoded(found.group(1)), state.started(), span, lax=True)
    if _FORK.search(text) and _FOREVER.search(text):
        reason = "an inline program forks in a loop"
        walk.report(Decision.DENY, Family.BOMB, reason, span, state)
    if _GROWS.search(text.replace(":\n", ": ")) and "break" not in text and "sleep" not in text:
        reason = "an inline program grows without end"
        walk.report(Decision.NEEDS_APPROVAL, Family.BOMB, reason, span, state)
    if _KILL_ALL.search(text):
        reason = "an inline program signals every process"
        walk.report(Decision.DENY, Family.POWER, reason, span, state)
    if _REBOOT_CALL.search(text):
        reason = "an inline program reboots"
        walk.report(Decision.DENY, Family.POWER, reason, span, state)


def _decoded(text: str) -> str:
    try:
        return without_marks(base64.b64decode(text + "==").decode("utf-8", "replace"))
    except binascii.Error:
        return ""


def _judge_calls(walk: Walk, text: str, state: State, span: Span, stdin: Stream | None) -> set[str]:
    """Judge what the program runs, which reads what it has on its input; return these texts."""
    judged: set[str] = set()
    for found in _RUN.finditer(text):
        values = [
            unescape(next(group for group in literal.groups() if group is not None))
            for literal in _LITERAL.finditer(found.group(1))
        ]
        judged.update(values)
        if len(values) == 1:
            walk.program(values[0].lstrip("|"), state.started(), span, stdin, lax=True)
        elif values:
            fields = [Field(without_marks(value), *span, quoted=True) for value in values]
            walk.run(fields, state.copy(), stdin)
            walk.program(values[0], state.started(), span, stdin, lax=True)
            walk.program(values[-1], state.started(), span, stdin, lax=True)
    for found in _RUN_STRING.finditer(text):
        walk.program(unescape(found.group(1)[1:-1]), state.started(), span, stdin, lax=True)
    if _COMPUTED.search(text) or _COMPUTED_NAME.search(text):
        reason = "an inline program runs text that it computes"
        walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, span, state)
    return judged


def _mentioned(program: str) -> Iterator[str]:
    """Yield the literals of a canonical program, and the lines that neighbours would make."""
    for found in _NEIGHBOURS.finditer(program):
        yield from lines_of([content(literal) for literal in _ONE.findall(found.group())])


def _judge_files(walk: Walk, text: str, state: State, span: Span) -> None:
    for found in _TREE_REMOVAL.finditer(text):
        target = Field(without_marks(found.group(1)), *span, quoted=True)
        call = Call(walk, "rmtree", [target], [], state, None)
        judge_removal(call, [target], "an inline program deletes", recursive=True)
    for found in _MOVES.finditer(text):
        path = next((group for group in found.groups() if group is not None), "")
        target = Field(without_marks(path), *span, quoted=True)
        call = Call(walk, "rename", [target], [], state, None)
        judge_removal(call, [target], "an inline program takes away", recursive=True)
    for found in _LISTS.finditer(text) if _REMOVES.search(text) else ():
        listed = everything_in(found.group(1) or found.group(2))
        target = Field(without_marks(listed), *span, quoted=True)
        call = Call(walk, "rmtree", [target], [], state, None)
        judge_removal(call, [target], "an inline program deletes", recursive=True)
    for found in _OPEN_FOR_WRITING.finditer(text):
        opened = found.group()
        writes = ">" in found.group(1) or _SECOND_ARGUMENT_WRITES.search(found.group(3))
        if writes or not opened.startswith(("open", "fopen", "File.open", "sysopen")):
            _judge_opened(walk, found.group(2), state, span)
    for found in _PERL_THREE_ARGUMENTS.finditer(text):
        _judge_opened(walk, found.group(1), state, span)


def _judge_opened(walk: Walk, path: str, state: State, span: Span) -> None:
    target = Field(without_marks(path), *span, quoted=True)
    judge_write(walk, target, state, span, "an inline program writes to")
