# SPDX-License-Identifier: MIT
"""The safety stage: what a command would really run, and whether it may.

It guards against mistakes and is not what holds an attacker: scripts, compiled programs and links
are not looked into. `judge` reads the command with the grammar of bash, walks it in the order of
execution through wrappers, substitutions and nested programs, and compares every command that
would run with the rules in `tables/`.
"""

from tibet_nc_agent.safety.judge import judge
from tibet_nc_agent.safety.rules import Rules, RulesError, load_rules
from tibet_nc_agent.safety.verdict import Decision, Family, Finding, Verdict

__all__ = [
    "Decision",
    "Family",
    "Finding",
    "Rules",
    "RulesError",
    "Verdict",
    "judge",
    "load_rules",
]
