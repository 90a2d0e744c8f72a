# SPDX-License-Identifier: MIT
"""From the first word of a command to what judges it."""

import functools
import re
from typing import Protocol

from tibet_nc_agent.safety.budget import TooComplexError
from tibet_nc_agent.safety.call import Call, Walk
from tibet_nc_agent.safety.commands import (
    archives,
    batches,
    builtins,
    containers,
    debuggers,
    declarations,
    downloads,
    escapes,
    files,
    hosts,
    interpreters,
    processes,
    search,
    shells,
    sockets,
    text,
    wrappers,
)
from tibet_nc_agent.safety.commands.credentials import judge_credentials, judge_hashes
from tibet_nc_agent.safety.commands.given import (
    judge_given,
    judge_named,
    judge_outputs,
    judge_told,
)
from tibet_nc_agent.safety.commands.handler import Handler
from tibet_nc_agent.safety.commands.quoting import quoted
from tibet_nc_agent.safety.grammar.nodes import Command
from tibet_nc_agent.safety.marks import UNKNOWN, is_glob, is_unknown, matching, plain, shown
from tibet_nc_agent.safety.paths import is_in_download, made
from tibet_nc_agent.safety.policy import Policy
from tibet_nc_agent.safety.state import Context, State
from tibet_nc_agent.safety.values import COMMAND, Field, Stream, positional, through
from tibet_nc_agent.safety.verdict import Decision, Family

HANDLERS: dict[str, Handler] = {
    **text.HANDLERS,
    **search.HANDLERS,
    **builtins.HANDLERS,
    **declarations.HANDLERS,
    **wrappers.HANDLERS,
    **batches.HANDLERS,
    **shells.HANDLERS,
    **files.HANDLERS,
    **archives.HANDLERS,
    **downloads.HANDLERS,
    **sockets.HANDLERS,
    **processes.HANDLERS,
    **escapes.HANDLERS,
    **hosts.HANDLERS,
    **debuggers.HANDLERS,
}
_GUARDED = frozenset([*files.HANDLERS, *archives.HANDLERS, *processes.HANDLERS, "find", "eval"])
# Where these are not the system's own, a `g` is put before their names.
_GNU = frozenset(
    [
        *files.HANDLERS,
        *text.HANDLERS,
        *processes.HANDLERS,
        *("env", "find", "nice", "nohup", "tar", "xargs"),
    ]
)
_VERSIONED_SHELL = re.compile(r"(?:bash|zsh|ksh|dash)-?[\d.]+")
_SIGIL = re.compile(r"^(?:[=^]|e:)")  # in zsh, nushell and elvish: the program of this name
_VARIANT = re.compile(
    r"(?:[-.]?\d[\d.]*|[-.](?:basic|tiny|nox|gtk3?|huge|real|distrib|ws|gnu|static|io|exe|bin"
    r"|multiarch|remote|x86_64|util-linux|openbsd|traditional|netkit|inetutils|procps|ul|motif))$"
)
_VERSION = re.compile(r"[\d.]+$")
_SYSTEM_DIRECTORIES = frozenset(
    [
        "/",
        "/bin",
        "/sbin",
        "/usr/bin",
        "/usr/sbin",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/lib/molly-guard",
        "/usr/lib/molly-guard",
        "/usr/lib/systemd",
        "/lib/systemd",
    ]
)
_PROGRAM_PATH = re.compile(r"(?:[\w-]*=)?/(?:usr/)?(?:local/)?s?bin/([\w.-]+)")
# A program that is told this prints what a shell is meant to run.
_SET_UP = re.compile(
    r"(?:generate-shell-|shell-|gen-|--)?completions?(?:=\w+)?|autocomplete|show-environment"
    r"|-Mlocal::lib(?:=\S*)?"
)
_SEARCHES = frozenset(["find", "fd", "ls"])
_ENDLESS_OPTION = re.compile(r"-[a-zA-Z]{1000}")
_MOST_CANDIDATES = 6
_MOST_COMMANDS = 1_000


class DispatchingWalk(Walk, Protocol):
    """A walk that can also enter functions."""

    policy: Policy
    commands: list[tuple[str, ...]]

    def call_function(self, body: Command, state: State, stdin: Stream | None) -> Stream:
        """Walk the body of a function."""
        raise NotImplementedError


def run_command(
    walk: DispatchingWalk, fields: list[Field], state: State, stdin: Stream | None
) -> Stream:
    """Judge one command and return its output."""
    first = fields[0]
    span = (first.start, fields[-1].end)
    base = first.text.rpartition("/")[2]
    if first.stream is not None:
        return walk.feed(first.stream, state, span)
    if first.downloaded:
        reason = "the command itself is downloaded"
        walk.report(Decision.DENY, Family.PIPE_TO_SHELL, reason, span, state)
        return Stream(downloaded=True)
    if first.decoded:
        walk.report(Decision.DENY, Family.ENCODED, "the command itself is decoded", span, state)
    if is_unknown(base):
        return _run_unknown(walk, fields, base, state, stdin)
    if not base:
        return COMMAND
    if is_glob(base):
        return _run_pattern(walk, fields, base, state, stdin)
    base = plain(base)
    if first.producer in _SEARCHES:
        reason = "the command name is what a search finds"
        walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, (first.start, first.end), state)
    if first.uncertain:
        reason = "the command name depends on a variable"
        walk.report(Decision.NEEDS_APPROVAL, Family.OPAQUE, reason, (first.start, first.end), state)
    if "/" in first.text:
        return _run_path(walk, base, fields, state, stdin)
    found = _found_on_path(base, state)
    if found:
        output = _run_path(walk, base, [first.with_text(found), *fields[1:]], state.copy(), stdin)
        if output.downloaded:
            return output
    return _run_name(walk, base, fields, state, stdin)


def _found_on_path(name: str, state: State) -> str:
    """Return the file of the same line that a command name may find, or ""."""
    files = (state.files, state.downloaded, state.decoded)
    if not any(files):
        return ""
    path = state.value("PATH")
    for directory in path.split(":") if isinstance(path, str) else ():
        file = made(f"{directory or '.'}/{name}", state)
        if any(file in made_here for made_here in files):
            return file
    return ""


def _run_unknown(
    walk: DispatchingWalk, fields: list[Field], base: str, state: State, stdin: Stream | None
) -> Stream:
    """Judge a computed name, also as what runs if the unknown piece is empty."""
    first = fields[0]
    walk.report(
        Decision.NEEDS_APPROVAL,
        Family.OPAQUE,
        "the command name is computed",
        (first.start, first.end),
        state,
    )
    rest = plain(base.replace(UNKNOWN, ""))
    if rest and rest in _dangerous(walk.policy):
        return walk.run([first.with_text(rest), *fields[1:]], state, stdin)
    if not rest and not first.quoted and len(fields) > 1 and not is_unknown(fields[1].text):
        return walk.run(fields[1:], state, stdin)
    return through(stdin)


def _run_pattern(
    walk: DispatchingWalk, fields: list[Field], base: str, state: State, stdin: Stream | None
) -> Stream:
    """Judge the dangerous programs that a pattern as a name may match."""
    first = fields[0]
    walk.report(
        Decision.NEEDS_APPROVAL,
        Family.OPAQUE,
        "the command name is a pattern for file names",
        (first.start, first.end),
        state,
    )
    candidates = matching(base, _dangerous(walk.policy))
    for name in candidates[:_MOST_CANDIDATES]:
        walk.run([first.with_text(name), *fields[1:]], state, stdin)
    return COMMAND


def _dangerous(policy: Policy) -> frozenset[str]:
    return policy.matcher.names | policy.shells | _GUARDED


def _run_name(
    walk: DispatchingWalk, base: str, fields: list[Field], state: State, stdin: Stream | None
) -> Stream:
    if base in state.aliases and base not in state.active:
        inner = state.copy()
        inner.active = (*state.active, base)
        rest = " ".join(quoted(field.text) for field in fields[1:])
        span = (fields[0].start, fields[-1].end)
        output = walk.program(f"{state.aliases[base]} {rest}", inner, span, stdin)
        state.merge([inner])
        _judge_namesake(walk, base, fields, state, stdin)
        return output
    body = state.functions.get(base)
    if body is None:
        return dispatch(walk, _usual_name(walk.policy, base), fields, state, stdin)
    _judge_namesake(walk, base, fields, state, stdin)
    if base in state.active:
        return _recursion(walk, base, fields, state)
    inner = state.copy()
    if not state.active:
        inner.conditional, inner.forked = 0, False
    inner.active = (*state.active, base)
    inner.positional = positional(fields[1:])
    output = walk.call_function(body, inner, stdin)
    # It may have ended early, and which of its variables are local isn't followed.
    inner.positional = state.positional
    inner.leaves = False
    state.merge([inner])
    return output


def _judge_namesake(
    walk: DispatchingWalk, base: str, fields: list[Field], state: State, stdin: Stream | None
) -> None:
    """Judge the program whose name a function or an alias has: it may be what runs.

    `command`, `env` and other processes pass by both, and what defines or unsets them may not have
    run.
    """
    if base in _dangerous(walk.policy) or base in HANDLERS:
        inner = state.copy()
        dispatch(walk, base, fields, inner, stdin)
        state.merge([inner])


def _recursion(walk: DispatchingWalk, name: str, fields: list[Field], state: State) -> Stream:
    """Judge a function that calls itself: in another process it multiplies."""
    span = (fields[0].start, fields[-1].end)
    if state.forked:
        decision = Decision.NEEDS_APPROVAL if state.conditional else Decision.DENY
        reason = f"the function {name} starts copies of itself"
        walk.report(decision, Family.BOMB, reason, span, state)
    elif not state.conditional:
        reason = f"the function {name} calls itself without a condition"
        walk.report(Decision.NEEDS_APPROVAL, Family.BOMB, reason, span, state)
    return COMMAND


def _run_path(
    walk: DispatchingWalk, base: str, fields: list[Field], state: State, stdin: Stream | None
) -> Stream:
    first = fields[0]
    span = (first.start, fields[-1].end)
    path = made(first.text, state)
    if path in state.downloaded:
        reason = "runs a file that was downloaded in the same command"
        walk.report(Decision.DENY, Family.PIPE_TO_SHELL, reason, span, state)
        return Stream(downloaded=True)
    if path in state.decoded:
        reason = "runs a file of decoded data"
        walk.report(Decision.DENY, Family.ENCODED, reason, span, state)
    if path in state.files:
        return _run_written(walk, path, fields, state, stdin)
    if path.startswith(("/etc/init.d/", "/etc/rc.d/")):
        service = [first.with_text("service"), first.with_text(base), *fields[1:]]
        return dispatch(walk, "service", service, state, stdin)
    if _is_system_program(first.text, path):
        return dispatch(walk, _usual_name(walk.policy, base), fields, state, stdin)
    if is_in_download(first.text, state):
        reason = "runs a program of a tree that was downloaded in the same command"
        walk.report(Decision.NEEDS_APPROVAL, Family.PIPE_TO_SHELL, reason, span, state)
    if base in _dangerous(walk.policy) and base not in walk.policy.shells:
        inner = state.copy()
        inner.context = Context.PRIVATE_COPY
        return dispatch(walk, base, fields, inner, stdin)
    return dispatch(walk, base, fields, state, stdin)


def _is_system_program(text: str, path: str) -> bool:
    directory = path.rpartition("/")[0] or "/"
    return (
        (path.startswith("/") and directory in _SYSTEM_DIRECTORIES)
        or is_unknown(text)
        or is_glob(text)
        or (directory.endswith("/bin") and directory.startswith(("/nix/", "/run/current-system")))
    )


def _run_written(
    walk: DispatchingWalk, path: str, fields: list[Field], state: State, stdin: Stream | None
) -> Stream:
    """Judge a file that the same line has written: what its first line names runs it."""
    first, span = fields[0], (fields[0].start, fields[-1].end)
    content = state.files[path]
    line = content.partition("\n")[0]
    words = line[2:].split() if line.startswith("#!") else []
    if words:
        begun = [Field(word, first.start, first.end, quoted=True) for word in words]
        output = walk.run([*begun, first.with_text(path), *fields[1:]], state.started(), stdin)
        if any(_runs_scripts(walk.policy, word.rpartition("/")[2]) for word in words):
            return output
    inner = state.started()
    inner.positional = positional(fields[1:])
    return walk.program(content, inner, span, stdin)


def _runs_scripts(policy: Policy, name: str) -> bool:
    usual = _usual_name(policy, name) if name else ""
    return usual in policy.interpreters or usual in policy.shells


def dispatch(
    walk: DispatchingWalk, base: str, fields: list[Field], state: State, stdin: Stream | None
) -> Stream:
    """Judge a command whose program is known by name."""
    policy = walk.policy
    argv = (base, *(field.text for field in fields[1:]))
    if len(walk.commands) < _MOST_COMMANDS:
        walk.commands.append(tuple(shown(word) for word in argv))
    if argv in policy.allowed and (stdin is None or not stdin.downloaded):
        return through(stdin)
    words = [plain(field.text) for field in fields[1:]]
    if any(_ENDLESS_OPTION.match(word) for word in words):
        raise TooComplexError  # letter by letter it would take the square of its length
    call = Call(walk, base, fields, words, state, stdin)
    policy.matcher.apply(call)
    judge_given(call, policy)
    judge_outputs(call, policy)
    if base not in policy.data:
        judge_named(call)
    if base in policy.readers or (base in policy.containers and "cp" in words[:2]):
        judge_credentials(call)
    output = _judge(call, walk)
    if output is None:
        output = through(stdin)
    sets_up = any(map(_SET_UP.fullmatch, words))
    # What runs others in containers does so behind a verb of its own, which this one then is.
    if output is COMMAND or (sets_up and base in policy.containers and _SET_UP.fullmatch(words[0])):
        return Stream(producer="completion" if sets_up else base)
    return output


def _judge(call: Call, walk: DispatchingWalk) -> Stream | None:
    policy, base = walk.policy, call.name
    begins = functools.partial(_begins_command, policy)
    handler = HANDLERS.get(base)
    if handler is not None:
        return handler(call)
    if base in policy.shells or _VERSIONED_SHELL.fullmatch(base):
        return shells.shell(call)
    language = policy.interpreters.get(base) or policy.interpreters.get(_VERSION.sub("", base))
    if language is not None:
        return interpreters.interpret(call, language)
    wrapper = policy.wrappers.get(base)
    if wrapper is not None:
        return wrappers.wrap(call, wrapper, lambda name: _is_program(policy, name))
    if base in policy.containers:
        return containers.run_in_container(call, begins, policy.data)
    if base in policy.downloaders:
        return downloads.fetch(call)
    if base in policy.escapes:
        escapes.judge_editor_escapes(call)
    elif base not in policy.data:
        _judge_hidden_program(call, policy)
        judge_hashes(call)
        judge_told(call, policy, begins)
    return None


def _usual_name(policy: Policy, name: str) -> str:
    """Return the name that the tables know a variant by: `vim.basic`, `gcc-12`, `grm`, `=rm`."""
    if _is_known(policy, name):
        return name
    for spelling in (_VARIANT, _SIGIL):
        usual = spelling.sub("", name)
        if usual != name and _is_known(policy, usual):
            return usual
    return name[1:] if name[0] == "g" and name[1:] in _GNU else name


def _is_program(policy: Policy, text: str) -> bool:
    """Whether a word, with or without a directory, is a program that the tables know."""
    name = text.rpartition("/")[2]
    return bool(name) and _is_known(policy, _usual_name(policy, name))


def _is_known(policy: Policy, name: str) -> bool:
    tables = (policy.interpreters, policy.containers, policy.downloaders, policy.data)
    return (
        _begins_command(policy, name)
        or any(name in table for table in tables)
        or any(name == argv[0] for argv in policy.allowed)
    )


def _begins_command(policy: Policy, name: str) -> bool:
    """Whether a word is the name of a program that is judged."""
    names = (policy.matcher, policy.shells, policy.wrappers, HANDLERS)
    return any(name in known for known in names)


def _judge_hidden_program(call: Call, policy: Policy) -> None:
    """Report an unknown program that is given the path of a dangerous one."""
    for field in call.arguments:
        found = _PROGRAM_PATH.fullmatch(field.text)
        if found is None:
            continue
        name = found.group(1)
        if name in policy.matcher.names or name in _GUARDED:
            call.walk.report(
                Decision.NEEDS_APPROVAL,
                Family.OPAQUE,
                f"{call.name} is given the program {shown(field.text)}",
                (field.start, field.end),
                call.state,
            )
