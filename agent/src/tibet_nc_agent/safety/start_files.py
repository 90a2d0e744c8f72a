# SPDX-License-Identifier: MIT
"""Files whose text runs later: what a shell, a unit, git, udev, apt or a mail server reads."""

import re

from tibet_nc_agent.safety.call import Walk
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import Stream
from tibet_nc_agent.safety.verdict import Decision, Family

_SHELL_TEXT = re.compile(
    r"(?:^|/)\.git/hooks/[\w-]+$"
    r"|/\.(?:bash(?:rc|_profile|_login|_logout|_aliases)|profile|z(?:shrc|profile|shenv|login)"
    r"|kshrc|xprofile|xinitrc)$"
    r"|/\.ssh/rc$|^/etc/ssh/sshrc$|^/etc/(?:update-motd|dhcp/dhclient-\w+-hooks)\.d/[^/]+$"
)
# Files of another form, and where the commands stand in them.
_COMMANDS = (
    (
        re.compile(r"/systemd/.*\.(?:service|socket|mount|swap)(?:\.d/[^/]+\.conf)?$"),
        re.compile(r"^Exec\w*=[-@:+!|]*(.*)", re.MULTILINE),
    ),
    (
        re.compile(r"/udev/rules\.d/[^/]+$"),
        re.compile(r"\b(?:RUN|PROGRAM|IMPORT)(?:\{program\})?\s?\+?:?==?\s?\"([^\"]*)\""),
    ),
    (
        re.compile(r"^/etc/apt/apt\.conf(?:\.d/[^/]+)?$"),
        re.compile(r"(?:Invoke|Install-Pkgs)(?:::)?\s*\{?\s*\"([^\"]*)\"", re.IGNORECASE),
    ),
    (re.compile(r"/\.forward$|^/etc/aliases$"), re.compile(r"\"?\|\s?([^\"\n]+)")),
    (re.compile(r"/\.gitconfig$|/\.git/config$"), re.compile(r"=\s*!(.*)")),
)


def judge_start_file(
    walk: Walk, path: str, output: Stream, state: State, span: tuple[int, int]
) -> None:
    """Judge what is written to a file that something runs when it starts, or at some time."""
    for names, commands in _COMMANDS:
        if names.search(path):
            for found in commands.finditer(output.known or ""):
                walk.program(found.group(1), state.copy(), span, lax=True)
    if not _SHELL_TEXT.search(path):
        return
    if output.downloaded:
        reason = "a shell will run what is downloaded when it starts"
        walk.report(Decision.DENY, Family.PIPE_TO_SHELL, reason, span, state)
    if output.known is not None:
        walk.program(output.known, state.copy(), span, lax=True)
