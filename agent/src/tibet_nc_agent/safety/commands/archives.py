# SPDX-License-Identifier: MIT
"""`tar` and `rsync`: whole trees that are packed, unpacked over others, or made the same."""

import re

from msgspec import Struct

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.credentials import judge_copied
from tibet_nc_agent.safety.commands.downloads import copied_output, remember_copies
from tibet_nc_agent.safety.commands.files import TREES
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.paths import known_as
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.values import COMMAND, EMPTY, Field, Stream, through
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_removal, judge_write


class _Tar(Struct):
    """The arguments of `tar`, told apart: letters, their values, and what is packed."""

    letters: str = ""
    values: list[tuple[str, Field]] = []
    operands: list[Field] = []

    def of(self, letters: str) -> list[Field]:
        """Return the values of these letters."""
        return [field for letter, field in self.values if letter in letters]


def _read(call: Call) -> _Tar:
    tar, rest = _Tar(), list(call.arguments)
    first = True
    while rest:
        field = rest.pop(0)
        word = field.plain
        if word == "--":
            tar.operands.extend(rest)
            break
        long_name, equals, _ = word.partition("=")
        if letter := _letter_of(long_name):
            tar.letters += letter
            if equals:
                tar.values.append((letter, field.with_text(field.text.partition("=")[2])))
            elif letter in _TAR_VALUES and rest:
                tar.values.append((letter, rest.pop(0)))
        elif first and word.isalpha():  # the old way: `tar xzfC archive directory`
            tar.letters += word
            for letter in word:
                if letter in _TAR_VALUES and rest:
                    tar.values.append((letter, rest.pop(0)))
        elif word.startswith("-") and not word.startswith("--") and len(word) > 1:
            _read_cluster(tar, field, rest)
        elif not word.startswith("-"):
            tar.operands.append(field)
        first = False
    return tar


def _letter_of(name: str) -> str:
    """Return the letter of a long option, which may be cut off, "" if it is none of these."""
    if name in _TAR_LONG or not name.startswith("--") or len(name) < _SHORTEST:
        return _TAR_LONG.get(name, "")
    letters = {letter for option, letter in _TAR_LONG.items() if option.startswith(name)}
    return letters.pop() if len(letters) == 1 else ""


def _read_cluster(tar: _Tar, field: Field, rest: list[Field]) -> None:
    for index, letter in enumerate(field.plain[1:], start=1):
        tar.letters += letter
        if letter in _TAR_VALUES:
            attached = field.text[index + 1 :]
            if attached:
                tar.values.append((letter, field.with_text(attached)))
            elif rest:
                tar.values.append((letter, rest.pop(0)))
            break


def unpack(call: Call) -> Stream:
    """`tar`: programs that it runs, files that it removes, the root that it overwrites."""
    tar = _read(call)
    for action in tar.of("E"):
        name, _, text = action.text.partition("=")
        if name == "exec":
            call.tell_shell(text)
    for program in tar.of("IF"):
        call.tell_shell(program.text)
    directories = _directories(tar)
    packed = [
        field.with_text(_joined(directory, field.text))
        for field in tar.operands
        for directory in directories or [""]
    ]
    if call.has("--remove-files"):
        judge_removal(call, packed, "tar removes", recursive=True)
    if "x" in tar.letters:
        named = (word.partition("=")[2] for word in call.words if word.startswith(_TOP_LEVEL))
        for directory in directories or [next(named, "")]:
            _unpack_into(call, directory)
    elif any(letter in tar.letters for letter in "cruA"):
        judge_copied(call, packed)
        for archive in tar.of("f"):
            judge_write(call.walk, archive, call.state, call.span, "tar writes to")
    return through(call.stdin)


def _directories(tar: _Tar) -> list[str]:
    """Return where `tar` goes, one after the other: each -C counts from the one before it."""
    directories: list[str] = []
    for field in tar.of("C"):
        directories.append(_joined(directories[-1] if directories else "", field.text))
    return directories


def _joined(directory: str, name: str) -> str:
    return name if name.startswith("/") or not directory else f"{directory.rstrip('/')}/{name}"


def unzip(call: Call) -> Stream:
    """`unzip` and `cpio -i`: the directory that they write to."""
    if call.name == "cpio" and not any(re.match(r"-\w*i|--extract", word) for word in call.words):
        return through(call.stdin)
    if not call.has("-l", "-t", "-v", "-Z", "-p", "--list"):
        into = call.given_to(*_DIRECTORY[call.name])
        _unpack_into(call, into[0].text if into else "")
    return COMMAND


def _unpack_into(call: Call, where: str) -> None:
    """Judge the directory, and remember that what a downloaded archive held is downloaded."""
    place = call.walk.place(where or call.state.cwd or "archive", call.state)
    if place.level in TREES:
        call.ask(Family.WIPE, f"{call.name} unpacks over {place.shown}")
    fetched = call.stdin is not None and call.stdin.downloaded
    names = (known_as(field.text, call.state) for field in call.arguments)
    if not fetched and not any(name in call.state.downloaded for name in names):
        return
    call.state.downloaded.add(known_as(where or ".", call.state))


_DIRECTORY = {"unzip": ("-d",), "7z": ("-o",), "cpio": ("-D", "--directory")}
_TOP_LEVEL = "--one-top-level="
_RSYNC_SHELL = re.compile(r"-[^\W\d_fBMTe]*e")
_SHORTEST = 5  # characters of a long option that is cut off
_TAR_VALUES = "bCEfFgHIKLNTVX"
_TAR_LONG = {
    "--append": "r",
    "--catenate": "A",
    "--checkpoint-action": "E",
    "--concatenate": "A",
    "--create": "c",
    "--directory": "C",
    "--exclude-from": "X",
    "--extract": "x",
    "--file": "f",
    "--files-from": "T",
    "--get": "x",
    "--info-script": "F",
    "--new-volume-script": "F",
    "--rsh-command": "I",
    "--to-command": "I",
    "--update": "u",
    "--use-compress-program": "I",
}


def synchronise(call: Call) -> Stream:
    """`rsync`: deletes what the source lacks."""
    operands = call.operands
    if any(word.startswith("--del") for word in call.words) and not _is_dry(call):
        if len(operands) > 1 and ":" not in operands[-1].text:
            judge_removal(call, operands[-1:], "rsync --delete deletes in", recursive=True)
    elif len(operands) > 1 and ":" not in operands[-1].text:
        place = call.walk.place(operands[-1].text, call.state)
        if place.level in (Level.DEVICE, Level.CRITICAL):
            judge_write(call.walk, operands[-1], call.state, call.span, "rsync writes to")
        elif place.level in TREES and not _is_dry(call):
            call.ask(Family.WIPE, f"rsync copies trees over {place.shown}")
    if len(operands) > 1 and ":" not in operands[-1].text:
        remember_copies(call, operands[:-1], operands[-1])
    if call.has("--remove-source-files"):
        judge_removal(call, operands[:-1], "rsync removes", recursive=True)
    for index, word in enumerate(call.words):
        text = word.partition("=")[2] if word.startswith(("--rsh=", "--rsync-path=")) else ""
        if word in ("--rsh", "--rsync-path"):
            text = " ".join(call.words[index + 1 : index + 2])
        elif (found := _RSYNC_SHELL.match(word)) is not None:
            text = word[found.end() :] or " ".join(call.words[index + 1 : index + 2])
        if text:
            call.tell_shell(text)
    return copied_output(operands[:-1], operands[-1]) if operands else EMPTY


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
