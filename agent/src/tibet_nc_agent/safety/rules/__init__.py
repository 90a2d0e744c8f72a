# SPDX-License-Identifier: MIT
"""The rules as data: their shape, and reading them from `tables/` and a host's file."""

from tibet_nc_agent.safety.rules.load import RulesError, load_rules
from tibet_nc_agent.safety.rules.model import Rules

__all__ = ["Rules", "RulesError", "load_rules"]
