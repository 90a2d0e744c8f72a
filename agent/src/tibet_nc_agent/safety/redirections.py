# SPDX-License-Identifier: MIT
"""Where a command reads from and writes to."""

import re
from collections.abc import Generator
from contextlib import contextmanager

import msgspec

from tibet_nc_agent.safety.assignments import ExpandingWalk
from tibet_nc_agent.safety.call import Span, Walk
from tibet_nc_agent.safety.grammar.nodes import Literal, Redirection
from tibet_nc_agent.safety.marks import UNKNOWN, plain
from tibet_nc_agent.safety.paths import known_as, made, path_levels
from tibet_nc_agent.safety.start_files import judge_start_file
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import EMPTY, FILE, Field, Source, Stream, text_stream
from tibet_nc_agent.safety.variables import store
from tibet_nc_agent.safety.verdict import Decision, Family
from tibet_nc_agent.safety.writes import judge_write

_DESCRIPTOR = re.compile(r"\d+-?|-")
_LEADING_ZEROS = re.compile(r"^0+(?=\d)")
_OUTPUTS = frozenset([">", ">>", ">|", "&>", "&>>", ">&", "<>"])
_EMPTIES = frozenset([">", ">|", "&>"])  # the file that they open
_STANDARD_INPUT = ("", "0")
_STANDARD_OUTPUT = ("", "1")
_ONE_OF = f"#{UNKNOWN}\n"  # before several texts, of which a file holds nobody knows which
_FIRST_CHOSEN = 10  # of the numbers of `{name}`
_NETWORK = ("/dev/tcp/", "/dev/udp/")


def inputs(
    walk: ExpandingWalk,
    redirections: tuple[Redirection, ...],
    state: State,
    stdin: Stream | None,
) -> Stream | None:
    """Return what the command reads, after its redirections."""
    for redirection in redirections:
        descriptor = _number(walk, redirection, state)
        if redirection.document is not None:
            body = redirection.document.body
            if body is not None:
                given = _stream_of(walk.expander.single(body, state), end="")
                stdin = _connect(descriptor, given, state, stdin)
        elif redirection.operator == "<<<":
            given = _stream_of(walk.expander.single(redirection.target, state), end="\n")
            stdin = _connect(descriptor, given, state, stdin)
        elif redirection.operator in ("<", "<>", "<&"):
            opened = _opened(walk, redirection, state)
            stdin = stdin if opened is None else _connect(descriptor, opened, state, stdin)
        elif redirection.operator in (">", ">&", "&>"):
            stdin = _connected(redirection, state, stdin)
        if redirection.operator in _OUTPUTS:
            _open_output(walk, redirection, descriptor, state)
    return stdin


def _number(walk: ExpandingWalk, redirection: Redirection, state: State) -> str:
    """Return the number of the descriptor, which bash chooses and keeps in a variable."""
    descriptor = redirection.descriptor
    if not descriptor.startswith("{"):
        return descriptor
    name = descriptor.strip("{}")
    number = state.numbers.setdefault(name, str(_FIRST_CHOSEN + len(state.numbers)))
    span = (redirection.start, redirection.end)
    store(walk, name, number, [Field(number, *span)], state)
    return number


def _connect(descriptor: str, stream: Stream, state: State, stdin: Stream | None) -> Stream | None:
    """Connect a stream to a descriptor, and return the standard input then."""
    if descriptor in _STANDARD_INPUT:
        return stream
    remember_descriptor(descriptor, stream, state)
    return stdin


def _open_output(
    walk: ExpandingWalk, redirection: Redirection, descriptor: str, state: State
) -> None:
    """Remember which file is written through a descriptor beside the standard output."""
    field = next(iter(walk.expander.fields(redirection.target, state)), None)
    if descriptor in _STANDARD_OUTPUT or field is None:
        return
    file = _file_of(redirection, field, state)
    if not file:
        return
    state.descriptors[descriptor] = file
    if redirection.operator in _EMPTIES:
        remember(state, file, EMPTY, append=False)
    elif redirection.operator == "<>":  # what is written stands before what there was
        remember(state, file, text_stream("\n"), append=True)


def _number_in(text: str) -> str:
    """Return the number of a descriptor behind `>&`: `3-` moves 3, and `03` is 3."""
    return _LEADING_ZEROS.sub("", text.rstrip("-"))


def _file_of(redirection: Redirection, field: Field, state: State) -> str:
    if redirection.operator == ">&" and _DESCRIPTOR.fullmatch(field.text):
        return state.descriptors.get(_number_in(field.text), "")
    return known_as(field.text, state)


def redirect_shell(
    walk: ExpandingWalk,
    redirections: tuple[Redirection, ...],
    source: Stream | None,
    state: State,
) -> None:
    """Carry out `exec` with nothing but redirections, which last."""
    if source is not None:
        remember_descriptor("0", source, state)
        state.standing = msgspec.structs.replace(source, kept=True)
    for redirection in redirections:
        if not _redirects_output(redirection):
            continue
        field = next(iter(walk.expander.fields(redirection.target, state)), None)
        file = "" if field is None else _file_of(redirection, field, state)
        if file:
            state.descriptors["1"] = file
        else:
            state.descriptors.pop("1", None)


def _redirects_output(redirection: Redirection) -> bool:
    return redirection.operator in _OUTPUTS and redirection.descriptor in _STANDARD_OUTPUT


@contextmanager
def redirected(redirections: tuple[Redirection, ...], state: State) -> Generator[None]:
    """Let a compound command write to its own redirections instead of those of the shell."""
    held = state.descriptors.get("1")
    if held is None or not any(map(_redirects_output, redirections)):
        yield
        return
    del state.descriptors["1"]
    yield
    state.descriptors["1"] = held


@contextmanager
def reading(source: Stream | None, stdin: Stream | None, state: State) -> Generator[None]:
    """Let a command that has an input of its own read that, and not what `exec` has opened.

    What `exec` opens in it ends with it, then.
    """
    if source is stdin:
        yield
        return
    held, state.standing = state.standing, None
    yield
    state.standing = held


def remember_descriptor(descriptor: str, stream: Stream, state: State) -> None:
    """Remember what can be read from a descriptor, under all of its names."""
    for name in (f"/dev/fd/{descriptor}", f"/proc/self/fd/{descriptor}"):
        remember(state, name, stream, append=False)
    if stream.downloaded:
        state.downloaded.add(f"&{descriptor}")


def standing_input(state: State, stdin: Stream | None) -> Stream | None:
    """Return the standard input, also if `exec` has redirected it before."""
    return stdin if state.standing is None else state.standing


def _connected(redirection: Redirection, state: State, stdin: Stream | None) -> Stream | None:
    """`sh >& /dev/tcp/host/port 0>&1` reads from the connection that it writes to."""
    target = redirection.target.parts[0]
    if isinstance(target, Literal) and target.text.startswith(_NETWORK):
        state.downloaded.update((f"&{redirection.descriptor or '1'}", "&2"))
    elif redirection.operator == ">&" and redirection.descriptor == "0":
        return descriptor_input(redirection.target.plain or "", state) or stdin
    return stdin


def descriptor_input(descriptor: str, state: State) -> Stream | None:
    """Return what is read from a descriptor, None if nothing of this line is behind it."""
    if UNKNOWN in descriptor:
        return Stream(downloaded=any(name.startswith("&") for name in state.downloaded))
    descriptor = _number_in(descriptor)
    if f"&{descriptor}" in state.downloaded:
        return Stream(downloaded=True)
    file = f"/dev/fd/{descriptor}"
    decoded = file in state.decoded
    text = state.files.get(file)
    if text is None:
        return Stream(decoded=True) if decoded else None
    return Stream(text, Source.TEXT, decoded=decoded, kept=True)


def _stream_of(field: Field, *, end: str) -> Stream:
    return text_stream(plain(field.text) + end, downloaded=field.downloaded, decoded=field.decoded)


def _opened(walk: ExpandingWalk, redirection: Redirection, state: State) -> Stream | None:
    fields = walk.expander.fields(redirection.target, state)
    if not fields:
        return None
    field = fields[0]
    if field.stream is not None:
        return field.stream
    if field.text.startswith(_NETWORK):
        return Stream(downloaded=True)
    if redirection.operator == "<&":
        return descriptor_input(field.text, state)
    if path_levels(walk.rules.paths).is_secret(field.text, state):
        reason = f"a command reads the credentials in {field.plain}"
        span = (field.start, field.end)
        walk.report(Decision.NEEDS_APPROVAL, Family.USERS, reason, span, state)
    path = made(field.text, state)
    if path == "/dev/null":
        return EMPTY
    if path in state.downloaded:
        return Stream(downloaded=True)
    if path in state.decoded:
        return Stream(state.files.get(path), decoded=True)
    written = state.files.get(path)
    if written is None:
        return FILE
    return Stream() if field.unknown or field.glob else text_stream(written)


def outputs(
    walk: ExpandingWalk,
    redirections: tuple[Redirection, ...],
    output: Stream,
    state: State,
    span: Span,
) -> Stream:
    """Judge where the output of a command goes, and return what is left for the next command."""
    for redirection in redirections:
        if redirection.operator not in _OUTPUTS:
            continue
        fields = walk.expander.fields(redirection.target, state)
        if not fields:
            continue
        field = fields[0]
        if redirection.operator == ">&" and (field.unknown or _DESCRIPTOR.fullmatch(field.text)):
            output = _passed_on(walk, redirection, field, state, output)
            continue
        if field.stream is not None:
            continue
        output = _written(walk, redirection, field, state, output)
    standing = state.descriptors.get("1")
    if standing is None or any(map(_redirects_output, redirections)):
        return output
    written_to(walk, standing, output, state, span, append=True)
    return EMPTY


def _passed_on(
    walk: Walk, redirection: Redirection, field: Field, state: State, output: Stream
) -> Stream:
    """Write to a descriptor: if it is computed, to any that is open."""
    if redirection.descriptor not in _STANDARD_OUTPUT:
        return output
    number = _number_in(field.text)
    open_files = state.descriptors
    span = (redirection.start, redirection.end)
    for file in open_files.values() if field.unknown else [open_files.get(number, "")]:
        written_to(walk, file, output, state, span, append=True)
    return EMPTY if number in open_files else output


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
    written_to(walk, path, output, state, span, append=append)
    return Stream(source=Source.TEXT, text="") if output.text is not None else Stream()


def _report_endless(walk: ExpandingWalk, path: str, span: tuple[int, int], state: State) -> None:
    reason = f"endless output fills the disk through {path}"
    walk.report(Decision.NEEDS_APPROVAL, Family.BOMB, reason, span, state)


def written_to(
    walk: Walk, path: str, output: Stream, state: State, span: Span, *, append: bool
) -> None:
    """Keep what is written to a file, and judge it if something runs that when it starts."""
    remember(state, path, output, append=append)
    judge_start_file(walk, path, output, state, span)


def remember(state: State, path: str, output: Stream, *, append: bool) -> None:
    """Keep what is written to a file, since the same line may run it.

    What was in it before stays if this may not have run.
    """
    if path in ("", "/dev/null"):
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
    text = UNKNOWN if output.text is None else output.text
    before = "" if replaced else state.files.get(path, "")
    if append:
        state.files[path] = f"{before}{text}"
    elif before in ("", text):
        state.files[path] = text
    else:
        state.files[path] = f"{_ONE_OF}{before.removeprefix(_ONE_OF)}\n{text}"
