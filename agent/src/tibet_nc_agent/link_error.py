# SPDX-License-Identifier: MIT
"""What can be wrong between agent and executor: one family, one clear line each."""


class LinkError(Exception):
    """The executor can't be asked now; the agent keeps trying, so the same may be asked again."""


class LinkDownError(LinkError):
    """Nobody answers at the socket, or the connection ended."""


class WrongExecutorError(LinkError):
    """Somebody answers, who is not the enrolled executor or breaks the protocol."""
