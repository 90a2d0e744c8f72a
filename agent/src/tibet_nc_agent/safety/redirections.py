# SPDX-License-Identifier: MIT
"""Where a command reads from and writes to."""

import re

from tibet_nc_agent.safety.assignments import ExpandingWalk
from tibet_nc_agent.safety.call import Walk
from tibet_nc_agent.safety.grammar.nodes import Literal, Redirection
from tibet_nc_agent.safety.marks import plain
from tibet_nc_agent.safety.paths import resolve
from tibet_nc_agent.safety.values import FILE, Field, Source, State, Stream, text_stream
from tibet_nc_agent.safety.verdict import Decision, Family
from tibet_nc_agent.safety.writes import judge_write

_DESCRIPTOR = re.compile(r"\d+-?|-")
_OUTPUTS = frozenset([">", ">>", ">|", "&>", "&>>", ">&", "<>"])
_START_FILE = re.compile(
    r"(?:^|/)\.git/hooks/[\w-]+$|/\.(?:bash(?:rc|_profile|_login|_logout|_aliases)|profile|z(?:shrc|profile|shenv|login)|kshrc|xprofile|xinitrc)$"
)
_UNIT_FILE = re.compile(r"/systemd/.*\.service$")
_UNIT_COMMAND = re.compile(r"^Exec\w*=[-@:+!|]*(.*)", re.MULTILINE)
_STANDARD_INPUT = ("", "0")
_OTHERS = tuple("123456789")  # of `{name}` nobody knows the number, so it may be read as well
_NETWORK = ("/dev/tcp/", "/dev/udp/")


def inputs(
    walk: ExpandingWalk,
    redirections: tuple[Redirection, ...],
    state: State,
    stdin: Stream | None,
) -> Stream | None:
    """Return what the command reads, after its redirections."""
    for redirection in redirections:
        if redirection.document is not None:
            body = redirection.document.body
            if body is not None:
                given = _stream_of(walk.expander.single(body, state), end="")
                keep_open(redirection.descriptor, given, state)
                stdin = stdin if redirection.descriptor[:1] in _OTHERS else given
        elif redirection.operator == "<<<":
            given = _stream_of(walk.expander.single(redirection.target, state), end="\n")
            keep_open(redirection.descriptor, given, state)
            stdin = stdin if redirection.descriptor[:1] in _OTHERS else given
        elif redirection.operator in ("<", "<>", "<&"):
            stdin = _opened(walk, redirection, state, stdin)
            if redirection.operator != "<&" and stdin is not None:
                keep_open(redirection.descriptor, stdin, state)
        elif redirection.operator in (">", ">&", "&>"):
            stdin = _connected(redirection, state, stdin)
    return stdin


def keep_open(descriptor: str, stream: Stream, state: State) -> None:
    """Remember what can be read from a descriptor beside the standard input."""
    if descriptor not in _STANDARD_INPUT:
        remember_descriptor(descriptor, stream, state)


def remember_descriptor(descriptor: str, stream: Stream, state: State) -> None:
    """Remember what can be read from a descriptor, under all of its names."""
    for name in (f"/dev/fd/{descriptor}", f"/proc/self/fd/{descriptor}"):
        remember(state, name, stream, append=False)
    if stream.downloaded:
        state.downloaded.add(f"&{descriptor}")


def standing_input(state: State, stdin: Stream | None) -> Stream | None:
    """Return the standard input, also if `exec` has redirected it before."""
    if stdin is not None and stdin.source is not Source.TERMINAL:
        return stdin
    if "/dev/fd/0" in state.downloaded:
        return Stream(downloaded=True)
    text = state.files.get("/dev/fd/0")
    return stdin if text is None else text_stream(text)


def _connected(redirection: Redirection, state: State, stdin: Stream | None) -> Stream | None:
    """`sh >& /dev/tcp/host/port 0>&1` reads from the connection that it writes to."""
    target = redirection.target.parts[0]
    if isinstance(target, Literal) and target.text.startswith(_NETWORK):
        state.downloaded.update((f"&{redirection.descriptor or '1'}", "&2"))
    elif redirection.operator == ">&" and redirection.descriptor == "0":
        return _duplicated(redirection.target.plain or "", state, stdin)
    return stdin


def _duplicated(descriptor: str, state: State, stdin: Stream | None) -> Stream | None:
    if f"&{descriptor.rstrip('-')}" in state.downloaded:
        return Stream(downloaded=True)
    text = state.files.get(f"/dev/fd/{descriptor.rstrip('-')}")
    return stdin if text is None else text_stream(text)


def _stream_of(field: Field, *, end: str) -> Stream:
    return text_stream(plain(field.text) + end, downloaded=field.downloaded, decoded=field.decoded)


def _opened(
    walk: ExpandingWalk, redirection: Redirection, state: State, stdin: Stream | None
) -> Stream | None:
    fields = walk.expander.fields(redirection.target, state)
    if not fields:
        return stdin
    field = fields[0]
    if field.stream is not None:
        if field.stream.downloaded:
            state.downloaded.add(f"&{redirection.descriptor}")
        return field.stream
    if field.text.startswith(_NETWORK):
        state.downloaded.add(f"&{redirection.descriptor}")
        return Stream(downloaded=True)
    if redirection.operator == "<&":
        return _duplicated(field.text, state, stdin)
    path = resolve(field.text, state)
    if path is None:
        return FILE
    if plain(path) in state.downloaded:
        return Stream(downloaded=True)
    if plain(path) in state.decoded:
        return Stream(state.files.get(plain(path)), decoded=True)
    written = state.files.get(plain(path))
    if written is not None:
        return text_stream(written)
    return FILE


def outputs(
    walk: ExpandingWalk,
    redirections: tuple[Redirection, ...],
    state: State,
    output: Stream,
) -> Stream:
    """Judge where the output goes, and return what is left for the next command."""
    for redirection in redirections:
        if redirection.operator not in _OUTPUTS:
            continue
        fields = walk.expander.fields(redirection.target, state)
        if not fields:
            continue
        field = fields[0]
        if redirection.operator == ">&" and _DESCRIPTOR.fullmatch(field.text):
            continue
        if field.stream is not None:
            continue
        output = _written(walk, redirection, field, state, output)
    return output


def _written(
    walk: ExpandingWalk, redirection: Redirection, field: Field, state: State, output: Stream
) -> Stream:
    span = (redirection.start, redirection.end)
    append = redirection.operator in (">>", "&>>", "<>")
    place = judge_write(walk, field, state, span, "output goes to", append=append)
    path = plain(place.path)
    if output.endless and path and not path.startswith("/dev/"):
        _report_endless(walk, path, span, state)
    if redirection.descriptor not in ("", "1"):
        return output
    remember(state, path, output, append=append)
    judge_start_file(walk, path, output, state, span)
    return Stream(source=Source.TEXT, text="") if output.text is not None else Stream()


def _report_endless(walk: ExpandingWalk, path: str, span: tuple[int, int], state: State) -> None:
    reason = f"endless output fills the disk through {path}"
    walk.report(Decision.NEEDS_APPROVAL, Family.BOMB, reason, span, state)


def judge_start_file(
    walk: Walk, path: str, output: Stream, state: State, span: tuple[int, int]
) -> None:
    """Judge what is written to a file that a shell runs when it starts, or git at some time."""
    if _UNIT_FILE.search(path):
        for found in _UNIT_COMMAND.finditer(output.known or ""):
            walk.program(found.group(1), state.copy(), span, lax=True)
    if not _START_FILE.search(path):
        return
    if output.downloaded:
        reason = "a shell will run what is downloaded when it starts"
        walk.report(Decision.DENY, Family.PIPE_TO_SHELL, reason, span, state)
    if output.known is not None:
        walk.program(output.known, state.copy(), span, lax=True)


def remember(state: State, path: str, output: Stream, *, append: bool) -> None:
    """Keep what is written to a file, since the same line may run it.

    What was in it before stays if this may not have run.
    """
    if not path:
        return
    replaced = not append and not state.conditional
    for names, tainted in (
        (state.downloaded, output.downloaded),
        (state.decoded, output.decoded),
    ):
        if tainted:
            names.add(path)
        elif replaced:
            names.discard(path)
    known = output.known
    if replaced:
        state.files.pop(path, None)
    if known is not None:
        before = state.files.get(path, "")
        between = "\n" if before and not append else ""
        state.files[path] = f"{before}{between}{known}"
