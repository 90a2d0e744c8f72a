# SPDX-License-Identifier: MIT
"""`tar` and `rsync`: whole trees that are packed, unpacked over others, or made the same."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.files import TREES, operands_of
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.marks import plain
from tibet_nc_agent.safety.paths import resolve
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.values import COMMAND, EMPTY, Stream, through
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_removal, judge_write


def unpack(call: Call) -> Stream:
    """`tar`: programs that it runs, files that it removes, the root that it overwrites."""
    words = call.words
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option == "--checkpoint-action" and value.startswith("exec="):
            call.walk.program(value[5:], call.state.copy(), call.span, lax=True)
        elif option in _TAR_PROGRAMS:
            text = value if equals else " ".join(words[index + 1 : index + 2])
            call.walk.program(text, call.state.copy(), call.span, lax=True)
    if "--remove-files" in words:
        targets = [field for field in operands_of(call)[1:] if field.text != ""]
        judge_removal(call, targets, "tar removes", recursive=True)
    extracts = any(re.fullmatch(r"-[a-zA-Z]*x[a-zA-Z]*|--extract|--get", word) for word in words)
    extracts = extracts or (
        bool(words) and re.fullmatch(r"[a-zA-Z]*x[a-zA-Z]*", words[0]) is not None
    )
    if extracts:
        _unpack_into(call, _directory(call))
        return through(call.stdin)
    for index, word in enumerate(words):
        if re.fullmatch(r"-?[a-zA-Z]*[cru][a-zA-Z]*f|--file", word):
            for archive in call.arguments[index + 1 : index + 2]:
                judge_write(call.walk, archive, call.state, call.span, "tar writes to")
    return through(call.stdin)


def unzip(call: Call) -> Stream:
    """`unzip` and `cpio -i`: the directory that they write to."""
    if call.name == "cpio" and not any(re.match(r"-\w*i|--extract", word) for word in call.words):
        return through(call.stdin)
    if not call.has("-l", "-t", "-v", "-Z", "-p", "--list"):
        _unpack_into(call, _directory(call))
    return COMMAND


def _directory(call: Call) -> str:
    """Return where an archive is unpacked, empty if in the current directory."""
    for index, word in enumerate(call.words):
        if word in _DIRECTORY:
            return "".join(field.text for field in call.arguments[index + 1 : index + 2])
        if word.startswith(("--directory=", "--one-top-level=")):
            return call.arguments[index].text.partition("=")[2]
        if word.startswith("-C") and len(word) > 2:
            return call.arguments[index].text[2:]
    return ""


def _unpack_into(call: Call, where: str) -> None:
    """Judge the directory, and remember that what a downloaded archive held is downloaded."""
    place = call.walk.place(where or call.state.cwd or "archive", call.state)
    if place.level in TREES:
        call.ask(Family.WIPE, f"{call.name} unpacks over {place.shown}")
    fetched = call.stdin is not None and call.stdin.downloaded
    names = (plain(resolve(field.text, call.state) or "") for field in call.arguments)
    if not fetched and not any(name in call.state.downloaded for name in names):
        return
    call.state.downloaded.add(plain(resolve(where or ".", call.state) or ""))


_DIRECTORY = frozenset(["-C", "--directory", "-d", "-D"])
_TAR_PROGRAMS = frozenset(
    [
        "--to-command",
        "--use-compress-program",
        "--rsh-command",
        "--info-script",
        "--new-volume-script",
        "-I",
        "-F",
    ]
)


def synchronise(call: Call) -> Stream:
    """`rsync`: deletes what the source lacks."""
    operands = operands_of(call)
    if any(word.startswith("--del") for word in call.words) and not _is_dry(call):
        if len(operands) > 1 and ":" not in operands[-1].text:
            judge_removal(call, operands[-1:], "rsync --delete deletes in", recursive=True)
    elif len(operands) > 1 and ":" not in operands[-1].text:
        place = call.walk.place(operands[-1].text, call.state)
        if place.level in (Level.DEVICE, Level.CRITICAL):
            judge_write(call.walk, operands[-1], call.state, call.span, "rsync writes to")
        elif place.level in TREES and not _is_dry(call):
            call.ask(Family.WIPE, f"rsync copies trees over {place.shown}")
    if call.has("--remove-source-files"):
        judge_removal(call, operands[:-1], "rsync removes", recursive=True)
    for index, word in enumerate(call.words):
        text = word.partition("=")[2] if word.startswith(("--rsh=", "--rsync-path=")) else ""
        if word in ("-e", "--rsh", "--rsync-path"):
            text = " ".join(call.words[index + 1 : index + 2])
        if text:
            call.walk.program(text, call.state.copy(), call.span, lax=True)
    return EMPTY


def _is_dry(call: Call) -> bool:
    return any(re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*|--dry-run", word) for word in call.words)


HANDLERS: Handlers = {
    "tar": unpack,
    "bsdtar": unpack,
    "gtar": unpack,
    "rsync": synchronise,
    "unzip": unzip,
    "7z": unzip,
    "cpio": unzip,
}
