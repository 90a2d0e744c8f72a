# SPDX-License-Identifier: MIT
"""Containers: a command inside one changes only the container, unless the host is mounted."""

import itertools
import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.values import Context, Source, Stream
from tibet_nc_agent.safety.verdict import Family

_RUNS = frozenset(["exec", "run", "shell", "attach", "create", "ssh", "debug", "--", "rsh"])
_POWER = frozenset(["reboot", "poweroff", "halt", "shutdown"])
_HOST_OPTIONS = re.compile(
    r"(?:-v|--volume|--mount)?=?/:|--privileged|--pid[= ]host|(?:src|source)=/,"
)

_ROOT_MOUNT = re.compile(r"(?:^| )(?:-v|--volume|--mount)[ =]?(?:/:/|type=bind,(?:src|source)=/,)")

_NAMES_FIRST = frozenset(
    [
        "docker",
        "podman",
        "nerdctl",
        "kubectl",
        "oc",
        "lxc",
        "incus",
        "crictl",
        "ctr",
        "docker-compose",
        "podman-compose",
    ]
)
_OPTION = re.compile(r"--?[a-zA-Z][\w-]*")
_VOLUME = re.compile(r"(?:^| )(?:-v|--volume)[ =]?(/[^: ]*):/[^: ]*(:(?:\S*,)?ro\b)?")
_TREES = frozenset([Level.SYSTEM, Level.HOMES])


def run_in_container(call: Call, known: frozenset[str], data: frozenset[str]) -> Stream:
    """Judge the command that runs inside; `known` and `data` are programs that may begin it."""
    words = call.words
    start = next((i for i, word in enumerate(words) if word in _RUNS), None)
    if start is None:
        return Stream(producer=call.name)
    state = call.state.copy()
    if _ROOT_MOUNT.search(" ".join(words[start:])):
        call.ask(Family.CONTAINERS, "gives a container the whole host")
    for found in _VOLUME.finditer(" ".join(words[start:])):
        if call.walk.place(found.group(1), state).level in _TREES and not found.group(2):
            call.ask(
                Family.CONTAINERS, f"gives a container {found.group(1)} of the host to write to"
            )
    pid_host = any(a == "--pid" and b == "host" for a, b in itertools.pairwise(words))
    if not pid_host and not any(_HOST_OPTIONS.match(word) for word in words):
        state.context = Context.CONTAINER
    operands = 0
    for index in range(start + 1, len(words)):
        name = words[index].rpartition("/")[2]
        # The first operand is the container's name or its image; so may be an option's value.
        is_name = call.name in _NAMES_FIRST and (
            operands == 0 or _OPTION.fullmatch(words[index - 1]) is not None
        )
        operands += not words[index].startswith("-")
        if name not in known and name not in data:
            continue
        if is_name and (name in _POWER or name in data) and words[index - 1] != "--":
            continue
        fed = call.stdin is not None and call.stdin.source is not Source.TERMINAL
        if index + 1 < len(words) or name in _POWER or fed:
            state.cwd = None
            call.walk.run(call.arguments[index:], state, call.stdin)
        break
    return Stream(producer=call.name)
