# SPDX-License-Identifier: MIT
"""`nc`, `socat`: what they read comes from the network, and what they start or open themselves."""

import itertools
import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.paths import known_as, path_levels
from tibet_nc_agent.safety.values import Field, Stream
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_write

_SHELL_OPTION = re.compile(r"-[46bdklntuvz]*[ec]|--(?:exec|sh-exec|lua-exec)")
_PROGRAM = re.compile(r"(?i)(?:EXEC|SYSTEM|SHELL):\"?([^,\"]*)")
# A file is opened by name, or by a path alone, which is added to if it is there.
_FILE = re.compile(r"(?is)(?:(?:(OPEN|FILE|CREATE?)|GOPEN):|(?=[^:,]*/))([^,]*)(.*)")
_READ_ONLY = re.compile(r"(?i),(?:o[-_]?)?rdonly(?:=1)?(?=,|$)")
_ADDED_TO = re.compile(r"(?i),(?:o[-_]?)?append(?:=1)?(?=,|$)")


def netcat(call: Call) -> Stream:
    """`nc -e PROGRAM`, `nc -c LINE`."""
    for word, following in itertools.pairwise(call.words):
        if _SHELL_OPTION.fullmatch(word):
            call.tell_shell(following, Stream(downloaded=True))
    return Stream(downloaded=True, producer=call.name)


def socat(call: Call) -> Stream:
    """`socat A B`: bytes go both ways, with `-u` from A to B only, with `-U` from B to A."""
    for found in map(_PROGRAM.search, call.words):
        if found is not None:
            call.tell_shell(found.group(1).strip("'\""), Stream(downloaded=True))
    for field, unwritten, unread in zip(
        call.arguments[-2:], ("-u", "-U"), ("-U", "-u"), strict=False
    ):
        # `A!!B` is read from A and written to B.
        source, dual, sink = field.text.partition("!!")
        read, written = not call.has(unread), not call.has(unwritten)
        _open(call, field.with_text(source), read=read, written=written and not dual)
        _open(call, field.with_text(sink), read=False, written=written)
    return Stream(downloaded=True, producer=call.name)


def _open(call: Call, address: Field, *, read: bool, written: bool) -> None:
    found = _FILE.fullmatch(address.text)
    if found is None:
        return
    kind, name, options = found.groups()
    path = address.with_text(name)
    if read and path_levels(call.walk.rules.paths).is_secret(path.text, call.state):
        call.ask(Family.USERS, f"socat reads the credentials in {path.plain}")
    if written and not _READ_ONLY.search(options):
        added = kind is None or _ADDED_TO.search(options) is not None
        judge_write(call.walk, path, call.state, call.span, "socat writes to", append=added)
        call.state.downloaded.add(known_as(name, call.state))


HANDLERS: Handlers = {
    "nc": netcat,
    "ncat": netcat,
    "netcat": netcat,
    "telnet": netcat,
    "socat": socat,
}
