# SPDX-License-Identifier: MIT
"""Containers: a command inside one changes only the container, unless the host is mounted."""

import itertools
import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.values import Context, Source, Stream
from tibet_nc_agent.safety.verdict import Family

_RUNS = frozenset(["exec", "run", "shell", "attach", "create", "ssh", "debug", "--", "rsh"])
_POWER = frozenset(["reboot", "poweroff", "halt", "shutdown"])
_HOST_OPTIONS = re.compile(
    r"(?:-v|--volume|--mount)?=?/:|--privileged|--pid[= ]host|(?:src|source)=/,"
)

_ROOT_MOUNT = re.compile(r"(?:^| )(?:-v|--volume|--mount)[ =]?(?:/:/|type=bind,(?:src|source)=/,)")


def run_in_container(call: Call, known: frozenset[str]) -> Stream:
    """Judge the command that runs inside; `known` are programs that mark its beginning."""
    words = call.words
    start = next((i for i, word in enumerate(words) if word in _RUNS), None)
    if start is None:
        return Stream(producer=call.name)
    if _ROOT_MOUNT.search(" ".join(words[start:])):
        call.ask(Family.CONTAINERS, "gives a container the whole host")
    state = call.state.copy()
    pid_host = any(a == "--pid" and b == "host" for a, b in itertools.pairwise(words))
    if not pid_host and not any(_HOST_OPTIONS.match(word) for word in words):
        state.context = Context.CONTAINER
    for index in range(start + 1, len(words)):
        name = words[index].rpartition("/")[2]
        if name not in known:
            continue
        fed = call.stdin is not None and call.stdin.source is not Source.TERMINAL
        if index + 1 < len(words) or name in _POWER or fed:
            state.cwd = None
            call.walk.run(call.arguments[index:], state, call.stdin)
        break
    return Stream(producer=call.name)
