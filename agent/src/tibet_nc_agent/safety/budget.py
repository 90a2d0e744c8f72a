# SPDX-License-Identifier: MIT
"""A bound on the work that one command may cause, shared by parser and walk."""

from tibet_nc_agent.safety import limits


class TooComplexError(Exception):
    """The command needs more work than the bounds allow, so it cannot be decided."""


class Budget:
    """What is left of the permitted work; a method raises `TooComplexError` when it is spent."""

    __slots__ = ("_characters", "_computed", "_printed", "_steps", "_tokens")

    def __init__(self) -> None:
        self._tokens = limits.MAX_TOKENS
        self._steps = limits.MAX_STEPS
        self._characters = limits.MAX_SCANNED
        self._computed = limits.MAX_COMPUTED_TOTAL
        self._printed = limits.MAX_OUTPUT_TOTAL

    def token(self) -> None:
        """Pay for one word or redirection of the grammar."""
        self._tokens -= 1
        if self._tokens < 0:
            raise TooComplexError

    def step(self) -> None:
        """Pay for one node or command of the walk."""
        self._steps -= 1
        if self._steps < 0:
            raise TooComplexError

    def scan(self, characters: int) -> None:
        """Pay for characters that are looked at a second time."""
        self._characters -= characters
        if self._characters < 0:
            raise TooComplexError

    def compute(self, characters: int) -> None:
        """Pay for characters of a computed value."""
        self._computed -= characters
        if self._computed < 0 or characters > limits.MAX_COMPUTED:
            raise TooComplexError

    def output(self, characters: int) -> None:
        """Pay for characters that a command prints, and that others may read or keep."""
        self._printed -= characters
        if self._printed < 0 or characters > limits.MAX_BYTES:
            raise TooComplexError


def inserted(text: str, mark: str, value: str) -> str:
    """Return the text with a value for every mark, unless that is longer than any command."""
    if text.count(mark) * len(value) > limits.MAX_BYTES:
        raise TooComplexError
    return text.replace(mark, value)
