# SPDX-License-Identifier: MIT
"""Commands whose output is computed: what they print may be run by the next command."""

import base64
import binascii
import re
import zlib
from collections.abc import Callable

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.budget import TooComplexError, inserted
from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.marks import UNKNOWN, plain, without_marks
from tibet_nc_agent.safety.paths import known_as, made
from tibet_nc_agent.safety.values import EMPTY, Field, Source, Stream, text_stream, through
from tibet_nc_agent.safety.variables import store
from tibet_nc_agent.safety.verdict import Family

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|0[0-7]{0,3}|[0-7]{1,3}|u[0-9A-Fa-f]{1,4}|.)", re.DOTALL)
_HIDING_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]|0?[0-7]{2}|u[0-9A-Fa-f])")
_LETTERS = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
}
_ECHO_OPTIONS = re.compile(r"-[neE]+")
_CONVERSION = re.compile(r"%[-+ 0#]*\d{0,4}(?:\.\d{1,4})?([%bsdiqcxXofuegE])")
_CHARACTER_CLASSES = {
    "[:upper:]": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "[:lower:]": "abcdefghijklmnopqrstuvwxyz",
    "[:digit:]": "0123456789",
    "[:space:]": " \t\n",
    "[:blank:]": " \t",
}
_TR_RANGE = re.compile(r"(.)-(.)", re.DOTALL)
_SUBSTITUTION = re.compile(r"s(.)(.*?)\1(.*?)\1(g*)", re.DOTALL)
_REGULAR_CHARACTERS = re.compile(r"[.*\[\]^$\\+?(){}|&]")
_DECODE_OPTION = re.compile(r"-[a-zA-Z]*[dD][a-zA-Z]*|--decode|-base64|enc")
_LONGEST_RANGE = 512

ENDLESS_DEVICES = frozenset(["/dev/zero", "/dev/urandom", "/dev/random", "/dev/full"])
"""What can be read without end."""


def unescape(text: str) -> str:
    """Return text with the escapes of `printf` and `echo -e` replaced."""
    return _ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(found: re.Match[str]) -> str:
    escape = found.group(1)
    if escape[0] in "xu" and len(escape) > 1:
        return chr(int(escape[1:], 16))
    if escape[0] in "01234567":
        return chr(int(escape, 8) & 0xFF)
    return _LETTERS.get(escape, escape if escape in "\\\"'$`" else f"\\{escape}")


def echo(call: Call) -> Stream:
    """`echo`, also with `-e`."""
    index, escapes, end = 0, "xpg_echo" in call.state.settings, "\n"
    while index < len(call.words) and _ECHO_OPTIONS.fullmatch(call.words[index]):
        escapes = escapes or "e" in call.words[index]
        end = "" if "n" in call.words[index] else end
        index += 1
    fields = call.arguments[index:]
    text = " ".join(plain(field.text) for field in fields)
    hidden = escapes and _HIDING_ESCAPE.search(text) is not None
    if escapes:
        text = without_unknown_marks(unescape(text))
    return _printed(call, text + end, hidden=hidden)


def printf(call: Call) -> Stream:
    """`printf`, also with `-v name`."""
    fields = call.arguments
    variable = ""
    if call.words and call.words[0].startswith("-v") and len(fields) > 1:
        given = 1 if call.words[0] == "-v" else 0
        variable, fields = call.words[given].removeprefix("-v"), fields[given + 1 :]
    if fields and fields[0].text == "--":
        fields = fields[1:]
    if not fields:
        return EMPTY
    template, values = fields[0], [plain(field.text) for field in fields[1:]]
    if any(field.unknown for field in fields):
        text = " ".join(field.text for field in fields)
    else:
        text = without_unknown_marks(_formatted(template.plain, values))
    if variable:
        value = None if text == UNKNOWN else text
        store(call.walk, variable, value, [fields[0].with_text(text)], call.state)
        return EMPTY
    hidden = any(_HIDING_ESCAPE.search(field.text) for field in fields)
    return _printed(call, text, hidden=hidden)


def _printed(call: Call, text: str, *, hidden: bool) -> Stream:
    downloaded = any(field.downloaded for field in call.arguments)
    decoded = hidden or any(field.decoded for field in call.arguments)
    return Stream(text, Source.TEXT, downloaded, decoded, producer=call.name)


def without_unknown_marks(text: str) -> str:
    """Remove private characters that decoding has made, but keep what was marked before."""
    return without_marks(text) if UNKNOWN not in text else text


def _formatted(template: str, values: list[str]) -> str:
    template = unescape(template)
    remaining = list(values)
    pieces: list[str] = []
    length = 0
    while True:
        before = len(remaining)

        def replace(found: re.Match[str]) -> str:
            conversion = found.group(1)
            if conversion == "%":
                return "%"
            value = remaining.pop(0) if remaining else ""
            return unescape(value) if conversion == "b" else value

        pieces.append(_CONVERSION.sub(replace, template))
        length += len(pieces[-1])
        if length > limits.MAX_BYTES:
            raise TooComplexError
        if not remaining or len(remaining) == before:
            return "".join(pieces)


def cat(call: Call) -> Stream:
    """`cat` and what prints its input or a file unchanged."""
    stdin = call.stdin
    if any(field.downloaded for field in call.arguments):
        return Stream(downloaded=True)
    for field in call.arguments:
        if field.stream is not None:
            return field.stream
    files = [field for field in call.arguments if not field.text.startswith("-")]
    if not files:
        return stdin if stdin is not None and stdin.text is not None else through(stdin)
    endless = any(field.text in ENDLESS_DEVICES for field in files)
    for field in files:
        path = made(field.text, call.state)
        if path in call.state.downloaded:
            return Stream(downloaded=True)
        exact = not (field.unknown or field.glob)
        if exact and len(files) == 1 and path in call.state.files:
            return text_stream(call.state.files[path])
        if path in ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"):
            return stdin if stdin is not None else Stream()
    if call.has("-") and stdin is not None:
        return through(stdin)
    return Stream(producer=" ".join(["cat", *(field.plain for field in files)]), endless=endless)


def make_temporary(call: Call) -> Stream:
    """`mktemp`: the name of what it makes, as far as the command says where."""
    given = [field.text for field in call.given_to("-p")]
    given += [f.text.partition("=")[2] for f in call.arguments if f.text.startswith("--tmpdir=")]
    operands = [field.text for field in call.operands]
    relative = bool(operands) and not given and not call.has("-t", "--tmpdir")
    directory = given[0] if given else "." if relative else "/tmp"  # noqa: S108
    template = operands[0] if operands else "tmp.XXXXXXXXXX"
    path = template if template.startswith("/") else f"{directory}/{template}"
    return Stream(f"{path}\n", Source.TEXT, producer="mktemp")


def first_lines(call: Call) -> Stream:
    """`head` ends what is endless; text stays as it is, since only less of it would run."""
    output = cat(call)
    return Stream(output.text, output.source, output.downloaded, output.decoded)


def yes(call: Call) -> Stream:
    """`yes`."""
    line = " ".join(call.words) or "y"
    return Stream(line + "\n", Source.TEXT, producer="yes", endless=True)


def _filter(
    transform: Callable[[Call, str], str | None], *, decodes: bool, files: bool = False
) -> Callable[[Call], Stream]:
    """Return the handler of a program that changes its input, or with `files` those it names."""

    def handler(call: Call) -> Stream:
        stdin = cat(call) if files and call.operands else call.stdin
        text = stdin.known if stdin is not None else None
        downloaded = stdin is not None and stdin.downloaded
        decoded = decodes or (stdin is not None and stdin.decoded)
        result = None
        if text is not None:
            try:
                result = transform(call, text)
            except (ValueError, binascii.Error, zlib.error):
                result = None
        if result is None:
            return Stream(downloaded=downloaded, decoded=decoded)
        return text_stream(without_marks(result), downloaded=downloaded, decoded=decoded)

    return handler


def base_decoder(call: Call) -> Stream:
    """`base64`, `base32`, `basenc`: only decoding hides anything."""
    decodes = any(_DECODE_OPTION.fullmatch(word) for word in call.words)
    if not decodes:
        return through(call.stdin)
    return _filter(_decode_base, decodes=True, files=True)(call)


def _decode_base(call: Call, text: str) -> str | None:
    compact = re.sub(r"\s", "", text)
    if call.name == "base32" or call.has("--base32"):
        return base64.b32decode(compact).decode("utf-8", "replace")
    if call.has("--base16"):
        return bytes.fromhex(compact).decode("utf-8", "replace")
    return base64.b64decode(compact).decode("utf-8", "replace")


def hex_dump(call: Call) -> Stream:
    """`xxd -r`."""
    if not any(re.fullmatch(r"-[a-z]*r[a-z]*|--revert|-revert", word) for word in call.words):
        return through(call.stdin)
    _decoded_into(call, call.operands[1:2])
    return _filter(
        lambda _, text: bytes.fromhex(re.sub(r"\s", "", text)).decode("utf-8", "replace"),
        decodes=True,
        files=True,
    )(call)


def openssl(call: Call) -> Stream:
    """`openssl base64 -d` and `openssl enc -d`."""
    if call.words[:1] == ["s_client"]:
        return Stream(downloaded=True)
    if not call.has("-d"):
        return through(call.stdin)
    _decoded_into(call, call.given_to("-out"))
    return _filter(_decode_base, decodes=True)(call)


def _decoded_into(call: Call, targets: list[Field]) -> None:
    call.state.decoded.update(known_as(target.text, call.state) for target in targets)


def _reversed_lines(_: Call, text: str) -> str:
    return "\n".join(line[::-1] for line in text.split("\n"))


def _lines_backwards(_: Call, text: str) -> str:
    return "\n".join(reversed(text.rstrip("\n").split("\n"))) + "\n"


def backwards(call: Call) -> Stream:
    """`tac`."""
    ask_if_endless(call)
    return _filter(_lines_backwards, decodes=False, files=True)(call)


def ask_if_endless(call: Call) -> None:
    """Report a program that keeps in memory what never ends."""
    fed = call.stdin is not None and call.stdin.endless
    if fed or any(field.text in ENDLESS_DEVICES for field in call.arguments):
        call.ask(Family.BOMB, f"{call.name} reads into memory what never ends")


def _translate(call: Call, text: str) -> str | None:
    operands = [word for word in call.words if not word.startswith("-")]
    if any(len(word) > _LONGEST_RANGE for word in operands):
        return None
    options = [word for word in call.words if word.startswith("-")]
    if options == ["-d"] and operands:
        dropped = set(_tr_set(operands[0]))
        return "".join(character for character in text if character not in dropped)
    if len(operands) == 2 and not options:
        source, target = _tr_set(operands[0]), _tr_set(operands[1])
        target += target[-1:] * (len(source) - len(target))
        return text.translate({ord(a): b for a, b in zip(source, target, strict=False)})
    return None


def _tr_set(text: str) -> str:
    text = unescape(text)
    for name, characters in _CHARACTER_CLASSES.items():
        text = text.replace(name, characters)
    return _TR_RANGE.sub(_tr_range, text)


def _tr_range(found: re.Match[str]) -> str:
    first, last = ord(found.group(1)), ord(found.group(2))
    return "".join(chr(code) for code in range(first, min(last, first + _LONGEST_RANGE) + 1))


def _sed_output(call: Call, text: str) -> str | None:
    operands = [word for word in call.words if not word.startswith("-")]
    return substituted(operands[0], text) if len(operands) == 1 else None


def substituted(script: str, text: str) -> str | None:
    """Return what a simple `s/a/b/` of `sed` makes of the text, None if it isn't that simple."""
    found = _SUBSTITUTION.fullmatch(script)
    if found is None:
        return None
    pattern, replacement = found.group(2), found.group(3)
    if not pattern or _REGULAR_CHARACTERS.search(pattern) or re.search(r"[&\\]", replacement):
        return None
    if "g" in found.group(4):
        return inserted(text, pattern, replacement)
    return "\n".join(line.replace(pattern, replacement, 1) for line in text.split("\n"))


sed_output = _filter(_sed_output, decodes=False)


HANDLERS: Handlers = {
    "echo": echo,
    "printf": printf,
    "cat": cat,
    "tac": backwards,
    "head": first_lines,
    "mktemp": make_temporary,
    "yes": yes,
    "base64": base_decoder,
    "base32": base_decoder,
    "basenc": base_decoder,
    "xxd": hex_dump,
    "openssl": openssl,
    "uudecode": _filter(lambda _call, _text: None, decodes=True, files=True),
    "rev": _filter(_reversed_lines, decodes=True, files=True),
    "tr": _filter(_translate, decodes=True),
}
