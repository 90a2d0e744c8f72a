# SPDX-License-Identifier: MIT
"""Programs that fetch: their output is tainted, and so are the files that they write."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.files import TREES, copy_knowledge
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.paths import STANDARD_OUTPUT, known_as
from tibet_nc_agent.safety.start_files import judge_start_file
from tibet_nc_agent.safety.values import EMPTY, Field, Stream
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_removal, judge_write

_URL = re.compile(r"(?:https?|ftp|sftp|scp)://|[\w.-]+\.[a-z]{2,}/")
_OUTPUT_LONG = frozenset(["--output", "--output-document", "--out"])
_CURL_FLAGS = "#0-9aBfgGiIjJkLlMnNpqRsSvVZ"
# Letters of which none has a value, up to the one that names the output.
_OUTPUT_LETTER = {
    "curl": re.compile(rf"-[{_CURL_FLAGS}O]*o"),
    "wget": re.compile(r"-(?:[bcdEFHhKkLmNpqrSvVx46]|n[cdHpv])*O"),
    "wget2": re.compile(r"-(?:[bcdEFHhKkLmNpqrSvVx46]|n[cdHpv])*O"),
}
_ANY_OUTPUT_LETTER = re.compile(r"-[a-zA-Z]*[oO]$|-[oO]")
_REMOTE_NAME = re.compile(rf"-[{_CURL_FLAGS}]*O[{_CURL_FLAGS}O]*$|--remote-name")
_SAVES_BY_NAME = frozenset(
    ["wget", "wget2", "wcurl", "aria2c", "axel", "fetch", "ftp", "tnftp", "lwp-download", "zsync"]
)
_NAMES_FILE = frozenset(["lwp-download", "lwp-mirror"])  # behind the address
_GH_LOCAL = frozenset(["completion", "copilot", "alias", "config", "auth", "status"])
_DIRECTORY = {
    "wget": ("-P", "--directory-prefix"),
    "wget2": ("-P", "--directory-prefix"),
    "aria2c": ("-d", "--dir"),
}
_FILTER = re.compile(r"--(?:[a-z]+-)+filter|--setup")
_GIT_PROGRAM = re.compile(
    r"(?:alias\.[\w.-]+=!|core\.(?:pager|editor|sshCommand|fsmonitor|hooksPath|askPass)=|"
    r"pager\.\w+=|"
    r"sequence\.editor=|diff\.external=|credential\.helper=!|filter\.\w+\.(?:clean|smudge)=)(.+)",
    re.DOTALL,
)
_EXTERNAL = "ext::"  # behind it a command, in which `% ` is a blank inside of a word
_DISCARDS = {
    "reset": frozenset(["--hard", "--merge"]),
    "checkout": frozenset(["-f", "--force", "."]),
    "restore": frozenset(["."]),
}
_COPIES = frozenset(["cp", "copy", "copyto", "get", "mv", "move", "sync"])
_CLONES = {
    "git": ("clone",),
    "hg": ("clone",),
    "svn": ("checkout", "co", "export"),
    "bzr": ("branch", "checkout", "clone", "export"),
}
_TYPED_GET = re.compile(r"(?:^|[;&])[ \t@-]*(?:re|m|p)?get[ \t]+([^\n;&]+)", re.MULTILINE)
_TYPED_AT = frozenset(["lftp", "ftp", "tnftp", "ncftp", "smbclient"])
_CLONE_NAME = re.compile(r"([^/:]+?)(?:\.git)?/*$")


def fetch(call: Call) -> Stream:
    """`curl`, `wget` and the like."""
    if call.name == "gh" and call.words[:1] and call.words[0] in _GH_LOCAL:
        return Stream(producer="completion")
    url = next((word for word in reversed(call.words) if _URL.match(word)), "")
    if not url and call.words:
        operands = [word for word in call.words if not word.startswith("-")]
        url = operands[-1] if operands else ""
    written = _written_files(call, url)
    for field in written:
        path = known_as(field.text, call.state)
        call.state.downloaded.add(path)
        call.state.files.pop(path, None)
        judge_write(call.walk, field, call.state, call.span, f"{call.name} writes to")
        judge_start_file(call.walk, path, Stream(downloaded=True), call.state, call.span)
    _remember_copied(call)
    if call.name in _TYPED_AT:
        typed = [field.plain for field in call.given_to("-c", "-e")]
        typed += [] if call.stdin is None or call.stdin.known is None else [call.stdin.known]
        _remember_typed(call, "\n".join(typed))
    return Stream(downloaded=True, producer=call.name)


def _remember_copied(call: Call) -> None:
    """`aws s3 cp s3://bucket/file .`, `rclone copy`: the verb is an operand."""
    operands = call.operands
    verb = next((i for i, field in enumerate(operands) if field.plain in _COPIES), len(operands))
    *sources, target = operands[verb + 1 :] or [call.fields[0]]
    if sources and ":" not in target.text:
        remember_copies(call, sources, target)


def _written_files(call: Call, url: str) -> list[Field]:
    name = url.split("?", 1)[0].rstrip("/").rpartition("/")[2]
    if call.name == "zsync":
        name = name.removesuffix(".zsync")
    if call.name in _TYPED_AT and not {":", "/"} & {*url}:
        name = ""  # a host
    remote_name = call.fields[0].with_text(name)
    files: list[Field] = []
    names_output = False
    for index, word in enumerate(call.words):
        following = call.arguments[index + 1 : index + 2]
        long_name, equals, _ = word.partition("=")
        if long_name in _OUTPUT_LONG:
            names_output = True
            field = call.arguments[index]
            files.extend([field.with_text(field.text.partition("=")[2])] if equals else following)
        elif call.name == "curl" and _REMOTE_NAME.match(word):
            files.append(remote_name)
        elif found := _output_letter(call.name).match(word):
            names_output = True
            given = call.arguments[index].text[found.end() :]
            files.extend([call.arguments[index].with_text(given)] if given else following)
    if call.name in _SAVES_BY_NAME and not names_output and remote_name.text:
        for directory in call.given_to(*_DIRECTORY.get(call.name, ())):
            remote_name = directory.with_text(f"{directory.text}/{remote_name.text}")
        files.append(remote_name)
    files += call.operands[1:2] if call.name in _NAMES_FILE else []
    return [field for field in files if field.text not in ("-", "")]


def _output_letter(name: str) -> re.Pattern[str]:
    return _OUTPUT_LETTER.get(name, _ANY_OUTPUT_LETTER)


def remote_copy(call: Call) -> Stream:
    """`scp`, `sftp`: a remote source makes the local copy a download."""
    typed = call.stdin.known if call.stdin is not None else None
    for batch in call.given_to("-b") if call.name == "sftp" else ():
        typed = call.state.files.get(known_as(batch.text, call.state), typed)
    _remember_typed(call, typed or "")
    operands = [field for field in call.arguments if not field.text.startswith("-")]
    if len(operands) > 1 and ":" not in operands[-1].text:
        target = operands[-1]
        judge_write(call.walk, target, call.state, call.span, f"{call.name} writes to")
        remember_copies(call, operands[:-1], target)
        return copied_output(operands[:-1], target)
    return EMPTY


def copied_output(sources: list[Field], target: Field) -> Stream:
    """Return what a copy from other hosts prints, if that is where it goes."""
    remote = any(":" in source.text for source in sources)
    return Stream(downloaded=True) if remote and target.text in STANDARD_OUTPUT else EMPTY


def _remember_typed(call: Call, typed: str) -> None:
    """Remember what the commands of a client of FTP and the like fetch."""
    for found in _TYPED_GET.finditer(typed):
        names = found.group(1).split()
        call.state.downloaded.update(
            known_as(name.rpartition("/")[2], call.state) for name in names
        )


def remember_copies(call: Call, sources: list[Field], target: Field) -> None:
    """Remember what copies hold: from another host they are downloads."""
    for source in sources:
        if ":" in source.text:
            base = source.plain.rpartition(":")[2].rpartition("/")[2]
            path = known_as(target.text, call.state)
            call.state.downloaded.update((path, base if path == "." else f"{path}/{base}"))
        else:
            copy_knowledge(call, [source], target)


def git(call: Call) -> Stream:
    """`git`: commands in its configuration, hooks of bisect and rebase, a cloned tree."""
    words = call.words
    for index, word in enumerate(words):
        setting = f"{word}={words[index + 1]}" if "config" in words and words[index + 1 :] else word
        found = _GIT_PROGRAM.match(word) or _GIT_PROGRAM.match(setting)
        if found is not None:
            call.tell_shell(found.group(1))
        elif word.startswith("!") and len(word) > 1:
            call.tell_shell(word[1:])
        elif word.startswith(_EXTERNAL):
            text = word.removeprefix(_EXTERNAL).replace("% ", "\\ ").replace("%%", "%")
            call.tell_shell(text)
        elif word in ("-x", "--exec") and {"rebase", "difftool"} & {*words} and words[index + 1 :]:
            call.walk.program(words[index + 1], call.state.started(), call.span)
        elif word == "foreach" or _FILTER.fullmatch(word):
            given = words[index + 1 :] if word == "foreach" else words[index + 1 : index + 2]
            text = " ".join(given).removeprefix("--recursive ")
            call.tell_shell(text)
    if "bisect" in words and "run" in words:
        command = call.arguments[words.index("run") + 1 :]
        if command:
            call.walk.run(command, call.state.copy(), None)
    if "clean" in words and any(re.match(r"-\w*f|--force", word) for word in words):
        where = _git_directory(call)
        if where:
            field = call.fields[0].with_text(where)
            judge_removal(call, [field], "git clean deletes in", recursive=True)
    if any(verb in words and options.intersection(words) for verb, options in _DISCARDS.items()):
        place = call.walk.place(_git_directory(call) or "tree", call.state)
        if place.level in TREES:
            call.ask(Family.WIPE, f"git puts back every file of {place.shown}")
    fetched = "archive" in words and any(word.startswith("--remote") for word in words)
    return Stream(downloaded=True) if fetched else clone(call)


def clone(call: Call) -> Stream:
    """`git clone`, `svn checkout`: a tree that comes from elsewhere."""
    words = call.words
    verbs = _CLONES[call.name]
    verb = next((index for index, word in enumerate(words) if word in verbs), len(words))
    operands = [word for word in words[verb + 1 :] if not word.startswith("-")]
    found = _CLONE_NAME.search(operands[-1]) if operands else None
    if found is not None:
        call.state.downloaded.update((found.group(1), known_as(found.group(1), call.state)))
    return Stream(producer=call.name)


def _git_directory(call: Call) -> str | None:
    """Return the directory that git works on, None if it isn't known."""
    given = call.given_to("-C", "--work-tree")
    return given[0].text if given else call.state.cwd


HANDLERS: Handlers = {
    "scp": remote_copy,
    "sftp": remote_copy,
    "git": git,
    "svn": clone,
    "hg": clone,
    "bzr": clone,
}
