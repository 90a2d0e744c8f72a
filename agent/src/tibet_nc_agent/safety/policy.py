# SPDX-License-Identifier: MIT
"""The rules in the form that the walk asks: compiled once for each set of rules."""

from functools import lru_cache

from tibet_nc_agent.safety.matcher import Matcher
from tibet_nc_agent.safety.paths import path_levels
from tibet_nc_agent.safety.rules.model import Output, ProgramOption, ProgramText, Rules, Wrapper


class Policy:
    """Everything that is looked up by the name of a program."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.matcher = Matcher(rules)
        self.levels = path_levels(rules.paths)
        self.wrappers: dict[str, Wrapper] = {
            name: wrapper for wrapper in rules.wrappers for name in wrapper.names
        }
        self.shells = frozenset(rules.languages.shells)
        self.interpreters = rules.languages.interpreters
        self.downloaders = frozenset(rules.programs.downloaders)
        self.containers = frozenset(rules.programs.containers)
        self.readers = frozenset(rules.programs.readers)
        self.data = frozenset(rules.programs.data)
        self.escapes = frozenset(rules.programs.escapes)
        self.quiet_eval = frozenset(rules.programs.quiet_eval)
        self.program_options = _by_command(rules.program_options)
        self.program_texts = _by_command(rules.program_texts)
        self.outputs = _by_command(rules.outputs)
        self.allowed = frozenset(command.argv for command in rules.allowed)


def _by_command[T: (ProgramOption, ProgramText, Output)](
    entries: tuple[T, ...],
) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for entry in entries:
        for name in entry.commands:
            found.setdefault(name, []).append(entry)
    return found


@lru_cache(maxsize=8)
def policy_for(rules: Rules) -> Policy:
    """Return the policy of these rules."""
    return Policy(rules)
