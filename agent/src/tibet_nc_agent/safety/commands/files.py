# SPDX-License-Identifier: MIT
"""Commands that delete, change, move or write files and devices."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.given import program_files
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.text import ENDLESS_DEVICES, sed_output, substituted
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.paths import STANDARD_INPUT, known_as, resolve
from tibet_nc_agent.safety.redirections import written_to
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.start_files import judge_start_file
from tibet_nc_agent.safety.values import COMMAND, EMPTY, Field, Stream, through
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import (
    judge_move,
    judge_permissions,
    judge_removal,
    judge_write,
)

_INFORMATION = frozenset(["--help", "--version"])
_RM_LETTERS = re.compile(r"-[a-zA-Z]*[rR]")
_MODE_OPTION = re.compile(r"-[RvcfHLPh]+")
_TAKES_ATTRIBUTE = re.compile(r"-[aAcCdDeFijmPsStTux]+")
_OWNER_ONLY = re.compile(r"0?[4-7]00|(?:og|go|o|g)(?:-[rwx]+|=)|u\+?=?[rwX]+,(?:og|go)(?:-rwx|=)")
_TAKES_AWAY = re.compile(r"[ugoa]*-(?=[wX]*[rx])[rwxX]+|0{1,4}")
_SHORTEST_USER = 3  # names of two letters begin too much
_SET_ID = re.compile(r"(?:[goa]*u[ugoa]*|[go]*a[goa]*|)[+=][rwxXt]*s[rwxXt]*|0?[4-7][0-7]{3}")
_SED_SCRIPT = re.compile(r"-[nErsuzi]*[ef]|--(?:expression|file)\b")
_SED_EXECUTE = re.compile(r"(?:^|[;\n\d$/{}])\s*e\s+([^\n;}]+)")
_SED_WRITE = re.compile(r"(?:^|[;\n\d$/{}])\s*w\s+(/[^\s;}]+)")
_SED_RUNS = re.compile(
    r"(?:^|[;\n\d$/{}])\s*s([/,|#@!:])(?:(?!\1).)*\1((?:(?!\1).)*)\1[gipmIM\d]*e"
)
_COPIES_TREES = re.compile(r"-[a-zA-Z]*[rRa]|--recursive|--archive")
_LINK_REPLACES = re.compile(
    r"(?:^|\s)-[a-zA-Z]*[nT]|(?:^|\s)--no-(?:dereference|target-directory)(?:\s|$)"
)
_INTO = re.compile(r"-[^\W\d_Smogt]*t|--t[a-z-]*(?:=|$)")
_MAKES_DIRECTORIES = re.compile(r"-[^\W\d_Smogtd]*d|--directory$")
_SYSTEM_PROGRAM = re.compile(r"/(?:usr/)?s?bin/[\w.-]+")
_PRINT_PROGRAMS = frozenset(["which", "command", "type", "whereis"])
_MANY_IN_ONE = frozenset(["busybox", "toybox"])  # which of them is meant, the name says
_COUNT_BY_BEING_THERE = frozenset(
    ["/etc/nologin", "/run/nologin", "/etc/ssh/sshd_not_to_be_run", "/forcefsck"]
)
_READ_ONLY = re.compile(r"[\s,]ro(?:[\s,]|$)|(?:^|\s)(?:-r|--read-only)(?:\s|$)")
_CREDENTIAL_WORD = re.compile(r"\+ep?$|cap_")


def _is_help(call: Call) -> bool:
    return any(word in _INFORMATION for word in call.words)


def remove(call: Call) -> Stream:
    """`rm`."""
    recursive = computed = False
    targets: list[Field] = []
    for index, (field, word) in enumerate(zip(call.arguments, call.words, strict=True)):
        if word == "--":
            targets.extend(call.arguments[index + 1 :])
            break
        if not word.startswith("-") or word == "-":
            computed = computed or (field.text == UNKNOWN and not field.quoted)
            targets.append(field)
        elif word.startswith("--"):
            name = word[2:].partition("=")[0]
            if name in ("help", "version"):
                return EMPTY
            recursive = recursive or "recursive".startswith(name)
            if len(name) > 1 and "no-preserve-root".startswith(name):
                call.deny(Family.WIPE, "rm --no-preserve-root")
        else:
            recursive = recursive or _RM_LETTERS.match(word) is not None
            computed = computed or field.unknown
    # An unquoted unknown may be an option: with a whole tree beside it, it counts as -r.
    whole = [f for f in targets if call.walk.place(f.text, call.state).level in TREES]
    if computed and whole and not recursive:
        judge_removal(call, whole, "rm deletes", recursive=True)
    judge_removal(call, targets, "rm deletes", recursive=recursive)
    return EMPTY


TREES = frozenset([Level.ROOT, Level.SYSTEM, Level.HOMES])
"""What is more than a file."""


def unlink(call: Call) -> Stream:
    """`unlink`, `trash`."""
    if not _is_help(call):
        judge_removal(call, call.operands, f"{call.name} deletes", recursive=False)
    return EMPTY


def touch(call: Call) -> Stream:
    """`touch`: that some files are there is enough."""
    for field in call.operands:
        if field.plain in _COUNT_BY_BEING_THERE:
            judge_write(call.walk, field, call.state, call.span, "touch makes", append=True)
    return EMPTY


def erase_tree(call: Call) -> Stream:
    """`rimraf`, which is `rm -rf`."""
    if not _is_help(call):
        judge_removal(call, call.operands, f"{call.name} deletes", recursive=True)
    return EMPTY


def change_mode(call: Call) -> Stream:
    """`chmod`, `chown`, `chgrp` and the like: the first operand is not a path."""
    if _is_help(call):
        return EMPTY
    recursive = reference = False
    operands: list[Field] = []
    for index, (field, word) in enumerate(zip(call.arguments, call.words, strict=True)):
        if word == "--":
            operands.extend(call.arguments[index + 1 :])
            break
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            recursive = recursive or "recursive".startswith(name)
            reference = reference or (len(name) > 2 and "reference".startswith(name))
        elif (
            word.startswith("-")
            and len(word) > 1
            and (call.name != "chmod" or _MODE_OPTION.fullmatch(word))
        ):
            recursive = recursive or "R" in word
        else:
            operands.append(field)
    if call.name == "chattr" and any(_TAKES_ATTRIBUTE.fullmatch(word) for word in call.words):
        reference = True  # `-i` is the mode
    targets = operands if reference else operands[1:]
    if call.name == "setfacl":
        targets = operands[-1:]
    if call.name == "chmod" and operands and _SET_ID.fullmatch(operands[0].plain) and not reference:
        call.ask(Family.USERS, "chmod sets the set-user-id bit")
    if call.name == "chmod" and operands and _TAKES_AWAY.fullmatch(operands[0].plain):
        for target in targets:
            place = call.walk.place(target.text, call.state)
            if place.level is Level.PROGRAM:
                call.ask(Family.WIPE, f"chmod makes {place.shown} unusable")
    if call.name in ("chown", "chgrp") and operands:
        targets = [field for field in targets if not _is_own_state(operands[0].plain, field.plain)]
    if call.name == "chmod" and operands and _OWNER_ONLY.fullmatch(operands[0].plain):
        targets = [field for field in targets if "/.ssh" not in field.text]  # as ssh wants them
    judge_permissions(call, targets, f"{call.name} changes", recursive=recursive)
    return EMPTY


def _is_own_state(owner: str, path: str) -> bool:
    """Whether a service gets what is its own: `chown -R postgres: /var/lib/postgresql`."""
    user = owner.split(":", maxsplit=1)[0]
    found = re.fullmatch(r"/var/lib/([\w-]+)(?:/[\w./-]*)?", path)
    if found is None or ".." in path or len(user) < _SHORTEST_USER:
        return False
    return found.group(1).startswith(user) and not found.group(1).startswith("tibet-nc")


def move(call: Call) -> Stream:
    """`mv`."""
    if _is_help(call):
        return EMPTY
    sources, target = _sources_and_target(call)
    judge_move(call, [s for s in sources if not _is_put_in_place(s, target)], "mv takes away")
    if target is not None:
        path = resolve(target.text, call.state)
        if path == "/dev/null":
            call.deny(Family.WIPE, "mv to /dev/null replaces the device")
        else:
            judge_write(call.walk, target, call.state, call.span, "mv goes to")
            _judge_inside(call, sources, target, "mv goes to")
        copy_knowledge(call, sources, target)
    return EMPTY


def _judge_inside(call: Call, sources: list[Field], target: Field, verb: str) -> None:
    """Judge what a directory gets: `cp passwd /etc/` writes /etc/passwd."""
    named = any(_INTO.match(word) for word in call.words)
    directory = call.walk.place(target.text, call.state).level in TREES
    if not (named or directory or len(sources) > 1 or target.plain.endswith("/")):
        return
    for source in sources if call.name != "ln" or named else ():
        base = source.text.rstrip("/").rpartition("/")[2]
        inside = target.with_text(f"{target.text.rstrip('/')}/{base}")
        judge_write(call.walk, inside, call.state, call.span, verb)


def _is_put_in_place(source: Field, target: Field | None) -> bool:
    """Whether a file gets the name that it was made for: `mv app.conf.new app.conf`."""
    if target is None or source.unknown or target.unknown or target.plain.endswith("/"):
        return False
    return re.fullmatch(re.escape(target.plain) + r"[.~-]\w*", source.plain) is not None


def _sources_and_target(call: Call) -> tuple[list[Field], Field | None]:
    operands = call.operands
    for index, word in enumerate(call.words):
        found = _INTO.match(word)
        if found is None:
            continue
        field = call.arguments[index]
        if found.end() < len(word):
            return operands, field.with_text(field.text[found.end() :])
        if index + 1 < len(call.words):
            target = call.arguments[index + 1]
            return [field for field in operands if field is not target], target
    return operands[:-1], operands[-1] if len(operands) > 1 else None


def copy(call: Call) -> Stream:
    """`cp`, `install`, `ln`."""
    if _is_help(call):
        return EMPTY
    sources, target = _sources_and_target(call)
    if call.name == "install" and any(_MAKES_DIRECTORIES.match(word) for word in call.words):
        made = [field for field in call.operands if "/.ssh" not in field.text]
        judge_permissions(call, made, "install changes", recursive=False)
    elif target is not None:
        judge_write(call.walk, target, call.state, call.span, f"{call.name} goes to")
        _judge_inside(call, sources, target, f"{call.name} goes to")
        copy_knowledge(call, sources, target)
        if call.name == "cp" and any(_COPIES_TREES.match(word) for word in call.words):
            place = call.walk.place(target.text, call.state)
            if place.level in TREES:
                call.ask(Family.WIPE, f"cp copies trees over {place.shown}")
        if call.name == "ln" and any(resolve(f.text, call.state) == "/" for f in sources):
            call.ask(Family.WIPE, "ln gives / another name")
        if call.name == "ln" and _LINK_REPLACES.search(" ".join(call.words)):
            place = call.walk.place(target.text, call.state)
            if place.level in TREES:  # /bin and /lib may be links themselves
                call.deny(Family.WIPE, f"ln replaces {place.shown}")
    if call.name == "install" and any(
        _SET_ID.fullmatch(word.removeprefix("-m").removeprefix("--mode=")) for word in call.words
    ):
        call.ask(Family.USERS, "install sets the set-user-id bit")
    return EMPTY


def copy_knowledge(call: Call, sources: list[Field], target: Field) -> None:
    """Remember what copies hold, whether the target is their name or the directory of them.

    A copy of a program of the system, or a link to it, does what the program does.
    """
    state, path = call.state, known_as(target.text, call.state)
    for source in sources if path else ():
        name = known_as(source.text, state)
        copies = (path, known_as(f"{path}/{name.rpartition('/')[2]}", state))
        if name in STANDARD_INPUT and call.stdin is not None:
            written_to(call.walk, path, call.stdin, state, call.span, append=False)
        for tainted in (state.downloaded, state.decoded):
            if name in tainted:
                tainted.update(copies)
        program = _SYSTEM_PROGRAM.fullmatch(name) or source.producer in _PRINT_PROGRAMS
        text = f'{name} "$@"\n' if program else state.files.get(name)
        if text is not None:
            state.files.update(dict.fromkeys(copies, text))
        held = Stream(text, downloaded=name in state.downloaded, decoded=name in state.decoded)
        if name.rpartition("/")[2] in _MANY_IN_ONE:
            state.files.update((c, f'{name} {c.rpartition("/")[2]} "$@"\n') for c in copies)
        for copied in copies:
            judge_start_file(call.walk, copied, held, state, call.span)


def tee(call: Call) -> Stream:
    """`tee` writes files and passes its input on."""
    append = any(re.fullmatch(r"-[ip]*a[ip]*|--append", word) for word in call.words)
    stdin = call.stdin
    for field in call.operands:
        if field.stream is not None:
            continue
        place = judge_write(call.walk, field, call.state, call.span, "tee writes to", append=append)
        if stdin is not None:
            file = plain(place.path)
            written_to(call.walk, file, stdin, call.state, call.span, append=append)
    return stdin if stdin is not None and stdin.text is not None else through(stdin)


def convert(call: Call) -> Stream:
    """`dd` and its forks."""
    if _is_help(call):
        return EMPTY
    endless = _is_endless(call)
    for field, word in zip(call.arguments, call.words, strict=True):
        name, _, _ = word.partition("=")
        if name in ("of", "ofs", "hof"):
            target = field.with_text(field.text.partition("=")[2])
            place = judge_write(call.walk, target, call.state, call.span, f"{call.name} writes to")
            sources = [f.with_text(f.text[3:]) for f in call.arguments if f.text.startswith("if=")]
            copy_knowledge(call, sources, target)
            if call.stdin is not None and not sources:
                file = plain(place.path)
                written_to(call.walk, file, call.stdin, call.state, call.span, append=False)
            if place.level is Level.UNKNOWN:
                call.ask(Family.DISK, f"{call.name} writes to a target that is not in the command")
            elif endless and place.level is not Level.DEVICE and not place.path.startswith("/dev/"):
                call.ask(Family.BOMB, f"endless output fills the disk through {place.shown}")
        elif name == "wipe":
            call.deny(Family.DISK, f"{call.name} wipes")
        elif field.text.startswith(UNKNOWN):
            call.ask(Family.DISK, f"{call.name} has operands that are not in the command")
    if endless and not any(word.startswith("of=") for word in call.words):
        return Stream(producer=call.name, endless=True)
    return through(call.stdin)


def rescue(call: Call) -> Stream:
    """`ddrescue`: the second operand is what it writes to."""
    for target in call.operands[1:2]:
        judge_write(call.walk, target, call.state, call.span, f"{call.name} writes to")
    return COMMAND


def _is_endless(call: Call) -> bool:
    """Whether `dd` reads what never ends, and all of it."""
    if any(word.startswith("count=") for word in call.words):
        return False
    read = [word.partition("=")[2] for word in call.words if word.startswith("if=")]
    if read:
        return read[-1] in ENDLESS_DEVICES
    return call.stdin is not None and call.stdin.endless


def shred(call: Call) -> Stream:
    """`shred`, `wipe`, `srm`."""
    if _is_help(call):
        return EMPTY
    for field in call.operands:
        place = call.walk.place(field.text, call.state)
        if place.level is Level.UNKNOWN:
            call.ask(Family.DISK, f"{call.name} overwrites a target that is not in the command")
        elif place.level is Level.DEVICE:
            call.deny(Family.DISK, f"{call.name} overwrites {place.shown}")
        else:
            recursive = any(_RM_LETTERS.match(option) for option in call.words)
            judge_removal(call, [field], f"{call.name} overwrites", recursive=recursive)
    return EMPTY


def truncate(call: Call) -> Stream:
    """`truncate`, `fallocate`: set the size of a file."""
    if not _is_help(call):
        for field in call.operands:
            judge_write(call.walk, field, call.state, call.span, f"{call.name} empties")
    return EMPTY


def patch(call: Call) -> Stream:
    """`patch`: the first operand is what it changes."""
    for field in call.operands[:1] if not call.has("--dry-run") else ():
        judge_write(call.walk, field, call.state, call.span, "patch changes", append=True)
    for directory in call.given_to("-d", "--directory") if not call.has("--dry-run") else ():
        place = call.walk.place(directory.text, call.state)
        if place.level in TREES:
            call.ask(Family.WIPE, f"patch changes files in {place.shown}")
    return EMPTY


def sed(call: Call) -> Stream:
    """`sed`: edits in place, and scripts that run or write."""
    in_place = any(re.match(r"-[nErsuz]*i|--in-place", word) for word in call.words)
    if in_place:
        given = any(_SED_SCRIPT.match(word) for word in call.words)
        for field in call.operands[0 if given else 1 :]:
            judge_write(call.walk, field, call.state, call.span, "sed edits")
            edit_known(call, field, "" if given else call.operands[0].plain)
    for field in [*call.arguments, *program_files(call, "-f", "--file")]:
        word = field.plain
        for found in _SED_EXECUTE.finditer(word):
            call.tell_shell(found.group(1))
        for found in _SED_WRITE.finditer(word):
            target = field.with_text(found.group(1))
            judge_write(call.walk, target, call.state, call.span, "sed writes to")
        for found in _SED_RUNS.finditer(word):
            call.ask(Family.OPAQUE, "sed runs the lines that it has changed")
            call.tell_shell(found.group(2))
    return sed_output(call) if not in_place else EMPTY


def edit_known(call: Call, field: Field, script: str = "") -> None:
    """Keep what a file of the same line holds after a script of `sed`, or forget it."""
    files, path = call.state.files, known_as(field.text, call.state)
    if path in files:
        files[path] = substituted(script, files[path]) or UNKNOWN


def capabilities(call: Call) -> Stream:
    """`setcap`."""
    if any(_CREDENTIAL_WORD.search(word) for word in call.words) and not call.has("-r", "-v"):
        call.ask(Family.USERS, "setcap gives a program privileges")
    return EMPTY


def mount_over(call: Call) -> Stream:
    """`mount` on a system directory hides it; `-o remount` changes it."""
    operands = call.operands
    if operands and any(word in ("--bind", "-B", "--rbind", "-R") for word in call.words):
        source = call.walk.place(operands[0].text, call.state)
        if source.level in (Level.ROOT, Level.HOMES):
            call.ask(Family.DISK, f"mount gives {source.shown} another name")
    if operands and call.has("--move", "-M"):
        source = call.walk.place(operands[0].text, call.state)
        if source.level in TREES:
            call.ask(Family.DISK, f"mount takes {source.shown} away")
    remounts = any("remount" in word for word in call.words)
    if remounts and operands and _READ_ONLY.search(" ".join(call.words)):
        place = call.walk.place(operands[-1].text, call.state)
        if place.level in TREES:
            call.ask(Family.DISK, f"mount forbids writing to {place.shown}")
    if len(operands) > 1 and not remounts and not _is_help(call):
        place = call.walk.place(operands[-1].text, call.state)
        if place.level in (*TREES, Level.LOG):
            call.ask(Family.DISK, f"mount hides {place.shown}")
    return EMPTY


HANDLERS: Handlers = {
    "rm": remove,
    "unlink": unlink,
    "trash": unlink,
    "trash-put": unlink,
    "rimraf": erase_tree,
    "remove_directory": erase_tree,  # of `cmake -E`
    "del-cli": erase_tree,
    "touch": touch,
    "chmod": change_mode,
    "chown": change_mode,
    "chgrp": change_mode,
    "lchown": change_mode,
    "chattr": change_mode,
    "chcon": change_mode,
    "setfacl": change_mode,
    "mv": move,
    "cp": copy,
    "install": copy,
    "ln": copy,
    "tee": tee,
    "sponge": tee,
    "dd": convert,
    "ddrescue": rescue,
    "dd_rescue": rescue,
    "dcfldd": convert,
    "sg_dd": convert,
    "dc3dd": convert,
    "ddpt": convert,
    "shred": shred,
    "wipe": shred,
    "srm": shred,
    "scrub": shred,
    "truncate": truncate,
    "fallocate": truncate,
    "patch": patch,
    "sed": sed,
    "gsed": sed,
    "setcap": capabilities,
    "mount": mount_over,
    "systemd-mount": mount_over,
}
