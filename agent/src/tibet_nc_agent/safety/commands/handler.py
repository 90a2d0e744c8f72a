# SPDX-License-Identifier: MIT
"""What the modules of this package provide: handlers by the name of a program."""

from collections.abc import Callable, Mapping

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.values import Stream

Handler = Callable[[Call], Stream | None]
"""Judges one command; returns its output, None for "unknown, with the taint of its input"."""

Handlers = Mapping[str, Handler]
