# SPDX-License-Identifier: MIT
"""Reading what gives a credential away: the file of one, or a whole directory of them."""

import re

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.marks import shown
from tibet_nc_agent.safety.paths import made, path_levels
from tibet_nc_agent.safety.values import Field
from tibet_nc_agent.safety.verdict import Decision, Family

_PATTERN_FIRST = frozenset(["grep", "egrep", "fgrep", "zgrep", "rg", "ag", "sed", "awk", "gawk"])
_HASHES = re.compile(r"(?:^|=)/etc/(?:g?shadow-?|master\.passwd)$")
_LABELLERS = frozenset(["restorecon", "setfiles", "pwck", "grpck", "inotifywait", "matchpathcon"])
_PACKS = frozenset(["zip", "7z", "7za", "7zz", "pax", "mksquashfs"])
_COPIES_TO_LAST = frozenset(["cp", "scp", "rsync"])


def judge_credentials(call: Call) -> None:
    """Report each file among the arguments that gives a credential away, and copied directories."""
    levels = path_levels(call.walk.rules.paths)
    fields = call.arguments
    if call.name in _PATTERN_FIRST and fields and not call.words[0].startswith("-"):
        fields = fields[1:]
    for field in fields:
        text = field.text.rpartition("@")[2] if field.text.startswith("@") else field.text
        text = text.partition("=")[2] if "=/" in text or "=@/" in text else text
        name = text.removeprefix("@").removeprefix("file://")
        if levels.is_secret(name, call.state):
            _report(call, field, f"reads the credentials in {shown(name)}")
    if call.name in _PACKS:
        judge_copied(call, call.operands)
    elif call.name in _COPIES_TO_LAST:
        judge_copied(call, call.operands[:-1])


def judge_copied(call: Call, sources: list[Field]) -> None:
    """Report each directory of credentials among what is copied with all that is in it."""
    levels = path_levels(call.walk.rules.paths)
    for field in sources:
        if levels.is_secret_tree(field.text, call.state):
            _report(call, field, f"copies the credentials in {shown(field.text)}")


def judge_hashes(call: Call) -> None:
    """Report any program that is given the file of password hashes."""
    for field in call.arguments if call.name not in _LABELLERS else ():
        if _HASHES.search(made(field.text.lstrip("@"), call.state)):
            call.ask(Family.USERS, f"{call.name} reads the password hashes in {field.plain}")


def _report(call: Call, field: Field, what: str) -> None:
    span = (field.start, field.end)
    reason = f"{call.name} {what}"
    call.walk.report(Decision.NEEDS_APPROVAL, Family.USERS, reason, span, call.state)
