# SPDX-License-Identifier: MIT
"""Containers: a command inside one changes only the container, unless the host is mounted."""

import itertools
import re
from collections.abc import Callable

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.downloads import remember_copies
from tibet_nc_agent.safety.rules.model import Level
from tibet_nc_agent.safety.state import Context
from tibet_nc_agent.safety.values import Source, Stream
from tibet_nc_agent.safety.verdict import Family
from tibet_nc_agent.safety.writes import judge_write

_RUNS = frozenset(
    ["exec", "run", "shell", "attach", "create", "ssh", "debug", "--", "rsh", "enter", "unshare"]
)
_POWER = frozenset(["reboot", "poweroff", "halt", "shutdown"])
_HOST_OPTIONS = re.compile(
    r"(?:-v|--volume|--mount|-B|--bind)?=?/:|--privileged|--pid[= ]host|(?:src|source)=/,"
    r"|(?:[^@]*@)?\.host$"  # of machinectl: no machine, but this host
)

_ROOT_MOUNT = re.compile(
    r"(?:^| )(?:-v|--volume|--mount|-B|--bind)[ =]?(?:/:/|type=bind,(?:src|source)=/,)"
)

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
_VOLUME = re.compile(
    r"(?:^| )(?:-v|--volume|-B|--bind)[ =]?(?P<from>/[^: ]*):/[^: ]*(?P<ro>:(?:\S*,)?ro\b)?"
    r"|(?:^| )--mount[ =](?=\S*?\b(?:src|source)=(?P<source>/[^, ]*))(?P<options>\S*)"
)
_READ_ONLY = re.compile(r"(?:^|,)(?:ro|readonly)(?:,|=true|=1|$)")
_TREES = frozenset([Level.SYSTEM, Level.HOMES])


def run_in_container(call: Call, begins: Callable[[str], bool], data: frozenset[str]) -> Stream:
    """Judge the command that runs inside; `begins` and `data` know programs that may begin it."""
    words = call.words
    if "cp" in words[:2] and call.arguments[-1].text.startswith("/"):
        target = call.arguments[-1]
        judge_write(call.walk, target, call.state, call.span, f"{call.name} cp writes to")
    if "cp" in words[:2] and len(call.operands) > 2 and ":" not in call.operands[-1].text:
        remember_copies(call, call.operands[1:-1], call.operands[-1])
    start = next((i for i, word in enumerate(words) if word in _RUNS), None)
    if start is None:
        return Stream(producer=call.name)
    state = call.state.copy()
    if _ROOT_MOUNT.search(" ".join(words[start:])):
        call.ask(Family.CONTAINERS, "gives a container the whole host")
    for found in _VOLUME.finditer(" ".join(words[start:])):
        path = found["from"] or found["source"]
        read_only = found["ro"] or _READ_ONLY.search(found["options"] or "")
        if call.walk.place(path, state).level in _TREES and not read_only:
            call.ask(Family.CONTAINERS, f"gives a container {path} of the host to write to")
    pid_host = any(a == "--pid" and b == "host" for a, b in itertools.pairwise(words))
    inside = words[start] != "unshare"
    if inside and not pid_host and not any(_HOST_OPTIONS.match(word) for word in words):
        state.context = Context.CONTAINER
    operands = 0
    for index in range(start + 1, len(words)):
        name = words[index].rpartition("/")[2]
        # The first operand is the container's name or its image; so may be an option's value.
        is_name = (inside and call.name in _NAMES_FIRST) and (
            operands == 0 or _OPTION.fullmatch(words[index - 1]) is not None
        )
        operands += not words[index].startswith("-")
        if not begins(name) and name not in data:
            continue
        if is_name and (name in _POWER or name in data) and words[index - 1] != "--":
            continue
        fed = call.stdin is not None and call.stdin.source is not Source.TERMINAL
        if index + 1 < len(words) or name in _POWER or fed:
            state.cwd = None
            call.walk.run(call.arguments[index:], state, call.stdin)
        break
    return Stream(producer=call.name)
