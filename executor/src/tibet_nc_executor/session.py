# SPDX-License-Identifier: MIT
"""A session: the shell state that one command leaves to the next."""

from typing import Final

from tibet_nc_executor.home import Home
from tibet_nc_executor.prologue import (
    STATE_BYTES,
    directory_of,
    may_trap,
    parse_told,
    prologue,
    variables_of,
    without_variables,
)
from tibet_nc_protocol.limits import TEXT_CHARACTERS

TOO_LARGE: Final = (
    f"the shell's state is larger than {STATE_BYTES >> 20} MiB: the next command starts from the "
    "state before this one"
)
NOT_KEPT: Final = (
    "the shell ended without telling its state: the next command starts from the state before "
    "this one"
)


class SessionShell:
    """What carries over between the commands of one session.

    Variables, arrays, functions, aliases, options, umask and working directory. The bytes are the
    shell's own words and are given to nobody but the session's next shell.
    """

    def __init__(self, home: Home | None = None, fresh: frozenset[bytes] = frozenset()) -> None:
        """Begin one; ``fresh`` are the variables that a shell has of its own, and needn't be told.

        There are some fifty, and telling a shell of them takes longer than most commands.
        """
        self.home: Final = home
        self._fresh: Final = fresh
        self._state = b""

    @property
    def directory(self) -> str | None:
        """Where the next command starts, as the shell told it, None if that isn't known."""
        directory = directory_of(self._state)
        return None if directory is None else directory[:TEXT_CHARACTERS]

    def prologue(self, *, entry: str, own: int, pipe: int, text: bytes) -> bytes:
        """Return what the next shell runs before its command, which is `text`."""
        return prologue(entry=entry, own=own, pipe=pipe, state=self._state, text=text)

    def may_trap(self, text: bytes) -> bool:
        """Return whether a command, which is `text`, may set a trap, also by a function it has."""
        return may_trap(text) or may_trap(self._state)

    @property
    def variables(self) -> frozenset[bytes]:
        """The variables of the last shell, as it told them."""
        return variables_of(self._state)

    def keep(self, stream: bytes) -> tuple[str, ...]:
        """Keep the state that an ended shell has told; return notes for the operator."""
        told = parse_told(stream[: STATE_BYTES + 1])
        if len(stream) > STATE_BYTES:
            return (TOO_LARGE,)
        if told.state is None:
            return (NOT_KEPT,)
        self._state = without_variables(told.state, self._fresh)
        return ()
