# SPDX-License-Identifier: MIT
"""Programs that run a command on many hosts."""

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.commands.handler import Handlers
from tibet_nc_agent.safety.values import COMMAND, Stream

_ANSIBLE_SHELLS = frozenset(["command", "shell", "raw", "win_shell", "win_command", "expect"])
_SALT_SHELLS = frozenset(["cmd.run", "cmd.shell", "cmd.run_all", "cmd.run_stdout", "cmd.script"])
_VALUES = "whHltpuAfogxeWXR"


def ansible(call: Call) -> Stream:
    """`ansible`: the text of the modules that run one."""
    modules = [field.plain.rpartition(".")[2] for field in call.given_to("-m", "--module-name")]
    if modules and not _ANSIBLE_SHELLS.intersection(modules):
        return COMMAND
    for given in call.given_to("-a", "--args"):
        _elsewhere(call, given.plain)
    return Stream(downloaded=True)


def salt(call: Call) -> Stream:
    """`salt`: the text of `cmd.run`."""
    words = call.words
    start = next((i for i, word in enumerate(words) if word in _SALT_SHELLS), len(words))
    return _elsewhere(call, " ".join(words[start + 1 : start + 2]))


def parallel_ssh(call: Call) -> Stream:
    """`pssh`, `pdsh`, `clush`: what stands behind their options."""
    words, index = call.words, 0
    while index < len(words) and words[index].startswith("-"):
        takes = next((i for i, c in enumerate(words[index]) if i and c in _VALUES), 0)
        index += 2 if takes == len(words[index]) - 1 else 1
    return _elsewhere(call, " ".join(words[index:]))


def _elsewhere(call: Call, text: str) -> Stream:
    call.walk.program(text, call.state.elsewhere(), call.span, lax=True)
    return Stream(downloaded=True)


HANDLERS: Handlers = {
    "ansible": ansible,
    "salt": salt,
    "salt-call": salt,
    "salt-run": salt,
    "salt-ssh": salt,
    "pssh": parallel_ssh,
    "parallel-ssh": parallel_ssh,
    "pdsh": parallel_ssh,
    "clush": parallel_ssh,
    "dsh": parallel_ssh,
}
