# SPDX-License-Identifier: MIT
"""Interpreters of other languages: inline code, scripts, modules, the input."""

import re
from collections.abc import Iterator

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.files import edit_known
from tibet_nc_agent.safety.commands.modules import written
from tibet_nc_agent.safety.commands.python_modules import run_module
from tibet_nc_agent.safety.commands.shells import run_script
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.paths import STANDARD_INPUT
from tibet_nc_agent.safety.values import Field, Stream, through
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_write

_LONG_CODE = frozenset(["--eval", "--print", "--run", "--execute", "--command"])
# Options of more than one letter behind a single hyphen, which don't hold code.
_LONG_NAMES = {"erlang": re.compile(r"-(?!e$|eval$)[a-z]\w+")}
# PowerShell takes its options in any case and cut off anywhere.
_POWERSHELL_CODE = re.compile(r"-c(?:o(?:m(?:m(?:a(?:n(?:d)?)?)?)?)?)?", re.IGNORECASE)
_POWERSHELL_ENCODED = re.compile(r"-(?:e|ec|en[a-z]*)", re.IGNORECASE)
_MODULE = re.compile(r"-[^WXm]*m")
# Perl reads what stands behind -M or -m as `use …`, which is code if it is more than a name.
_USED = re.compile(r"-[A-Za-z0]{0,9}?[Mm](.*[^\w:=,.+-].*)", re.DOTALL)
# IPython hands such a line to a shell.
_BANG = re.compile(
    r"^\s*(?:\w+\s*=\s*)?(?:!{1,2}|%{1,2}(?:sx|system|bash|sh)\b)\s*(.+)", re.MULTILINE
)
_IN_PLACE = re.compile(r"-[lnpw0]*i")
_NETWORK = re.compile(
    r"urlopen|urlretrieve|requests\.|http\.client|httpx|urllib|LWP|HTTP::Tiny|Net::HTTP|open-uri"
    r"|URI\.open|HTTParty|Faraday|fetch\(|https?\.get|file_get_contents\(.{0,3}https?:|curl_exec"
)


def interpret(call: Call, language: str) -> Stream:
    """Judge a run of an interpreter."""
    if language == "powershell" and any(map(_POWERSHELL_ENCODED.fullmatch, call.words)):
        call.deny(Family.ENCODED, f"{call.name} runs encoded code")
    languages = call.walk.rules.languages
    codes, script, module = _arguments(call, language)
    if language == "perl":
        for field in call.arguments:
            if found := _USED.match(field.text):
                _judge_inline(call, language, field.with_text(f"use {found.group(1)}"))
    if language in ("perl", "ruby") and any(_IN_PLACE.match(word) for word in call.words):
        for field in call.arguments:
            edit_known(call, field)
            if field.text.startswith("/"):
                judge_write(call.walk, field, call.state, call.span, f"{call.name} edits")
    for file in written(_loaded_by_options(call, language), language, languages, call.state):
        run_script(call, call.fields[0].with_text(file), [], language)
    if codes:
        for code in codes:
            _judge_inline(call, language, code)
        texts = (field.text for field in [*codes, *_options(call)])
        fetches = any(map(_NETWORK.search, texts))
        stream = through(call.stdin)
        return Stream(downloaded=True) if fetches else stream
    if module:
        return run_module(call, module)
    if script is not None and script.plain not in STANDARD_INPUT:
        run_script(call, script, [], language)
        return through(call.stdin)
    return call.walk.feed(call.stdin, call.state, call.span, language)


def _loaded_by_options(call: Call, language: str) -> Iterator[str]:
    """Yield the names of the modules that options load before the program."""
    for given in call.given_to(*call.walk.rules.languages.load_options.get(language, ())):
        yield given.plain.partition("=")[0]
    if language == "php":
        for given in call.given_to("-d"):
            setting, _, name = given.plain.partition("=")
            if setting in ("auto_prepend_file", "auto_append_file"):
                yield name
    if language == "python":
        yield from ("sitecustomize", "usercustomize")


def _options(call: Call) -> list[Field]:
    return [field for field in call.arguments if field.text.startswith("-")]


def _judge_inline(call: Call, language: str, code: Field) -> None:
    if code.downloaded:
        call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs downloaded code")
    elif code.text.strip() == UNKNOWN:
        call.ask(Family.OPAQUE, f"{call.name} runs code that is not in the command")
    else:
        options = " ".join(field.plain for field in _options(call))
        text = code.plain
        if language in ("perl", "ruby") and _NETWORK.search(options):
            text = f"# {options}\n{text}"
        for found in _BANG.finditer(text) if call.name.startswith("ipython") else ():
            call.tell_shell(found.group(1), call.stdin)
        call.walk.code(language, text, call.state, call.span, call.stdin)


def _arguments(call: Call, language: str) -> tuple[list[Field], Field | None, list[Field]]:
    """Return inline code, the script, and a module of Python with its arguments."""
    languages = call.walk.rules.languages
    letters = languages.code_letters.get(language, "e")
    ends = languages.attached_letters.get(language, "")
    with_value = languages.value_options.get(language, ())
    words, codes, index = call.words, list[Field](), 0
    while index < len(words):
        word, field = words[index], call.arguments[index]
        following = call.arguments[index + 1 : index + 2]
        if word == "-":
            return codes, field, []
        if word == "--":
            return codes, following[0] if following else None, []
        if word in _LONG_CODE or (
            language == "powershell" and _POWERSHELL_CODE.fullmatch(word) is not None
        ):
            codes.extend(following)
            index += 2
        elif word.startswith(("--eval=", "--print=", "--execute=")):
            codes.append(field.with_text(field.text.partition("=")[2]))
            index += 1
        elif word.startswith("--") or word in with_value:
            index += 2 if word in with_value else 1
        elif word.startswith("-") and len(word) > 1:
            position = _code_position(word, letters, ends, language)
            if position < 0:
                if language == "python" and (found := _MODULE.match(word)):
                    attached = field.text[found.end() :]
                    name = [field.with_text(attached)] if attached else []
                    return codes, None, [*name, *call.arguments[index + 1 :]]
                index += 1
                continue
            attached = word[position + 1 :]
            if attached and language in ("python", "perl", "ruby"):
                codes.append(field.with_text(attached))
                index += 1
            else:
                codes.extend(following)
                index += 2
            if language == "python":
                break
        elif call.name in ("deno", "bun") and word in ("run", "eval"):
            if word == "eval":
                codes.extend(following)
                return codes, None, []
            index += 1
        else:
            return codes, field, []
    return codes, None, []


def _code_position(word: str, letters: str, ends: str, language: str) -> int:
    """Return where the letter stands in a cluster that code follows; -1 if none does."""
    if language in _LONG_NAMES and _LONG_NAMES[language].fullmatch(word):
        return -1
    for position, letter in enumerate(word[1:], start=1):
        if letter in letters:
            return position
        if letter in ends:
            return -1
    return -1
