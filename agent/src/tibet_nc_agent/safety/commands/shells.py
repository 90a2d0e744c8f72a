# SPDX-License-Identifier: MIT
"""Text that a shell runs: `sh -c`, `eval`, `source`, `trap`, `ssh`, `at`, `cron`, terminals."""

import itertools
import re

import msgspec

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.commands.wrappers import run_quoted_words
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.paths import STANDARD_INPUT, is_in_download, known_as, made
from tibet_nc_agent.safety.state import OTHER_SYNTAX
from tibet_nc_agent.safety.values import COMMAND, EMPTY, TERMINAL, Field, Stream, positional
from tibet_nc_agent.safety.verdict import Family

_SSH_LETTERS = "BbcDEeFIiJLlmOopQRSWw"
_CRON_LINE = re.compile(r"\s*(?:@\w+|(?:[\d*/,A-Za-z-]+\s+){5})(.*)")
# What these get is typed or run; of the second kind it also may be a command of tmux.
_TMUX_RUNS = re.compile(
    r"send(?:-keys)?|new(?:-session|-window|w)?|split(?:-window|w)|run(?:-shell)?"
    r"|respawn(?:-pane|-window|p|w)|(?:display-)?popup|pipe-pane|pipep|set-buffer|setb"
    r"|(?:if(?:-shell)?|bind(?:-key)?|set-hook|confirm(?:-before)?|command-prompt|set|setw"
    r"|set-(?:window-)?option|source(?:-file)?|display-menu|menu)()"
)
_TMUX_VALUES = "sntcFxyeNR"
_RUNS_WITH_N = frozenset(["nu", "elvish"])  # to others -n means that nothing runs
_KEYS = frozenset(["Enter", "C-m", "KPEnter"])
_SCREEN_ATTACHES = frozenset(["-r", "-R", "-RR", "-x", "-ls", "-list", "-wipe", "-v"])
_SCREEN_VALUES = frozenset(["-S", "-dmS", "-DmS", "-c", "-h", "-s", "-t", "-T", "-p", "-e"])


def shell(call: Call) -> Stream:
    """`sh`, `bash` and the like: text, a script, or the input."""
    call = msgspec.structs.replace(call, state=call.state.started())
    index, takes_code, reads_input = _shell_options(call)
    if call.name not in _RUNS_WITH_N and any(
        re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*", word) for word in call.words[:index]
    ):
        return COMMAND  # it only reads
    call.state.settings = frozenset(word.lstrip("-") for word in call.words[:index])
    if not call.name.startswith(("bash", "rbash")):
        other = (name for name in OTHER_SYNTAX if call.name.startswith(name))
        call.state.settings = frozenset(["posix", "xpg_echo", *other])
    for option, field in itertools.pairwise(call.arguments[:index]):
        if option.text in ("--rcfile", "--init-file"):
            run_script(call, field, [], "sh")
        elif option.text == "--init-command" or (call.name == "fish" and option.text == "-C"):
            call.walk.program(field.text, call.state.copy(), call.span)
    rest = call.arguments[index:]
    if takes_code:
        return _shell_code(call, rest) if rest else COMMAND
    if rest and not reads_input:
        return run_script(call, rest[0], rest[1:], "sh")
    return call.walk.feed(call.stdin, call.state, call.span)


def _shell_options(call: Call) -> tuple[int, bool, bool]:
    """Return where the operands begin, and whether `-c` and `-s` are given."""
    index, takes_code, reads_input = 0, False, False
    words = call.words
    while index < len(words):
        word = words[index]
        if word in ("--", "-"):
            return index + 1, takes_code, reads_input
        if word.startswith("--"):
            takes_code = takes_code or word == "--command"
            index += 2 if word in ("--rcfile", "--init-file", "--init-command") else 1
        elif word[:1] in ("-", "+") and len(word) > 1:
            takes_code = takes_code or (word[0] == "-" and "c" in word)
            reads_input = reads_input or (word[0] == "-" and "s" in word)
            index += 2 if word[-1] in ("oOC" if call.name == "fish" else "oO") else 1
        else:
            break
    return index, takes_code, reads_input


def _shell_code(call: Call, rest: list[Field]) -> Stream:
    code = rest[0]
    if code.downloaded:
        call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs downloaded text")
        return Stream(downloaded=True)
    if code.decoded:
        call.deny(Family.ENCODED, f"{call.name} runs decoded text")
    if code.unknown:
        call.ask(Family.OPAQUE, f"{call.name} runs text that is not in the command")
    state = call.state.copy()
    state.positional = positional(rest[1:], first=0)
    if any(field.downloaded for field in rest[1:]):
        call.ask(Family.PIPE_TO_SHELL, f"{call.name} gets downloaded arguments")
    return call.walk.program(code.text, state, call.span, call.stdin)


def run_script(call: Call, script: Field, arguments: list[Field], language: str) -> Stream:
    """Judge that a file is run as a program."""
    name = made(script.text, call.state)
    if (
        script.downloaded
        or name in call.state.downloaded
        or re.match(r"(https?|ftp)://", script.text)
    ):
        call.deny(Family.PIPE_TO_SHELL, f"{call.name} runs a download")
        return Stream(downloaded=True)
    state = call.state.copy()
    if arguments or call.name not in ("source", "."):
        state.positional = positional(arguments)
    if script.stream is not None:
        return call.walk.feed(script.stream, state, call.span, language)
    if script.plain in STANDARD_INPUT:
        return call.walk.feed(call.stdin, state, call.span, language)
    if name in call.state.decoded:
        call.deny(Family.ENCODED, f"{call.name} runs decoded data")
    written = call.state.files.get(name)
    if written is not None:
        if language != "sh":
            call.walk.code(language, written, call.state, call.span, call.stdin)
            return COMMAND
        return call.walk.program(written, state, call.span, call.stdin)
    if is_in_download(script.text, call.state):
        call.ask(Family.PIPE_TO_SHELL, f"{call.name} runs a script of a downloaded tree")
    return COMMAND


def run_parts(call: Call) -> Stream:
    """`run-parts`: what the same line has put into the directory; the rest isn't looked at."""
    for directory in call.operands[:1] if not call.has("--test", "--list") else ():
        folder = known_as(directory.text, call.state)
        written = {*call.state.files, *call.state.downloaded, *call.state.decoded}
        inside = {file for file in written if file.rpartition("/")[0] == folder}
        for file in sorted(inside | {f"{folder}/program"}):  # of a tree that was fetched, any
            call.walk.run([directory.with_text(file)], call.state.copy(), call.stdin)
    return COMMAND


def evaluate(call: Call) -> Stream:
    """`eval`."""
    fields = [field for field in call.arguments if field.text != "--"]
    if any(field.downloaded for field in fields):
        call.deny(Family.PIPE_TO_SHELL, "eval runs downloaded text")
        return Stream(downloaded=True)
    if any(field.decoded for field in fields):
        call.deny(Family.ENCODED, "eval runs decoded text")
    text = " ".join(field.text for field in fields)
    if UNKNOWN in text:
        quiet = call.walk.rules.programs.quiet_eval
        if text.strip() == UNKNOWN and fields[0].producer in quiet:
            return EMPTY
        call.ask(Family.OPAQUE, "eval runs text that is not in the command")
    return call.walk.program(text, call.state, call.span, call.stdin)


def source(call: Call) -> Stream:
    """`source` and `.`: whatever the file assigns is unknown afterwards."""
    if call.arguments:
        script = call.arguments[0]
        quiet = call.walk.rules.programs.quiet_eval
        if not (
            script.stream is not None
            and script.stream.text is None
            and script.stream.producer in quiet
        ):
            run_script(call, script, call.arguments[1:], "sh")
    for name in call.state.variables:
        call.state.variables[name] = None
    return EMPTY


def trap(call: Call) -> Stream:
    """`trap text signal`: the text runs at some time behind it."""
    fields = call.arguments[1:] if call.words[:1] == ["--"] else call.arguments
    if len(fields) > 1 and fields[0].text and not fields[0].text.startswith("-"):
        call.state.traps += ((fields[0].text, call.span),)
    return EMPTY


def ssh(call: Call) -> Stream:
    """`ssh`: the words behind the host are joined and run by a shell there."""
    words, index = call.words, 0
    letters = _SSH_LETTERS + "M" if call.name == "autossh" else _SSH_LETTERS
    host_seen = False
    while index < len(words):
        word = words[index]
        if word == "--":
            index += 1
            if host_seen:
                break
        elif word.startswith("-") and len(word) > 1:
            _ssh_option(call, index)
            takes = next((i for i, c in enumerate(word) if i and c in letters), 0)
            index += 2 if takes == len(word) - 1 else 1
        elif not host_seen:
            host_seen = True
            index += 1
        else:
            break
    rest = call.arguments[index:]
    state = call.state.elsewhere()
    state.cwd = state.home
    if rest:
        if any(field.downloaded for field in rest):
            call.deny(Family.PIPE_TO_SHELL, "downloaded text is run on another host")
        run_quoted_words(call, rest)
        call.walk.program(" ".join(field.text for field in rest), state, call.span, call.stdin)
    elif call.stdin is not None and (call.stdin.text is not None or call.stdin.downloaded):
        call.walk.feed(call.stdin, state, call.span)
    return Stream(downloaded=True)


def _ssh_option(call: Call, index: int) -> None:
    word = call.words[index]
    value = word[2:] if len(word) > 2 else " ".join(call.words[index + 1 : index + 2])
    found = re.match(r"(?i)(?:ProxyCommand|LocalCommand|KnownHostsCommand)[= ](.*)", value)
    if word.startswith("-o") and found is not None:
        call.walk.program(found.group(1), call.state.started(), call.span)


def at(call: Call) -> Stream:
    """`at` and `batch` read commands from their input."""
    if call.has("-l", "-d", "-r", "-c"):
        return COMMAND
    if "-f" in call.words:
        given = call.arguments[call.words.index("-f") + 1 :][:1]
        return run_script(call, given[0], [], "sh") if given else COMMAND
    return call.walk.feed(call.stdin, call.state.started(), call.span)


def crontab(call: Call) -> Stream:
    """`crontab file` and `crontab -` replace the table; its lines are commands."""
    table = _table(call)
    if call.has("-l", "-e") or table is None:
        return COMMAND
    if table.downloaded:
        call.deny(Family.PIPE_TO_SHELL, "a downloaded table of jobs is installed")
    elif table.known is not None and not table.known.strip():
        call.deny(Family.SERVICES, "removes all jobs")
    elif table.text is not None:
        for line in table.text.replace(UNKNOWN, "\n").split("\n"):
            found = _CRON_LINE.match(line)
            if found is not None:
                call.walk.program(found.group(1), call.state.elsewhere(), call.span)
    return COMMAND


def _table(call: Call) -> Stream | None:
    """Return the table that is installed, as far as it is known."""
    if not call.words or call.has("-"):
        return call.stdin
    file = call.arguments[-1]
    if file.stream is not None:
        return file.stream
    name = made(file.text, call.state)
    written = call.state.files.get(name)
    return Stream(written, downloaded=name in call.state.downloaded)


def tmux(call: Call) -> Stream:
    """`tmux`: keys that are typed, commands of new windows, and commands of its own."""
    words = call.words
    starts = [i for i, word in enumerate(words) if _TMUX_RUNS.fullmatch(word)]
    if not starts:
        return COMMAND
    nested = any(found.lastindex for i in starts if (found := _TMUX_RUNS.fullmatch(words[i])))
    fields: list[Field] = []
    index = starts[0] + 1
    while index < len(words):
        word = words[index]
        if word.startswith("-") and len(word) > 1:
            index += 2 if word[-1] in _TMUX_VALUES else 1
            continue
        if word not in _KEYS:
            fields.append(call.arguments[index])
        index += 1
    texts = [field.text for field in fields]
    for text in [*texts, " ".join(texts)] if len(texts) > 1 else texts:
        call.tell_shell(text)
        if nested and _TMUX_RUNS.match(text):
            call.walk.program(f"tmux {text}", call.state.copy(), call.span, lax=True)
    for field in fields:
        if field.stream is not None and field.stream.known is not None:
            lines = "".join(f"tmux {line}\n" for line in field.stream.known.split("\n") if line)
            call.tell_shell(lines)
    return COMMAND


def screen(call: Call) -> Stream:
    """`screen`: typed keys and the command of a new window."""
    words = call.words
    for index, word in enumerate(words[:-1]):
        if word in ("stuff", "exec"):
            keys = call.arguments[index + 1].text.replace("\\n", "\n").replace("^M", "\n")
            call.tell_shell(keys)
    if "-X" in words:
        rest = call.arguments[words.index("-X") + 1 :]
        if rest and rest[0].plain == "screen":
            call.walk.run(rest, call.state.copy(), TERMINAL)
        return COMMAND
    index = 0
    while index < len(words) and words[index].startswith("-"):
        if words[index] in _SCREEN_ATTACHES:
            return COMMAND
        index += 2 if words[index] in _SCREEN_VALUES else 1
    if index < len(words):
        call.walk.run(call.arguments[index:], call.state.copy(), TERMINAL)
    return COMMAND


HANDLERS: Handlers = {
    "eval": evaluate,
    "source": source,
    ".": source,
    "trap": trap,
    "ssh": ssh,
    "autossh": ssh,
    "mosh": ssh,
    "dbclient": ssh,
    "plink": ssh,
    "slogin": ssh,
    "at": at,
    "batch": at,
    "crontab": crontab,
    "run-parts": run_parts,
    "tmux": tmux,
    "byobu": tmux,
    "byobu-tmux": tmux,
    "screen": screen,
}
