# SPDX-License-Identifier: MIT
"""What each program would do with its arguments."""

from tibet_nc_agent.safety.commands.dispatch import run_command

__all__ = ["run_command"]
