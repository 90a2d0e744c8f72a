# SPDX-License-Identifier: MIT
"""Which requests a connection may make, and when: closed by default.

A connection is CHALLENGED until the agent has answered with a hello, and OPEN from then on. The
table says in which state each request is permitted; what is not in it is not permitted, and a
request that is not permitted closes the connection. (The idea is OpenSSH's privileged monitor.)
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from tibet_nc_executor.errors import NotPermittedError
from tibet_nc_protocol.limits import PROTOCOL_VERSION
from tibet_nc_protocol.messages import (
    Alert,
    ChainTail,
    CloseSession,
    Control,
    Fetch,
    Hello,
    Jobs,
    Refuse,
    Request,
    Run,
    Status,
)


class State(Enum):
    """Where a connection is."""

    CHALLENGED = "challenged"
    OPEN = "open"


PERMITTED: Final[Mapping[type, State]] = MappingProxyType(
    {
        Hello: State.CHALLENGED,
        Run: State.OPEN,
        Refuse: State.OPEN,
        Alert: State.OPEN,
        Control: State.OPEN,
        Fetch: State.OPEN,
        Status: State.OPEN,
        ChainTail: State.OPEN,
        Jobs: State.OPEN,
        CloseSession: State.OPEN,
    }
)


class Monitor:
    """The state of one connection."""

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self.state = State.CHALLENGED

    def admit(self, request: Request) -> Request:
        """Return a request that may be carried out now.

        Raises NotPermittedError, and then nothing has changed.
        """
        if PERMITTED.get(type(request)) is not self.state:
            name = type(request).__name__
            raise NotPermittedError(
                f"{name} is not permitted when a connection is {self.state.value}"
            )
        if isinstance(request, Hello):
            if request.protocol != PROTOCOL_VERSION:
                raise NotPermittedError(
                    f"the agent speaks protocol {request.protocol}, this is {PROTOCOL_VERSION}"
                )
            if request.connection != self._connection:
                raise NotPermittedError("the hello answers another challenge")
            self.state = State.OPEN
        return request
