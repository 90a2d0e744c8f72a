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
from tibet_nc_agent.safety.commands.foreign import Foreign, lines_of
from tibet_nc_agent.safety.commands.literals import BACKQUOTES_RUN, LITERAL, canonical, content
from tibet_nc_agent.safety.commands.modules import loaded
from tibet_nc_agent.safety.commands.python_code import everything_in, judge_python
from tibet_nc_agent.safety.commands.text import unescape
from tibet_nc_agent.safety.marks import without_marks
from tibet_nc_agent.safety.verdict import Family

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
    r"|\bcall\s{1,9}delete\([\"'](/[^\"']{1,500})[\"']"  # of vim
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
_CHANGES = re.compile(
    r"\b(?:l?chmod|l?chown|chgrp)(?:Sync)?(_R)?\b[^\"'\n;]{0,40}[\"'](/[^\"']{0,500})[\"']"
)
_SECOND_IS_WRITTEN = re.compile(
    r"\b(?:copy|cp|copyFileSync|symlink|symlinkSync|link|linkSync|ln_sf?)\b[\s(]{0,9}"
    r"[\"'][^\"'\n]{0,500}[\"']\s{0,9},\s{0,9}[\"'](/[^\"']{1,500})[\"']"
)
_EMPTIES = re.compile(r"\btruncate(?:Sync)?\b[\s(]{0,9}[\"'](/[^\"']{1,500})[\"']")
_OPEN_FOR_WRITING = re.compile(
    r"\b(?:open|fopen|writeFile|writeFileSync|createWriteStream|appendFileSync|file_put_contents"
    r"|File\.write|File\.open|IO\.write|sysopen|copyFileSync)\b[\s(]{0,9}(?:[\w$*]+\s{0,9},\s{0,9})?"
    r"[\"']\s{0,9}([+>]{0,3})\s{0,9}([^\"']+)[\"']([^)\n]{0,40})"
)
_SECOND_ARGUMENT_WRITES = re.compile(r"""["'][^"']*[>wa+][^"']*["']""")
_PERL_THREE_ARGUMENTS = re.compile(
    r"\bopen\b[\s(]{0,9}[\w$*{}\s]{1,30},\s{0,9}[\"']\+?>{1,2}[^\"']{0,20}[\"']\s{0,9},\s{0,9}"
    r"[\"']([^\"']+)[\"']"
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


def judge_code(language: str, text: str, program: Foreign) -> None:
    """Judge an inline program."""
    if len(text) > limits.MAX_CODE:
        program.ask(Family.OPAQUE, "a long program in another language")
        return
    _judge_flow(text, program)
    if language == "python" and judge_python(text, program):
        return
    if language == "powershell":
        program.tell_shell(_CALL_OPERATOR.sub(r"\1", text))
    if language in ("tcl", "perl"):
        for found in _BARE_EXEC.finditer(text):
            program.tell_shell(found.group(1))
    for found in _BACKQUOTED.finditer(text) if language in BACKQUOTES_RUN else ():
        program.tell_shell(found.group(1))
    plain = canonical(language, text)
    program.load(language, loaded(plain))
    judged: set[str] = set()
    for spelling in dict.fromkeys((text, plain)):
        judged |= _judge_calls(spelling, program)
        _judge_files(spelling, program)
    if _MEANS.search(plain):
        program.mention(text for text in _mentioned(plain) if text not in judged)
    if _REMOVES_COMPUTED.search(plain):
        program.mention_paths(_mentioned(plain))


def _judge_flow(text: str, program: Foreign) -> None:
    """Judge what is fetched, decoded or read and then run, and what forks without end."""
    executes = _EXECUTES.search(text) is not None
    stdin = program.stdin
    if executes and _NETWORK.search(text):
        program.deny(Family.PIPE_TO_SHELL, "an inline program downloads and runs what it got")
    if stdin is not None and stdin.downloaded and _READS_INPUT.search(text):
        program.deny(Family.PIPE_TO_SHELL, "an inline program runs its downloaded input")
    if executes and _DECODES.search(text):
        program.deny(Family.ENCODED, "an inline program runs what it decodes")
        for found in _BASE64_TEXT.finditer(text):
            program.tell_shell(_decoded(found.group(1)))
    if _FORK.search(text) and _FOREVER.search(text):
        program.deny(Family.BOMB, "an inline program forks in a loop")
    if _GROWS.search(text.replace(":\n", ": ")) and "break" not in text and "sleep" not in text:
        program.ask(Family.BOMB, "an inline program grows without end")
    if _KILL_ALL.search(text):
        program.deny(Family.POWER, "an inline program signals every process")
    if _REBOOT_CALL.search(text):
        program.deny(Family.POWER, "an inline program reboots")


def _decoded(text: str) -> str:
    try:
        return without_marks(base64.b64decode(text + "==").decode("utf-8", "replace"))
    except binascii.Error:
        return ""


def _judge_calls(text: str, program: Foreign) -> set[str]:
    """Judge what the program runs, which reads what it has on its input; return these texts."""
    judged: set[str] = set()
    for found in _RUN.finditer(text):
        values = [
            unescape(next(group for group in literal.groups() if group is not None))
            for literal in _LITERAL.finditer(found.group(1))
        ]
        judged.update(values)
        if len(values) == 1:
            program.tell_shell(values[0].lstrip("|"))
        elif values:
            program.run([program.field(without_marks(value)) for value in values])
            program.tell_shell(values[0])
            program.tell_shell(values[-1])
    for found in _RUN_STRING.finditer(text):
        program.tell_shell(unescape(found.group(1)[1:-1]))
    if _COMPUTED.search(text) or _COMPUTED_NAME.search(text):
        program.ask(Family.OPAQUE, "an inline program runs text that it computes")
    return judged


def _mentioned(program: str) -> Iterator[str]:
    """Yield the literals of a canonical program, and the lines that neighbours would make."""
    for found in _NEIGHBOURS.finditer(program):
        yield from lines_of([content(literal) for literal in _ONE.findall(found.group())])


def _judge_files(text: str, program: Foreign) -> None:
    for found in _TREE_REMOVAL.finditer(text):
        program.remove(without_marks(found.group(1)))
    for found in _MOVES.finditer(text):
        path = next((group for group in found.groups() if group is not None), "")
        program.remove(without_marks(path), "takes away")
    for found in _LISTS.finditer(text) if _REMOVES.search(text) else ():
        program.remove(without_marks(everything_in(found.group(1) or found.group(2))))
    for found in _CHANGES.finditer(text):
        program.change(without_marks(found.group(2)), recursive=found.group(1) is not None)
    for pattern in (_SECOND_IS_WRITTEN, _EMPTIES):
        for found in pattern.finditer(text):
            program.write(without_marks(found.group(1)))
    for found in _OPEN_FOR_WRITING.finditer(text):
        opened = found.group()
        writes = ">" in found.group(1) or _SECOND_ARGUMENT_WRITES.search(found.group(3))
        if writes or not opened.startswith(("open", "fopen", "File.open", "sysopen")):
            program.write(without_marks(found.group(2)))
    for found in _PERL_THREE_ARGUMENTS.finditer(text):
        program.write(without_marks(found.group(1)))
