# SPDX-License-Identifier: MIT
"""What a command really gets, looked at from inside before the first one runs (I2).

The cage is built by other programs and depends on the kernel, the unit and the executor's own
privileges. So a first command, of builtins alone, tells the kernel's view of itself, and nothing
runs unless it is the expected one.
"""

from typing import Final

from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.shell import Shell

_TEXT: Final = """
while read -r line; do printf '%s\\n' "$line"; done </proc/self/status
for file in /proc/self/fdinfo/*; do
    [[ -e $file ]] || continue
    while read -r key value; do
        if [[ $key == flags: ]]; then printf 'fd%s: %s\\n' "${file##*/}" "$value"; fi
    done <"$file"
done
"""
_EMPTY_SETS: Final = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_CLOSED_ON_EXEC: Final = 0o2000000


async def verify(shell: Shell) -> None:
    """Run a first command; raises ShellError with the first thing that is not as it must be."""
    output = bytearray()
    command = await shell.start(_TEXT, shell.new_session(), output.extend)
    ending = await command.wait()
    if ending.exit != 0:
        raise ShellError(f"the first command in the cage failed: {ending}")
    facts = dict(
        line.split(":", 1) for line in output.decode(errors="replace").splitlines() if ":" in line
    )
    try:
        _check(facts, shell)
    except (KeyError, ValueError) as error:
        raise ShellError(f"the cage cannot be checked: {error!r}") from error


def _check(facts: dict[str, str], shell: Shell) -> None:
    settings = shell.cage.settings
    for name in (*_EMPTY_SETS, *(["CapBnd"] if shell.cage.drops_bounding_set else [])):
        if int(facts[name], 16) != 0:
            raise ShellError(f"a command keeps capabilities: {name}{facts[name]}")
    if facts["NoNewPrivs"].strip() != "1":
        raise ShellError("a command can gain privileges: NoNewPrivs is not set")
    for name, expected in (("Uid", settings.uid), ("Gid", settings.gid)):
        if set(facts[name].split()) != {str(expected)}:
            raise ShellError(f"a command has another {name.lower()}: {facts[name].split()}")
    if shell.cage.separated:
        extra = set(map(int, facts["Groups"].split())) - set(settings.groups) - {settings.gid}
        if not shell.cage.own_groups(extra):
            raise ShellError(f"a command has groups that it was not given: {sorted(extra)}")
    for name, value in facts.items():
        if name.startswith("fd") and int(name[2:]) > 2 and not int(value, 8) & _CLOSED_ON_EXEC:
            raise ShellError(f"a command inherits descriptor {name[2:]}")
