# SPDX-License-Identifier: MIT
"""`find` and its kind: what is deleted or run below which directory."""

import re

import msgspec

from tibet_nc_agent.safety.budget import inserted
from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.text import ENDLESS_DEVICES, ask_if_endless, cat
from tibet_nc_agent.safety.marks import EACH
from tibet_nc_agent.safety.paths import known_as
from tibet_nc_agent.safety.redirections import written_to
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.values import COMMAND, FILE, Choice, Field, Root, Source, Stream
from tibet_nc_agent.safety.verdict import Decision, Family
from tibet_nc_agent.safety.writes import FAMILY_OF_LEVEL, judge_write, removal_below

_TESTS = frozenset(
    [
        "-name",
        "-iname",
        "-path",
        "-ipath",
        "-regex",
        "-iregex",
        "-mtime",
        "-mmin",
        "-atime",
        "-amin",
        "-ctime",
        "-cmin",
        "-newer",
        "-size",
        "-user",
        "-group",
        "-perm",
        "-empty",
        "-uid",
        "-gid",
        "-inum",
        "-samefile",
        "-lname",
        "-ilname",
        "-nouser",
        "-nogroup",
        "-links",
        "-wholename",
        "-iwholename",
        "-used",
        "-readable",
        "-writable",
        "-executable",
        "-xtype",
        "-anewer",
        "-cnewer",
    ]
)
_NAME_TESTS = frozenset(["-name", "-iname", "-path", "-ipath", "-wholename", "-iwholename"])
_SINGLES = frozenset(["-inum", "-samefile"])
_MATCHES_ALL = frozenset(["*", "*.*", ".*", "/*", "*/*", "?*", "./*"])
_EXECUTES = frozenset(["-exec", "-execdir", "-ok", "-okdir"])
_WRITES = frozenset(["-fprint", "-fprintf", "-fls", "-fprint0"])
_PLAIN_NAME = re.compile(r"\.?\w[\w.-]*")
_REMOVAL = re.compile(r"\b(?:rm|unlink|shred|srm|rmdir|truncate)\b")
_DELETION = re.compile(r"-delete|\b(?:rm|unlink|shred|srm)\b")
_CHANGE = re.compile(
    r"^(?:mv|gzip|bzip2|xz|zstd|tee|gpg|openssl)\b|^sed\b.*\s-i|^cp /dev/null\b|>\s*\"?\$"
)
_PERMISSION = re.compile(r"\b(?:chmod|chown|chgrp)\b")
_AWK_CHOOSES = re.compile(r"[=!<>]=|~|/[^/]+/|[<>]")
_CHANGERS = frozenset(["sed", "cp", "mv", "gzip", "bzip2", "xz", "zstd", "tee", "gpg", "openssl"])
_FD_EXECUTES = frozenset(["-x", "--exec", "-X", "--exec-batch"])


def find(call: Call) -> Stream:
    """`find`: `-delete`, `-exec`, and the paths that it prints."""
    roots, index = _roots(call)
    choice = _choice(call.words[index:])
    words = call.words
    while index < len(words):
        word = words[index]
        if word == "-delete":
            _judge_mass(call, "find -delete", roots, choice, permissions=False)
        elif word in _EXECUTES:
            end = _command_end(words, index + 1)
            _judge_command(call, call.arguments[index + 1 : end], roots, choice)
            index = end
        elif word in _WRITES and index + 1 < len(words):
            target = call.arguments[index + 1]
            judge_write(call.walk, target, call.state, call.span, "find writes to")
        index += 1
    printed = tuple(Root(root.text, below=True, choice=choice) for root in roots)
    return Stream(roots=printed, producer="find")


def _roots(call: Call) -> tuple[list[Field], int]:
    words, index = call.words, 0
    while index < len(words) and (
        words[index] in ("-H", "-L", "-P", "-D", "--") or words[index].startswith("-O")
    ):
        index += 2 if words[index] == "-D" else 1
    roots: list[Field] = []
    while index < len(words) and not words[index].startswith(("-", "(", ")", "!", ",")):
        roots.append(call.arguments[index])
        index += 1
    return roots or [Field(".", *call.span)], index


def _choice(tests: list[str]) -> Choice:
    """Return what the tests choose among what is found; all but a name is nearly everything."""
    choice = Choice.ALL
    for before, test, value in zip(["", *tests], tests, [*tests[1:], ""], strict=False):
        if before not in ("!", "-not") and (
            test in _SINGLES or (test in _NAME_TESTS and value not in _MATCHES_ALL)
        ):
            return Choice.NAMED
        if test.startswith("-newer") or (test in _TESTS and value not in _MATCHES_ALL):
            choice = Choice.SOME
    return choice


def _command_end(words: list[str], start: int) -> int:
    index = start
    while index < len(words):
        if words[index] == ";" or (words[index] == "+" and words[index - 1] == "{}"):
            break
        index += 1
    return index


def _judge_command(call: Call, command: list[Field], roots: list[Field], choice: Choice) -> None:
    if not command:
        return
    text = _program_text(call, command)
    found = any("{}" in field.text for field in command)
    if found and (_REMOVAL.search(text) or (choice is Choice.ALL and _CHANGE.search(text))):
        what = f"find -exec {command[0].plain}"
        _judge_mass(call, what, roots, choice, permissions=False)
    elif found and _PERMISSION.search(text):
        _judge_mass(call, "find -exec chmod", roots, choice, permissions=True)
    # A path below the root stands for each file that is found; devices and files of /etc are
    # judged below the directory that is searched.
    example = _example(call, roots)
    fields = [
        field.with_text(inserted(field.text, "{}", example)) if "{}" in field.text else field
        for field in command
    ]
    fed = call.stdin is not None and call.stdin.source is not Source.TERMINAL
    call.walk.run(fields, call.state.copy(), call.stdin if fed else FILE)


def _program_text(call: Call, command: list[Field]) -> str:
    """Return the name of the program; with what follows, if that matters or runs another one."""
    names = [field.plain.rpartition("/")[2] for field in command]
    rules = call.walk.rules
    runs_others = names[0] in ("env", "xargs", "command", *rules.languages.shells) or any(
        names[0] in wrapper.names for wrapper in rules.wrappers
    )
    texts = [field.text for field in command]
    for index, name in enumerate(names if runs_others else names[:1]):
        if name in rules.languages.shells:
            break
        if name in _CHANGERS:
            return " ".join([name, *texts[index + 1 :]])
    return " ".join(texts) if runs_others else names[0]


def _example(call: Call, roots: list[Field]) -> str:
    """Return a path that stands for what is found: with the name that is looked for, if plain."""
    root, tests = roots[0], call.words
    if call.walk.place(root.text, call.state).level in (Level.LOG, Level.BOOT, Level.CRITICAL):
        return f"{root.text.rstrip('/')}{EACH}x"
    devices = root.text.startswith("/dev") and not root.unknown
    if "-name" in tests[:-1]:
        name = tests[tests.index("-name") + 1]
        if _PLAIN_NAME.fullmatch(name):
            if devices:
                return f"{root.text.rstrip('/')}/{name}"
            excluded = tests[tests.index("-name") - 1] in ("!", "-not")
            if name in _IN_ETC and root.plain in ("/", "/etc") and not excluded:
                return f"/etc/{name}"
            folder = ".ssh/" if name.startswith("id_") else ""
            return f"/root/{folder}{name}" if name.startswith((".", "id_")) else f"{EACH}{name}"
    if devices:
        return f"{root.text.rstrip('/')}/sd"
    return f"{EACH}x"


def _judge_mass(
    call: Call, what: str, roots: list[Field], choice: Choice, *, permissions: bool
) -> None:
    for root in roots:
        place = call.walk.place(root.text, call.state)
        decide = _permissions_below if permissions else removal_below
        decision = decide(place.level, choice)
        if place.level is Level.CURRENT and choice is Choice.ALL and _DELETION.search(what):
            decision = Decision.NEEDS_APPROVAL  # as for `rm -rf *`
        if decision is None or (place.level is Level.PARTIAL and place.path == "/tmp"):  # noqa: S108
            continue
        family = FAMILY_OF_LEVEL.get(place.level, Family.WIPE)
        how = "everything" if choice is Choice.ALL else "chosen by tests"
        reason = f"{what} on {how} below {place.shown}"
        call.walk.report(decision, family, reason, call.span, call.state)


def _permissions_below(level: Level, choice: Choice) -> Decision | None:
    """Return what it means to change owner or mode of files that are found."""
    match level:
        case Level.LOG | Level.BELOW:
            return Decision.NEEDS_APPROVAL
        case _ if choice is not Choice.ALL:
            return None
        case Level.ROOT | Level.SYSTEM | Level.HOMES | Level.CRITICAL | Level.BOOT | Level.DEVICE:
            return Decision.DENY
        case Level.HOME:
            return Decision.NEEDS_APPROVAL
        case _:
            return None


def fd(call: Call) -> Stream:
    """`fd`: its `--exec`."""
    for index, word in enumerate(call.words):
        if word in _FD_EXECUTES:
            roots = [Field(".", *call.span)]
            given = [f for f in call.arguments[:index] if f.text.startswith(("/", "."))]
            # The first operand is a pattern, and `.` is the one that fits every name.
            patterns = (word for word in call.words[:index] if not word.startswith(("-", "/")))
            choice = Choice.NAMED if any(word not in (".", "") for word in patterns) else Choice.ALL
            command = call.arguments[index + 1 :]
            if not any("{" in field.text for field in command):  # fd adds what it has found
                command = [*command, Field("{}", *call.span)]
            _judge_command(call, command, given or roots, choice)
            break
    return Stream(producer="fd")


def list_files(call: Call) -> Stream:
    """`ls`: patterns and directories that it prints as they are."""
    operands = [field for field in call.arguments if not field.text.startswith("-")]
    directories = any(re.match(r"-[a-zA-Z]*d", word) for word in call.words)
    if operands and all(field.glob or directories for field in operands):
        roots = tuple(Root(field.text, below=False) for field in operands)
        return Stream(roots=roots, producer="ls")
    if operands and all(field.text.startswith("/") for field in operands):
        return Stream(roots=tuple(Root(f.text, below=True) for f in operands), producer="ls")
    return Stream(producer="ls")


def sort_lines(call: Call) -> Stream:
    """`sort` and `tail` keep in memory what they read; `sort -o` writes it."""
    ask_if_endless(call)
    for target in call.given_to("-o", "--output") if call.name == "sort" else ():
        operands = call.operands
        read = cat(
            msgspec.structs.replace(
                call, fields=[call.fields[0], *operands], words=[f.plain for f in operands]
            )
        )
        file = known_as(target.text, call.state)
        written_to(call.walk, file, read, call.state, call.span, append=False)
    return pass_roots(call)


_IN_ETC = frozenset(["shadow", "gshadow", "passwd", "sudoers"])
_LIST_PACKAGES = frozenset(["pip", "pip3", "gem", "npm", "pnpm"])


def filter_lines(call: Call) -> Stream:
    """`grep`: a device without line ends is one line without end."""
    if any(field.text in ENDLESS_DEVICES for field in call.arguments):
        ask_if_endless(call)
    return pass_roots(call)


def pass_roots(call: Call) -> Stream:
    """`grep`, `sort`: print some of the paths that they read."""
    stdin = call.stdin
    producer = "" if stdin is None else stdin.producer
    if producer in _LIST_PACKAGES:
        return Stream(producer=producer)
    listed = producer.split(" ")[0] == "ps"
    if listed and "awk" in call.name and _AWK_CHOOSES.search(" ".join(call.words)):
        return COMMAND
    if listed and call.name.endswith("grep"):
        patterns = [word for word in call.words if not word.startswith("-")]
        if any(re.fullmatch(r"-[a-zA-Z]*v[a-zA-Z]*|--invert-match", word) for word in call.words):
            return Stream(producer=producer)
        return Stream(producer=" ".join(["pgrep", *patterns]))
    if listed or producer.startswith("pgrep "):
        return Stream(producer=producer)
    if stdin is None or not stdin.roots:
        if stdin is not None and stdin.downloaded:
            return Stream(downloaded=True)
        return COMMAND
    chooses = call.name in ("grep", "egrep", "fgrep", "head", "tail", "awk", "sed")
    roots = tuple(
        Root(root.path, root.below, Choice.SOME)
        if root.below and chooses and root.choice is Choice.ALL
        else root
        for root in stdin.roots
    )
    return Stream(roots=roots, downloaded=stdin.downloaded, decoded=stdin.decoded)


HANDLERS: Handlers = {
    "find": find,
    "gfind": find,
    "fd": fd,
    "fdfind": fd,
    "ls": list_files,
    "grep": filter_lines,
    "egrep": pass_roots,
    "fgrep": pass_roots,
    "sort": sort_lines,
    "cut": pass_roots,
    "tail": sort_lines,
    "uniq": pass_roots,
}
