# SPDX-License-Identifier: MIT
"""The one error of the grammar."""

from enum import Enum


class Fault(Enum):
    """Why a text is not a command."""

    SYNTAX = "syntax error"
    INCOMPLETE = "incomplete command"
    DEPTH = "nested too deeply"


class GrammarError(Exception):
    """The text is not one whole command of the shell language; `position` is where that shows."""

    def __init__(self, detail: str, position: int, fault: Fault) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.detail = detail
        self.position = position
        self.fault = fault
