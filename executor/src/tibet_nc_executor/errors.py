# SPDX-License-Identifier: MIT
"""What ends the executor or refuses a request, each with one clear line for a person."""


class ExecutorError(Exception):
    """The root of everything that this package raises on purpose."""


class ConfigError(ExecutorError):
    """A setting is missing or wrong: file, key, what is wrong, what would be right."""


class LedgerError(ExecutorError):
    """The chain can't be read or written, so nothing may run (I7)."""


class ShellError(ExecutorError):
    """A command could not be started in its cage; nothing of it ran."""


class ForeignPeerError(ExecutorError):
    """The process at the other end of the socket is not the agent, or one of too many."""


class NotPermittedError(ExecutorError):
    """A request that this state of the connection does not permit."""


class AdministrationError(ExecutorError):
    """The running executor could not be asked, or refused."""
